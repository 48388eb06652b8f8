"""What an experiment is: systems, contrasts and folds, read from a YAML file."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from .fields import Node

TABLES = {number: Path(__file__).with_name(f"table{number}.yaml") for number in (1, 2, 5)}
STOCK_FLAGS = ("--disable_tta",)
"""Of nnU-Net's own prediction; what else a description may ask for are our flags."""
ALL_FOLDS = {0, 1, 2, 3, 4}
"""Those of nnU-Net and of the converter; presegmentations are collected from all of them."""


@dataclass(frozen=True)
class Contrast:
    """A dataset of the experiment.

    Attributes:
        name: as the table has it.
        convert: `--contrast` of `spinesegdiff convert` that makes the dataset.
        dataset: added to the first dataset id.
    """

    name: str
    convert: str
    dataset: int


@dataclass(frozen=True)
class System:
    """A row of the table, on every contrast.

    Attributes:
        name: as the table has it.
        trainers: contrast to the full name of the trainer.
        flags: of the prediction.
        resumable: whether they hold a flag of ours: such a prediction goes on where it was stopped.
        stage1: name of the system, earlier in the list, whose training of the same fold is stage 1.
        presegment: whether masks of all folds of this system are collected for those whose stage 1 it is.
        control: whether it is there to hold others against.
    """

    name: str
    trainers: Mapping[str, str]
    flags: tuple[str, ...] = ()
    resumable: bool = False
    stage1: str | None = None
    presegment: bool = False
    control: bool = False

    @property
    def slug(self) -> str:
        """The name as files and jobs have it."""
        return re.sub(r"[^A-Za-z0-9]+", "_", self.name).strip("_")


@dataclass(frozen=True)
class Description:
    """An experiment.

    Attributes:
        name: of the file.
        title: heading of the table.
        configuration, plans: nnU-Net's.
        folds: which are trained.
        contrasts, systems: in the table's order.
        rows_by: what the rows are grouped by, "contrast" or "system".
        transposed: a column a system instead of a row.
    """

    name: str
    title: str
    configuration: str
    plans: str
    folds: tuple[int, ...]
    contrasts: tuple[Contrast, ...]
    systems: tuple[System, ...]
    rows_by: str = "contrast"
    transposed: bool = False

    def rows(self) -> list[tuple[Contrast, System]]:
        """Of the table, from top to bottom."""
        if self.rows_by == "system":
            return [(c, s) for s in self.systems for c in self.contrasts]
        return [(c, s) for c in self.contrasts for s in self.systems]

    def dataset_ids(self, given: Sequence[int]) -> dict[str, int]:
        """Contrast to dataset id, of one id or of one for every contrast (by their `dataset`, ascending).

        Raises:
            UserError: another number of ids, or one twice.
        """
        order = sorted(self.contrasts, key=lambda contrast: contrast.dataset)
        if len(given) == 1:
            return {contrast.name: given[0] + contrast.dataset for contrast in order}
        names = ", ".join(contrast.name for contrast in order)
        if len(given) != len(order):
            raise UserError(f"-d takes one id, or {len(order)} in the order {names}; {len(given)} were given")
        if len(set(given)) < len(given):
            raise UserError(f"-d names a dataset twice; {names} are different ones")
        return {contrast.name: number for contrast, number in zip(order, given, strict=True)}


def read_description(file: Path) -> Description:
    """The description in a YAML file.

    Raises:
        UserError: it cannot be read, or a value is missing, unknown or impossible; one line with the key.
    """
    entries = Node.of_file(file).fields(
        ("title", "configuration", "folds", "contrasts", "systems"), ("plans", "rows_by", "transposed")
    )
    contrasts = tuple(_contrast(node) for node in entries["contrasts"].items())
    _refuse_twice(entries["contrasts"], [contrast.name for contrast in contrasts])
    _refuse_twice(entries["contrasts"], [str(contrast.dataset) for contrast in contrasts])
    names = [contrast.name for contrast in contrasts]
    systems: list[System] = []
    for node in entries["systems"].items():
        systems.append(_system(node, names, systems))
    # Some file systems take no notice of case.
    _refuse_twice(entries["systems"], [system.slug.lower() for system in systems])
    _refuse_two_stage1(entries["systems"], systems)
    folds = tuple(node.number() for node in entries["folds"].items())
    _refuse_twice(entries["folds"], [str(fold) for fold in folds])
    _refuse_presegment(entries["systems"], systems, folds)
    return Description(
        name=file.stem,
        title=entries["title"].text(),
        configuration=entries["configuration"].text(),
        plans=entries["plans"].text() if "plans" in entries else "nnUNetPlans",
        folds=folds,
        contrasts=contrasts,
        systems=tuple(systems),
        rows_by=entries["rows_by"].text(("contrast", "system")) if "rows_by" in entries else "contrast",
        transposed="transposed" in entries and entries["transposed"].flag(),
    )


def _contrast(node: Node) -> Contrast:
    entries = node.fields(("name", "convert", "dataset"))
    convert = entries["convert"].text(("t1", "t2", "t1t2"))
    return Contrast(entries["name"].text(), convert, entries["dataset"].number())


def _system(node: Node, contrasts: Sequence[str], earlier: Sequence[System]) -> System:
    entries = node.fields(("name", "trainer"), ("predict", "stage1", "presegment", "control"))
    trainers = _trainers(entries["trainer"], contrasts)
    flags, ours = _flags(entries["predict"]) if "predict" in entries else ((), {})
    if ours:
        _refuse_impossible(entries["predict"], trainers, ours)
    if "stage1" in entries:
        entries["stage1"].text([system.name for system in earlier] or ["the systems above it"])
        for name in trainers.values():
            if not has_two_stages(name):
                entries["stage1"].fail(
                    f"{name} takes none, only {' and '.join(TWO_STAGE_TRAINERS)} do; leave it out"
                )
    return System(
        name=entries["name"].text(),
        trainers=trainers,
        flags=flags,
        resumable=bool(ours),
        stage1=entries["stage1"].text() if "stage1" in entries else None,
        presegment="presegment" in entries and entries["presegment"].flag(),
        control="control" in entries and entries["control"].flag(),
    )


def _trainers(node: Node, contrasts: Sequence[str]) -> dict[str, str]:
    """One name for all contrasts, or one for each."""
    if isinstance(node.value, str):
        return dict.fromkeys(contrasts, _trainer(node))
    return {contrast: _trainer(entry) for contrast, entry in node.fields(contrasts).items()}


def _trainer(node: Node) -> str:
    name = node.text()
    if not re.fullmatch(r"nnUNetTrainer\w*", name, re.ASCII):
        node.fail(f"{name} is no trainer's name: those begin with nnUNetTrainer")
    base = split_base(name, [*DIFFUSION_TRAINERS, *PLAIN_TRAINERS])
    if base is not None:
        try:
            parse_suffixes(name, base)
        except UserError as error:
            node.fail(str(error))
    return name


def _flags(node: Node) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The words of a prediction, and what the flags of ours among them set."""
    words: list[str] = []
    for key, entry in node.mapping().items():
        if entry.value is False or entry.value is None or isinstance(entry.value, list | dict):
            entry.fail(f"must be true or a value, not {entry.value!r}; leave out what is not wanted")
        words += [f"--{key}"] if entry.value is True else [f"--{key}", str(entry.value)]
    parser = flags_parser()
    parser.exit_on_error = False
    try:
        ours, rest = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        node.fail(str(error))
    unknown = [word for word in rest if word not in STOCK_FLAGS]
    if unknown:
        node.fail(f"{unknown[0]} is no flag of a prediction")
    return tuple(words), vars(ours)


def _refuse_impossible(node: Node, trainers: Mapping[str, str], ours: Mapping[str, Any]) -> None:
    """Prediction would refuse these flags itself, but after days of training."""
    for name in trainers.values():
        if split_base(name, list(DIFFUSION_TRAINERS)) is None:
            node.fail("the trainer has no diffusion network that could be sampled so")
        asked = [key for key in ("preset", "t_start") if key in ours]
        asked += ["no_refine"] if ours.get("refine") is False else []
        if asked and not has_two_stages(name):
            node.fail(f"{asked[0]}: {name} starts from noise and refines nothing; leave it out")


def _refuse_twice(node: Node, values: Sequence[str]) -> None:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        node.fail(f"{twice[0]} is given twice")


def _refuse_two_stage1(node: Node, systems: Sequence[System]) -> None:
    """A training lies in a folder of its trainer's name, so one name cannot be trained in two ways."""
    stage1: dict[str, str | None] = {}
    for system in systems:
        for trainer in system.trainers.values():
            if stage1.setdefault(trainer, system.stage1) != system.stage1:
                node.fail(f"{trainer} is to be trained on two different stage 1")


def _refuse_presegment(node: Node, systems: Sequence[System], folds: Sequence[int]) -> None:
    """Presegmentations are of all folds of a dataset, and for refiners alone."""
    for entry, system in zip(node.items(), systems, strict=True):
        if not system.presegment:
            continue
        where = entry.mapping()["presegment"]
        if set(folds) != ALL_FOLDS:
            where.fail("wants all folds, but not all are trained; make it folds: [0, 1, 2, 3, 4]")
        if all(other.stage1 != system.name for other in systems):
            where.fail(f"no system names {system.name} as its stage1; name it there, or leave this out")
