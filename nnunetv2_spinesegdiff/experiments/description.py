"""Description of an experiment: systems, contrasts and folds, read from a YAML file."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, StrictBool, ValidationError, ValidationInfo, field_validator

from ..errors import UserError
from ..inference.command import flags_parser
from ..training.names import (
    DIFFUSION_TRAINERS,
    PLAIN_TRAINERS,
    TWO_STAGE_TRAINERS,
    has_two_stages,
    parse_suffixes,
    split_base,
)

STOCK_FLAGS = ("--disable_tta",)
"""Flags of nnU-Net's own prediction that a description may use in addition to ours."""
ALL_FOLDS = {0, 1, 2, 3, 4}
"""Of nnU-Net and of the converter; presegmentations are collected from all of them."""

Item = TypeVar("Item")
Text = Annotated[str, Field(strict=True, pattern=r"\S")]
Number = Annotated[int, Field(strict=True, ge=0)]
Several = Annotated[tuple[Item, ...], Field(min_length=1)]


class Contrast(BaseModel, extra="forbid", frozen=True):
    """A dataset of the experiment.

    Attributes:
        name: in the table.
        convert: `--contrast` of `spinesegdiff convert` that makes the dataset.
        dataset: added to the first dataset id.
    """

    name: Text
    convert: Literal["t1", "t2", "t1t2"]
    dataset: Number


class System(BaseModel, extra="forbid", frozen=True):
    """A row of the table, on every contrast.

    Attributes:
        name: in the table.
        trainer: full name of the trainer, or one for each contrast.
        predict: flags of the prediction, without dashes.
        stage1: name of an earlier system, whose training of the same fold is stage 1.
        presegment: collect masks of all folds of this system for the systems whose stage 1 it is.
        control: the system is a control for others.
    """

    name: Text
    trainer: Any
    predict: dict[str, Any] | None = None
    stage1: Text | None = None
    presegment: StrictBool = False
    control: StrictBool = False

    @property
    def slug(self) -> str:
        """The name in names of files and jobs."""
        return re.sub(r"[^A-Za-z0-9]+", "_", self.name).strip("_")

    @property
    def flags(self) -> tuple[str, ...]:
        """Words of the prediction."""
        return tuple(_words(self.predict or {}))

    @property
    def resumable(self) -> bool:
        """Whether a flag is ours: then predictions continue where they stopped."""
        return bool(vars(flags_parser().parse_known_args(self.flags)[0]))

    def trainer_on(self, contrast: Contrast) -> str:
        """Return the full name of the trainer."""
        return self.trainer[contrast.name] if isinstance(self.trainer, dict) else self.trainer

    @field_validator("trainer")
    @classmethod
    def _check_trainer(cls, trainer: Any) -> Any:
        for name in _names(trainer):
            if not isinstance(name, str) or not re.fullmatch(r"nnUNetTrainer\w*", name, re.ASCII):
                raise ValueError(f"{name} is not the name of a trainer: those begin with nnUNetTrainer")
            if base := split_base(name, [*DIFFUSION_TRAINERS, *PLAIN_TRAINERS]):
                try:
                    parse_suffixes(name, base)
                except UserError as error:
                    raise ValueError(str(error)) from None
        return trainer

    @field_validator("predict")
    @classmethod
    def _check_flags(cls, predict: dict[str, Any] | None, info: ValidationInfo) -> dict[str, Any] | None:
        """Reject flags that prediction would reject itself, but after days of training."""
        for key, value in (predict or {}).items():
            if value is False or value is None or isinstance(value, list | dict):
                raise ValueError(
                    f"{key} must be true or a value, not {value!r}; leave out what is not wanted"
                )
        parser = flags_parser()
        parser.exit_on_error = False
        try:
            ours, rest = parser.parse_known_args(_words(predict or {}))
        except argparse.ArgumentError as error:
            raise ValueError(str(error)) from None
        if unknown := [word for word in rest if word not in STOCK_FLAGS]:
            raise ValueError(f"{unknown[0]} is not a flag of a prediction")
        for name in _names(info.data.get("trainer", {})) if vars(ours) else ():
            if split_base(name, list(DIFFUSION_TRAINERS)) is None:
                raise ValueError(f"{name} has no diffusion network for such flags; leave them out")
            wrong = [key for key in ("preset", "t_start") if key in ours]
            wrong += ["no_refine"] if vars(ours).get("refine") is False else []
            if wrong and not has_two_stages(name):
                raise ValueError(f"{wrong[0]}: {name} starts from noise and refines nothing; leave it out")
        return predict

    @field_validator("stage1")
    @classmethod
    def _check_stage1(cls, stage1: str | None, info: ValidationInfo) -> str | None:
        for name in _names(info.data.get("trainer", {})) if stage1 else ():
            if not has_two_stages(name):
                known = " and ".join(TWO_STAGE_TRAINERS)
                raise ValueError(f"{name} has no stage 1, only {known} do; leave it out")
        return stage1


class Description(BaseModel, extra="forbid", frozen=True):
    """An experiment.

    Attributes:
        title: heading of the table.
        configuration, plans: nnU-Net's.
        folds: to train.
        contrasts, systems: in the table's order.
        rows_by: what the rows are grouped by.
        transposed: one column for each system instead of one row.
    """

    title: Text
    configuration: Text
    plans: Text = "nnUNetPlans"
    folds: Several[Number]
    contrasts: Several[Contrast]
    systems: Several[System]
    rows_by: Literal["contrast", "system"] = "contrast"
    transposed: StrictBool = False

    def rows(self) -> list[tuple[Contrast, System]]:
        """Return the rows of the table, from top to bottom."""
        if self.rows_by == "system":
            return [(c, s) for s in self.systems for c in self.contrasts]
        return [(c, s) for c in self.contrasts for s in self.systems]

    def dataset_ids(self, given: Sequence[int]) -> dict[str, int]:
        """Return contrast to dataset id, from one id or from one for each contrast (by ascending `dataset`).

        Raises:
            UserError: the number of ids is wrong, or an id is given twice.
        """
        order = sorted(self.contrasts, key=lambda contrast: contrast.dataset)
        names = ", ".join(contrast.name for contrast in order)
        if len(given) == 1:
            return {contrast.name: given[0] + contrast.dataset for contrast in order}
        if len(given) != len(order):
            raise UserError("-d", f"takes one id, or {len(order)} in the order {names}, not {len(given)}")
        if len(set(given)) < len(given):
            raise UserError("-d", "names a dataset twice", f"{names} are different ones")
        return {contrast.name: number for contrast, number in zip(order, given, strict=True)}

    @field_validator("folds", "contrasts")
    @classmethod
    def _check_repeated(cls, entries: tuple[Any, ...]) -> tuple[Any, ...]:
        _reject_repeated(getattr(entry, "name", entry) for entry in entries)
        _reject_repeated(getattr(entry, "dataset", entry) for entry in entries)
        return entries

    @field_validator("systems")
    @classmethod
    def _check_systems(cls, systems: tuple[System, ...], info: ValidationInfo) -> tuple[System, ...]:
        contrasts = info.data.get("contrasts", ())
        _reject_repeated(system.slug.lower() for system in systems)  # some file systems ignore case
        stage1_of: dict[str, str | None] = {}
        for number, system in enumerate(systems):
            names = [contrast.name for contrast in contrasts]
            if isinstance(system.trainer, dict) and contrasts and set(system.trainer) != set(names):
                raise ValueError(f"{system.name}: trainer: names other contrasts than {', '.join(names)}")
            earlier = [other.name for other in systems[:number]]
            if system.stage1 and system.stage1 not in earlier:
                raise ValueError(f"{system.name}: stage1: must be one of the systems above it")
            for trainer in _names(system.trainer):
                # A training is in a folder of its trainer's name.
                if stage1_of.setdefault(trainer, system.stage1) != system.stage1:
                    raise ValueError(f"{trainer} is to be trained on two different stage 1")
            if system.presegment and set(info.data.get("folds", ALL_FOLDS)) != ALL_FOLDS:
                needed = "needs all folds; make it folds: [0, 1, 2, 3, 4]"
                raise ValueError(f"{system.name}: presegment: {needed}")
            if system.presegment and all(other.stage1 != system.name for other in systems):
                raise ValueError(
                    f"{system.name}: presegment: no system names it as its stage1; name it there, or leave "
                    "this out"
                )
        return systems


def read_description(file: Path) -> Description:
    """Read a description from a YAML file.

    Raises:
        UserError: the file cannot be read, or a value is missing, unknown or impossible. The message names
            the key.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(file, f"cannot be read as YAML ({' '.join(str(error).split())})") from None
    try:
        return Description.model_validate(content)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        cause = str(first.get("ctx", {}).get("error") or first["msg"])
        cause = "unknown key" if first["type"] == "extra_forbidden" else cause
        raise UserError(file, f"{key.removeprefix('.')}: {cause}" if key else cause) from None


def _names(trainer: Any) -> list[str]:
    return list(trainer.values()) if isinstance(trainer, dict) else [trainer]


def _words(flags: dict[str, Any]) -> list[str]:
    return [
        word
        for key, value in flags.items()
        for word in (f"--{key}", *(() if value is True else (str(value),)))
    ]


def _reject_repeated(values: Iterable[object]) -> None:
    if repeated := [value for value, count in Counter(values).items() if count > 1]:
        raise ValueError(f"{repeated[0]} is given twice")
