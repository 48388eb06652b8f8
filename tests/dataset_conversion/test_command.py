"""`spinesegdiff convert`: its exit status, its lines, and what its options do."""

from __future__ import annotations

import json

from nnunetv2_spinesegdiff.cli import main

from ..helpers.spider_series import write_cohort


def test_status_and_lines(tmp_path, monkeypatch, capsys, forked_workers):
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    scans = tmp_path / "scans"
    words = ["convert", "-i", str(scans), "-d", "501", "-np", "1"]
    write_cohort(scans)
    path = scans / "images" / "3_t1.mha"
    path.write_bytes(path.read_bytes()[:-2000])
    assert main(words) == 1
    shown = capsys.readouterr()
    (error,) = [line for line in shown.err.splitlines() if "error" in line]
    assert error.startswith(f"error: {path}: ")
    dataset = tmp_path / "nnUNet_raw" / "Dataset501_SPIDER"
    assert shown.out.splitlines()[-1] == f"11 cases of 6 patients in {dataset}"
    assert json.loads((dataset / "dataset.json").read_text())["numTraining"] == 11
    write_cohort(scans)
    options = "--name Spine --contrast t2 --t2_source space --partial_vertebrae ignore --ignore_label 255"
    options += " --max_oblique_deg 7.5 --slices all --dim 3d --seed 9"
    assert main([*words[:-3], "502", *options.split()]) == 0
    other = tmp_path / "nnUNet_raw" / "Dataset502_Spine"
    assert "6 cases of 6 patients" in capsys.readouterr().out
    record = json.loads((other / "dataset.json").read_text())
    assert record["labels"]["ignore"] == 4
    assert record["conversion"]["dim"] == "3d"
    for mask in (scans / "masks").iterdir():
        mask.write_bytes(b"")
    assert main(words) == 1
    shown = capsys.readouterr()
    assert "0 cases" not in shown.out
    errors = [line for line in shown.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 13
    assert "no dataset" in errors[-1]
