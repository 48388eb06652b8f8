"""Out-of-fold presegmentations: location of a collection, and what it was made from.

`spinesegdiff presegment` makes a collection, `nnUNetTrainerSpineSegDiff` trains on it. Its folder holds
`<case>.b2nd` (or `.npz`; label maps on the network's grid, as nnU-Net's loader takes them from a previous
stage), `softmax/<case>.npz` (probabilities on the same grid, float16) and, once it is complete, its manifest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..files import digest, save_json
from ..text import reason_of

if TYPE_CHECKING:
    from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

STOCK_TRAINERS = ("nnUNetTrainer", "nnUNetTrainerStage1")
"""Whose trainings are taken for stage 1 where none is named, in this order."""
MANIFEST = "manifest.json"
CHECKPOINT = "checkpoint_final.pth"
SPLITS = "splits_final.json"


def folder_of_collection(preprocessed: Path, trainer: str, plans: str, configuration: str) -> Path:
    """Return the folder of the collection from a stock training, in the preprocessed dataset."""
    return preprocessed / "presegmentations" / f"{trainer}__{plans}__{configuration}"


def command(trainer: str, dataset: str, plans: str, configuration: str) -> str:
    """The command that makes a collection, for messages."""
    words = f"spinesegdiff presegment -d {id_of(dataset)} -c {configuration} -tr {trainer}"
    return words if plans == "nnUNetPlans" else f"{words} -p {plans}"


def id_of(dataset: str) -> int:
    """501 of Dataset501_SPIDER."""
    return int(dataset.split("_")[0].removeprefix("Dataset"))


def preprocessing_of(plans: PlansManager, configuration: ConfigurationManager) -> dict[str, Any]:
    """Settings of the preprocessing; plans of the same name can differ in them.

    Args:
        plans, configuration: nnU-Net's managers.
    """
    names = ("spacing", "normalization_schemes", "use_mask_for_norm")
    described = {name: getattr(configuration, name) for name in names}
    described["transpose_forward"] = plans.transpose_forward
    # As JSON has it: plans come from a file here and from a checkpoint there.
    return json.loads(json.dumps(described, default=float))


@dataclass(frozen=True)
class Sources:
    """Sources of a collection. If one of them changes, the collection is stale.

    Attributes:
        checkpoints: fold to the SHA-256 of its finished checkpoint, for those that are there.
        splits, fingerprint: SHA-256 of the dataset's splits_final.json and dataset_fingerprint.json.
        preprocessing: see `preprocessing_of`; also the folder of the preprocessed cases.
    """

    checkpoints: dict[str, str]
    splits: str
    fingerprint: str
    preprocessing: dict[str, Any]

    @classmethod
    def as_they_are(
        cls, model: Path, preprocessed: Path, plans: PlansManager, configuration: ConfigurationManager
    ) -> Sources:
        """Those of a stock training.

        Args:
            model: results folder of the training, with a folder a fold.
            preprocessed: the dataset's folder in nnUNet_preprocessed.
            plans, configuration: nnU-Net's managers.

        Raises:
            UserError: the dataset has no folds, or is not planned.
        """
        files = {name: preprocessed / name for name in (SPLITS, "dataset_fingerprint.json")}
        for path in files.values():
            if not path.is_file():
                raise UserError(path, "no such file", "plan and preprocess the dataset, then train stage 1")
        checkpoints = {
            path.parent.name.removeprefix("fold_"): digest(path)
            for path in sorted(model.glob(f"fold_[0-9]*/{CHECKPOINT}"))
        }
        return cls(
            checkpoints,
            digest(files[SPLITS]),
            digest(files["dataset_fingerprint.json"]),
            {"folder": configuration.data_identifier, **preprocessing_of(plans, configuration)},
        )

    def outdated(self, now: Sources) -> str | None:
        """Which of these has changed since, in words; None where none has.

        A checkpoint that was removed does not indicate a new training.
        """
        if now.splits != self.splits:
            return f"{SPLITS} is another one now"
        if (now.fingerprint, now.preprocessing) != (self.fingerprint, self.preprocessing):
            return "the dataset was planned or preprocessed in another way since"
        again = [
            fold
            for fold, made_from in self.checkpoints.items()
            if now.checkpoints.get(fold, made_from) != made_from
        ]
        return f"fold {', '.join(again)} of stage 1 was trained again since" if again else None


@dataclass(frozen=True)
class Manifest:
    """What is in a complete collection.

    Attributes:
        sources: what it was made from.
        cases: those with an out-of-fold presegmentation.
        never_held_out: those that no fold is validated on, so that there is no such presegmentation: their
            label maps are empty.
    """

    sources: Sources
    cases: list[str]
    never_held_out: list[str]

    def save(self, folder: Path) -> None:
        save_json(asdict(self), folder / MANIFEST)

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Raises UserError where there is none, or none that can be read."""
        path = folder / MANIFEST
        try:
            content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return cls(Sources(**content["sources"]), list(content["cases"]), list(content["never_held_out"]))
        except FileNotFoundError:
            raise UserError(folder, f"the presegmentations are incomplete, there is no {MANIFEST}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(path, f"cannot be read ({reason_of(error, with_type=True)})") from None
