"""`spinesegdiff convert`: its words reach `convert`, and its report the user."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
from nnunetv2_spinesegdiff.dataset_conversion import convert as conversion

from nnunetv2_spinesegdiff.cli import main

from ..helpers.spider_series import write_cohort

FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
WORDS = {
    "dataset_name": ("--name", "Spine"),
    "contrast": ("--contrast", "t2"),
    "t2_source": ("--t2_source", "space"),
    "partial_vertebrae": ("--partial_vertebrae", "ignore"),
    "ignore_label": ("--ignore_label", 255),
    "max_oblique_deg": ("--max_oblique_deg", 7.5),
    "splits": ("--splits", Path("folds.json")),
    "slices": ("--slices", "all"),
    "dim": ("--dim", "3d"),
    "num_processes": ("-np", 3),
    "seed": ("--seed", 99),
}


@pytest.fixture
def folders(tmp_path, monkeypatch) -> dict[str, Path]:
    for variable in FOLDERS:
        monkeypatch.setenv(variable, str(tmp_path / variable))
    return {variable.lower(): tmp_path / variable for variable in FOLDERS}


@pytest.fixture
def called(monkeypatch, folders) -> dict[str, object]:
    """The arguments of `convert`, which does nothing."""
    arguments: dict[str, object] = {}

    def stand_in(spider, dataset_id, **keywords):
        arguments.update({"spider": spider, "dataset_id": dataset_id, **keywords})
        report = conversion.ConversionReport(Path("dataset"), Path("splits_final.json"))
        report.failures.append(conversion.Failure("1_t1.mha", "1_t1.mha: is broken"))
        return report

    monkeypatch.setattr(conversion, "convert", stand_in)
    return arguments


PARAMETERS = inspect.signature(conversion.convert).parameters


def test_every_option_is_passed_on(called, folders):
    words = [str(word) for pair in WORDS.values() for word in pair]
    main(["convert", "-i", "scans", "-d", "77", *words])
    assert set(called) == set(PARAMETERS)
    expected = {keyword: value for keyword, (_, value) in WORDS.items()}
    assert called == {"spider": [Path("scans")], "dataset_id": 77, **expected, **folders}


def test_the_defaults_are_those_of_the_function(called, folders, monkeypatch):
    monkeypatch.delenv("nnUNet_results")
    main(["convert", "-i", "scans", "-d", "77"])
    required = {"spider", "dataset_id", "nnunet_raw", "nnunet_preprocessed"}
    assert {name: value for name, value in called.items() if name not in required} == {
        name: parameter.default for name, parameter in PARAMETERS.items() if name not in required
    }


def test_status_and_lines_of_bad_series(tmp_path, folders, capsys):
    scans = tmp_path / "scans"
    words = ["convert", "-i", str(scans), "-d", "501", "-np", "1"]
    write_cohort(scans)
    path = scans / "images" / "3_t1.mha"
    path.write_bytes(path.read_bytes()[:-2000])
    assert main(words) == 1
    shown = capsys.readouterr()
    (error,) = [line for line in shown.err.splitlines() if "error" in line]
    assert error.startswith(f"error: {path}: ")
    dataset = folders["nnunet_raw"] / "Dataset501_SPIDER"
    assert shown.out.splitlines()[-1] == f"11 cases of 6 patients in {dataset}"
    assert json.loads((dataset / "dataset.json").read_text())["numTraining"] == 11
    write_cohort(scans)
    assert main(words) == 0
    capsys.readouterr()
    for mask in (scans / "masks").iterdir():
        mask.write_bytes(b"")
    assert main(words) == 1
    shown = capsys.readouterr()
    assert "0 cases" not in shown.out
    errors = [line for line in shown.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 13
    assert "no dataset" in errors[-1]
