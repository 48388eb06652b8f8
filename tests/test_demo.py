"""`spinesegdiff demo`: the example scans, the bundled model, and what is printed of the results."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff import demo, example_scans
from nnunetv2_spinesegdiff.cli import main
from nnunetv2_spinesegdiff.labels import CLASSES

SCANS = ("81_t1", "81_t2")
STRUCTURES = ["spinal canal", "vertebrae", "discs"]
NUMBERED = 7
"""Vertebrae, and discs, that SPIDER's readers labelled in each of the two series."""


@dataclass(frozen=True)
class Run:
    """Where a demo wrote its results, and what it printed."""

    folder: Path
    printed: str

    @property
    def table(self) -> pd.DataFrame:
        return demo.found_in(pd.read_csv(self.folder / "measurements.csv"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The whole command, with none of nnU-Net's environment variables."""
    folder = tmp_path_factory.mktemp("demo") / "new" / "out"
    words = [sys.executable, "-m", "nnunetv2_spinesegdiff", "demo", "-o", str(folder), "-device", "cpu"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("nnUNet_")}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return Run(folder, done.stdout)


def test_every_result_of_both_scans_is_written(finished):
    endings = ("_seg.nii.gz", "_uncertainty.nii.gz", "_overlay.png")
    expected = {f"{scan}{ending}" for scan in SCANS for ending in endings}
    visible = {path.name for path in finished.folder.iterdir() if not path.name.startswith(".")}
    assert visible == {*expected, "measurements.csv", "run.json"}


@pytest.mark.parametrize("number", [0, 1])
def test_masks_hold_every_structure_on_the_grid_of_the_scan(finished, number):
    scan = sitk.ReadImage(str(example_scans()[number]))
    mask = sitk.ReadImage(str(finished.folder / f"{SCANS[number]}_seg.nii.gz"))
    assert mask.GetSize() == scan.GetSize()
    assert mask.GetOrigin() == pytest.approx(scan.GetOrigin(), abs=1e-3)
    assert set(np.unique(sitk.GetArrayViewFromImage(mask))) == set(CLASSES.values())


def test_the_bundled_model_finds_the_lumbar_spine(finished):
    found = finished.table.set_index(["scan", "structure"])["found"]
    for scan in SCANS:
        assert found[scan, "spinal canal"] >= 1
        for structure in ("vertebrae", "discs"):
            assert abs(found[scan, structure] - NUMBERED) <= 2, (scan, structure)


def test_table_and_paths_are_printed(finished):
    assert finished.table.to_string(index=False) in finished.printed
    pictures = [finished.folder / f"{scan}_overlay.png" for scan in SCANS]
    assert [Path(line) for line in re.findall("(?m)^Picture: (.*)$", finished.printed)] == pictures
    command = finished.printed.splitlines()[0]
    assert command.startswith("$ spinesegdiff segment -i ")


def test_vertebrae_and_discs_are_counted_by_their_numbers_and_the_canal_by_its_parts():
    rows = [
        ("a", "spinal_canal", None, 2, 900.4, 0.05),
        ("a", "vertebrae", None, 9, 5000.6, 0.0312),
        ("a", "ivd", None, 0, 0.0, None),
        ("a", "vertebrae", 1, None, 800.0, 0.9),
        ("a", "vertebrae", 2, None, 800.0, 0.9),
        ("b", "spinal_canal", None, 0, 0.0, None),
        ("b", "vertebrae", None, 0, 0.0, None),
        ("b", "ivd", None, 1, 300.0, 0.2),
        ("b", "ivd", 1, None, 300.0, 0.2),
    ]
    columns = ["scan", "structure", "number", "parts", "area_mm2", "mean_uncertainty"]
    found = demo.found_in(pd.DataFrame(rows, columns=columns))
    assert found["scan"].tolist() == ["a"] * 3 + ["b"] * 3
    assert found["structure"].tolist() == STRUCTURES * 2
    assert found["found"].tolist() == [2, 2, 0, 0, 0, 1]
    assert found["area (mm2)"].tolist() == [900, 5001, 0, 0, 0, 300]
    assert found["mean uncertainty"].tolist() == pytest.approx([0.05, 0.031, *[np.nan] * 3, 0.2], nan_ok=True)


@pytest.mark.parametrize("kind", ["file", "full folder"])
def test_only_a_new_folder_is_taken(tmp_path, kind, capsys):
    output = tmp_path / "out"
    if kind == "file":
        output.touch()
    else:
        output.mkdir()
        (output / "something").touch()
    assert main(["demo", "-o", str(output)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {output}: ")
    assert kind == "file" or [path.name for path in output.iterdir()] == ["something"]


def test_a_failure_of_segment_is_that_of_the_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "main", lambda words: 3)
    assert demo.run_demo(tmp_path / "out") == 3
    assert "Picture:" not in capsys.readouterr().out


@pytest.mark.parametrize("device", [None, "cpu"])
def test_segment_gets_the_chosen_device_and_else_its_own_default(tmp_path, monkeypatch, device):
    given = []

    def segment(words):
        given.extend(words)
        return 1

    monkeypatch.setattr(demo, "main", segment)
    demo.run_demo(tmp_path / "out", device=device)
    assert given[:3] == ["segment", "-i", str(example_scans()[0].parent)]
    assert given[5:] == (["-device", device] if device else [])
