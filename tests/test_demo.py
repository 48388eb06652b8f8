"""`spinesegdiff demo`: the example scans, the bundled model, and what is printed of the results."""

from __future__ import annotations

import io
import os
import re
import socket
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff import SpineSegmenter, demo, example_scans
from nnunetv2_spinesegdiff.cli import main
from nnunetv2_spinesegdiff.demo_train import run_demo_train
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.labels import CLASSES

from .helpers.run_schema import valid_run

SCANS = ("81_t1", "81_t2")
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
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The whole command, without a network and with none of nnU-Net's environment variables."""
    folder, printed = tmp_path_factory.mktemp("demo") / "new" / "out", io.StringIO()

    def refused(*_: object) -> None:
        raise AssertionError("asked for a network")

    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setattr(socket.socket, "connect", refused)
        for variable in [name for name in os.environ if name.startswith("nnUNet_")]:
            patch.delenv(variable)
        assert main(["demo", "-o", str(folder), "-device", "cpu"]) == 0
    return Run(folder, printed.getvalue())


def test_every_result_is_written_and_printed(finished):
    endings = ("seg.nii.gz", "uncertainty.nii.gz", "levels.nii.gz", "levels.seg.nrrd", "overlay.png")
    expected = {f"{scan}_{ending}" for scan in SCANS for ending in endings}
    expected |= {"level_names.json", "level_colors.ctbl", "index.html"}
    visible = {path.name for path in finished.folder.iterdir() if not path.name.startswith(".")}
    assert visible == {*expected, "measurements.csv", "run.json"}
    assert valid_run(finished.folder / "run.json")["model"]["bundled"] is True
    assert finished.table.to_string(index=False) in finished.printed
    pictures = [finished.folder / f"{scan}_overlay.png" for scan in SCANS]
    assert [Path(line) for line in re.findall("(?m)^Picture: (.*)$", finished.printed)] == pictures
    assert finished.printed.startswith("$ spinesegdiff segment -i ")


def test_masks_are_those_of_python_with_every_structure_on_the_grid_of_the_scan(finished):
    with SpineSegmenter(device="cpu") as segmenter:
        for name, path in zip(SCANS, example_scans(), strict=True):
            scan, mask = (sitk.ReadImage(str(p)) for p in (path, finished.folder / f"{name}_seg.nii.gz"))
            assert mask.GetSize() == scan.GetSize()
            assert mask.GetOrigin() == pytest.approx(scan.GetOrigin(), abs=1e-3)
            labels = sitk.GetArrayFromImage(mask)
            assert set(np.unique(labels)) == set(CLASSES.values())
        assert np.array_equal(sitk.GetArrayFromImage(segmenter.segment(path).mask), labels)


def test_the_bundled_model_finds_the_lumbar_spine(finished):
    found = finished.table.set_index(["scan", "structure"])["found"]
    for scan in SCANS:
        assert found[scan, "spinal canal"] >= 1
        for structure in ("vertebrae", "discs"):
            assert abs(found[scan, structure] - NUMBERED) <= 2, (scan, structure)


def test_vertebrae_and_discs_are_counted_by_their_numbers_and_the_canal_by_its_parts():
    rows = [
        ("a", "spinal_canal", None, 2, 900.4, 0.05),
        ("a", "vertebrae", None, 9, 5000.6, 0.0312),
        ("a", "ivd", None, 0, 0.0, None),
        ("a", "vertebrae", 1, None, 800.0, 0.9),
        ("a", "vertebrae", 2, None, 800.0, 0.9),
        ("b", "ivd", None, 1, 300.0, 0.2),
        ("b", "ivd", 1, None, 300.0, 0.2),
    ]
    columns = ["scan", "structure", "number", "parts", "area_mm2", "mean_uncertainty"]
    found = demo.found_in(pd.DataFrame(rows, columns=columns))
    assert found["scan"].tolist() == ["a", "a", "a", "b"]
    assert found["structure"].tolist() == ["spinal canal", "vertebrae", "discs", "discs"]
    assert found["found"].tolist() == [2, 2, 0, 1]
    assert found["area (mm2)"].tolist() == [900, 5001, 0, 300]
    assert found["mean uncertainty"].tolist() == pytest.approx([0.05, 0.031, np.nan, 0.2], nan_ok=True)


@pytest.mark.parametrize("run", [demo.run_demo, run_demo_train])
@pytest.mark.parametrize("kind", ["file", "full folder"])
def test_only_a_new_folder_is_taken(tmp_path, kind, run):
    output = tmp_path / "out"
    if kind == "file":
        output.touch()
    else:
        output.mkdir()
        (output / "something").touch()
    with pytest.raises(UserError, match=re.escape(f"{output}: ")):
        run(output)
    assert kind == "file" or [path.name for path in output.iterdir()] == ["something"]


@pytest.mark.parametrize("device", [None, "cpu"])
def test_segment_gets_the_chosen_device_and_its_failure_is_that_of_the_demo(
    tmp_path, monkeypatch, device, capsys
):
    given = []

    def segment(words):
        given.extend(words)
        return 3

    monkeypatch.setattr(demo, "main", segment)
    assert demo.run_demo(tmp_path / "out", device=device) == 3
    assert given[:3] == ["segment", "-i", str(example_scans()[0].parent)]
    assert given[5:] == (["-device", device] if device else [])
    assert "Picture:" not in capsys.readouterr().out
