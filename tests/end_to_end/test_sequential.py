"""Prediction without worker processes, as people run it where these hang."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from .conftest import Workspace


def test_it_writes_the_same_masks_and_all_that_was_asked_for(
    trained: Workspace, two_cases: Path, refined: Path
):
    output = trained.root / "sequential"
    trained.predict(two_cases, output, "-npp 0 -nps 0 --save_uncertainty --save_probabilities")
    masks = sorted(refined.glob("*.nii.gz"))
    assert len(masks) == 2
    for mask in masks:
        case = mask.name.removesuffix(".nii.gz")
        assert mask.read_bytes() == (output / mask.name).read_bytes()
        assert (output / f"{case}.npz").is_file()
        for ending in ("_uncertainty.nii.gz", "_uncertainty_per_class.nii.gz", "_overlay.png"):
            assert (output / "uncertainty" / f"{case}{ending}").is_file()
    assert len(pd.read_csv(output / "uncertainty" / "confidence.csv")) == 6
