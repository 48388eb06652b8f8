"""The environment variables that nnU-Net reads."""

from __future__ import annotations

import os
from pathlib import Path

from ..environment import TRAINERS
from .finding import Finding

TOPIC = "variables"
NEEDED_FOR = {
    "nnUNet_raw": "converting and planning",
    "nnUNet_preprocessed": "planning and training",
    "nnUNet_results": "training, and predicting with -d",
}
EVAL = 'eval "$(spinesegdiff env)"'


def check_folder(variable: str) -> Finding:
    """One of nnU-Net's folders: `segment` with the folder or zip of a model needs none of them."""
    purpose = NEEDED_FOR[variable]
    value = os.environ.get(variable)
    if not value:
        return Finding(
            "warning",
            TOPIC,
            f"{variable} is not set",
            f"export {variable}=/a/folder for {purpose}; segment with a model's folder or zip does without",
        )
    folder = Path(value)
    if not folder.is_dir():
        what = "a file" if folder.exists() else "not there"
        return Finding(
            "problem",
            TOPIC,
            f"{variable}={value} is {what}",
            f"make the folder, set {variable} to the right one, or unset it (it is for {purpose})",
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding(
            "warning",
            TOPIC,
            f"{variable}={value} can be read but not written",
            f"nothing, unless you mean to write there ({purpose}): then change its permissions",
        )
    return Finding("ok", TOPIC, f"{variable}={value}")


def check_external_trainers() -> list[Finding]:
    """nnUNet_extTrainer: whether it holds our folder, and what else is in it."""
    folders = [folder for folder in os.environ.get("nnUNet_extTrainer", "").split(os.pathsep) if folder]
    ours = [folder for folder in folders if _same(folder, TRAINERS)]
    copies = [f for f in folders if f not in ours and (Path(f) / "spinesegdiff_trainers.py").is_file()]
    findings = [
        Finding(
            "warning",
            TOPIC,
            f"nnUNet_extTrainer: {folder} is not there, and nnU-Net skips it",
            f"unset nnUNet_extTrainer; {EVAL}",
        )
        for folder in folders
        if not Path(folder).is_dir()
    ]
    findings += [
        Finding(
            "warning",
            TOPIC,
            f"nnUNet_extTrainer: {folder} is of another copy of this package",
            f"unset nnUNet_extTrainer; {EVAL}",
        )
        for folder in copies
    ]
    if ours:
        findings.append(Finding("ok", TOPIC, "nnUNet_extTrainer holds our trainers"))
    elif not copies:
        findings.append(
            Finding(
                "warning",
                TOPIC,
                f"nnUNet_extTrainer {'does not hold our trainers' if folders else 'is not set'}",
                f"{EVAL}, before nnU-Net's own commands; those of spinesegdiff do without",
            )
        )
    return findings


def _same(folder: str, other: Path) -> bool:
    return os.path.realpath(folder) == os.path.realpath(other)
