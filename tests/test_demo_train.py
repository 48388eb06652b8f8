"""The training demo without its long commands: what it would run, in which environment, and what it shows."""

from __future__ import annotations

import os
import shlex

import numpy as np
import pandas as pd
from nnunetv2_spinesegdiff.dataset_conversion.phantom.tables import GRADING_COLUMNS

from nnunetv2_spinesegdiff import demo_train
from nnunetv2_spinesegdiff.cli import build_parser, main
from nnunetv2_spinesegdiff.environment import COMMANDS, TRAINERS

from .helpers.masks import label_map, predictions, raw_dataset, write_volume


def test_every_command_of_ours_has_words_that_our_parser_takes(tmp_path):
    commands = [
        shlex.split(line) for line in demo_train._commands(demo_train.DemoFolders(tmp_path), "cpu", 3)
    ]
    ours = [words[1:] for words in commands if words[0] == "spinesegdiff"]
    assert [words[0] for words in ours] == [
        *("phantom", "phantom", "convert", "convert", "export", "segment", "report")
    ]
    for words in ours:
        build_parser().parse_args(words)
    assert [words[0] for words in commands[4:6]] == ["nnUNetv2_plan_and_preprocess", "nnUNetv2_train"]
    predictions = [words for words in commands if words[0] == "nnUNetv2_predict"]
    assert ["--no_refine" in words for words in predictions] == [True, False]
    assert ["--refine" in words for words in predictions] == [False, True]
    cohort, unseen = commands[:2]
    assert cohort[cohort.index("--seed") + 1] != unseen[unseen.index("--seed") + 1]


def test_the_environment_is_the_demos_own(tmp_path, monkeypatch):
    monkeypatch.setenv("spinesegdiff_stage1", "nnUNetTrainerStage1_250epochs")
    monkeypatch.setenv("nnUNet_results", "/the/users/own")
    environment = demo_train._environment(demo_train.DemoFolders(tmp_path))
    assert "spinesegdiff_stage1" not in environment
    assert environment["nnUNet_results"] == str(tmp_path / "nnUNet_results")
    assert environment["PATH"].split(os.pathsep)[0] == str(COMMANDS)
    assert str(TRAINERS) in environment["nnUNet_extTrainer"].split(os.pathsep)


def test_a_command_that_fails_ends_the_demo_with_its_last_line(tmp_path, monkeypatch, capsys):
    lines = ["sh -c 'echo first'", "sh -c 'echo some; echo why; exit 3'", "sh -c 'touch never'"]
    monkeypatch.setattr(demo_train, "_commands", lambda *args: lines)
    monkeypatch.chdir(tmp_path)
    assert main(["demo-train", "-o", "out"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "01_sh.txt" in error
    assert "ended with status 3 (why)" in error
    assert len(error.splitlines()) == 1
    assert (tmp_path / "out" / "logs" / "00_sh.txt").read_text() == "first\n"
    assert not (tmp_path / "never").exists()


def test_the_end_is_a_table_a_report_and_a_picture(tmp_path, capsys):
    """Of masks as the predictions leave them: the demo's own last command, and what it shows."""
    folders = demo_train.DemoFolders(tmp_path)
    patients = tmp_path / "unseen_patients"
    raw_dataset(folders.unseen, ["SPIDER_001_t1", "SPIDER_002_t2"])
    for how, share in (("no_refine", 0.5), ("refine", 0.1)):
        predictions(folders.predictions(how), folders.unseen, share)
    for i, case in enumerate(("1_t1", "2_t2")):
        write_volume(np.where(label_map(i) == 3, 201, 0).astype(np.uint8), patients / "masks" / f"{case}.mha")
    series = [(stem, "F") for stem in ("1_t1", "2_t2")]
    pd.DataFrame(series, columns=["new_file_name", "sex"]).to_csv(patients / "overview.csv", index=False)
    gradings = [[patient, 1, *[0] * 7, 3] for patient in (1, 2)]
    pd.DataFrame(gradings, columns=list(GRADING_COLUMNS)).to_csv(
        patients / "radiological_gradings.csv", index=False
    )
    last = shlex.split(demo_train._commands(folders, "cpu", 0)[-1])
    assert main(last[1:]) == 0
    capsys.readouterr()
    demo_train._show(folders)
    shown = capsys.readouterr().out
    assert "| Refined | T1w + T2w | " in shown
    for name in ("report.html", "report_files/figures/cases.png"):
        assert str(tmp_path / name) in shown
        assert (tmp_path / name).stat().st_size > 10_000
