"""Small BIDS datasets, and the validator of BIDS."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

VALIDATOR = "bids-validator-deno"


def describe(dataset: Path, **more: object) -> Path:
    """Make the root of a dataset; `more` is added to its description."""
    dataset.mkdir(parents=True, exist_ok=True)
    description = {"Name": "Spines", "BIDSVersion": "1.10.0", "DatasetType": "raw", **more}
    (dataset / "dataset_description.json").write_text(json.dumps(description))
    (dataset / "README.md").write_text("Drawn spines for tests, without any meaning. " * 5)
    return dataset


def place(dataset: Path, name: str) -> Path:
    """Path of an image in a dataset, by its name; its folder is made."""
    parts = [part for part in name.split("_") if part.startswith(("sub-", "ses-"))]
    path = dataset.joinpath(*parts, "anat", f"{name}.nii.gz")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def errors_of(dataset: Path) -> list[str]:
    """What the validator of BIDS (version 2 or later) finds wrong; the test is skipped without it."""
    command = shutil.which(VALIDATOR)
    if command is None:
        pytest.skip(f"{VALIDATOR} is not installed: pip install bids-validator-deno deno")
    found = subprocess.run([command, "--json", str(dataset)], capture_output=True, text=True, timeout=120)
    issues = json.loads(found.stdout)["issues"]["issues"]
    return [f"{one['code']} {one.get('location')}" for one in issues if one["severity"] == "error"]
