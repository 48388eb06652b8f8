"""`nnUNetv2_predict --save_uncertainty` with a preset, evaluated, stopped half way and gone on with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from .conftest import Workspace

FLAGS = "--preset fast --save_uncertainty"


@pytest.fixture(scope="module")
def output(trained: Workspace, two_cases: Path) -> Path:
    trained.predict(two_cases, trained.root / "uncertain", FLAGS)
    return trained.root / "uncertain"


def test_maps_lie_over_the_scans_and_the_table_has_every_structure(output: Path, two_cases: Path):
    scans = sorted(two_cases.glob("*_0000.nii.gz"))
    assert len(scans) == 2
    for path in scans:
        case, scan = path.name.removesuffix("_0000.nii.gz"), sitk.ReadImage(str(path))
        heatmap = sitk.ReadImage(str(output / "uncertainty" / f"{case}_uncertainty.nii.gz"))
        for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert np.allclose(getattr(heatmap, get)(), getattr(scan, get)(), atol=1e-5), get
        assert heatmap.GetPixelID() == sitk.sitkFloat32
        assert sitk.GetArrayFromImage(heatmap).max() > 0.1
        assert (output / "uncertainty" / f"{case}_overlay.png").stat().st_size > 10_000
    table = pd.read_csv(output / "uncertainty" / "confidence.csv")
    assert list(table["structure"]) == ["spinal_canal", "vertebrae", "ivd"] * 2
    assert {"area_mm2", "mean_entropy_inside", "mean_entropy_boundary", "agreement"} < set(table)
    record = json.loads((output / "spinesegdiff_args.json").read_text())
    assert record["sampler"]["ddim_steps"] == 1
    assert record["mirror_refinement"] is False


def test_nnunets_evaluation_takes_the_folder(trained: Workspace, output: Path):
    files = f"-djfile {output}/dataset.json -pfile {output}/plans.json"
    trained.run(f"nnUNetv2_evaluate_folder {trained.raw / 'labelsTr'} {output} {files} -np 1 --chill")
    summary = json.loads((output / "summary.json").read_text())
    assert len(summary["metric_per_case"]) == 2


def test_going_on_does_again_what_is_truncated_only(trained: Workspace, two_cases: Path, output: Path):
    first, second = sorted((output / "uncertainty").glob("*_uncertainty.nii.gz"))
    whole, untouched = first.read_bytes(), second.stat().st_mtime_ns
    first.write_bytes(whole[:-30])
    told = trained.predict(two_cases, output, f"{FLAGS} --continue_prediction")
    assert "1 of 2 cases are finished already" in told
    assert first.read_bytes() == whole
    assert second.stat().st_mtime_ns == untouched


def test_going_on_in_another_way_is_one_line(trained: Workspace, two_cases: Path, output: Path):
    flags = "--preset balanced --continue_prediction"
    told = trained.predict(two_cases, output, flags, fails=True).splitlines()
    assert "Traceback" not in "".join(told)
    assert told[-1].startswith(f"error: {output}: holds masks of another kind")


def test_a_depth_that_was_not_trained_is_one_line(trained: Workspace, two_cases: Path):
    told = trained.predict(two_cases, trained.root / "deep", "--t_start 31", fails=True).splitlines()
    assert "Traceback" not in "".join(told)
    assert told[-1].startswith("error: t_start 31 is deeper than 30")
    assert not list((trained.root / "deep").glob("*.nii.gz"))
