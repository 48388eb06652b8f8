"""Descriptions: those of the paper's tables, and mistakes told in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.experiments.description import TABLES, read_description

from .conftest import SMALL


def test_table_1_is_in_the_papers_order():
    described = read_description(TABLES[1])
    rows = [(contrast.name, system.name) for contrast, system in described.rows()]
    systems = ["SpineSegDiff", "SpineSegDiff w/o IE", "Diff-UNet 2D", "IISDM", "nnU-Net"]
    assert rows == [(contrast, system) for contrast in ("T1w+T2w", "T1w", "T2w") for system in systems]
    assert described.dataset_ids([501]) == {"T1w": 501, "T2w": 502, "T1w+T2w": 503}
    assert described.dataset_ids([7, 9, 5]) == {"T1w": 7, "T2w": 9, "T1w+T2w": 5}


def test_table_5_has_epochs_a_contrast_and_rows_by_system():
    described = read_description(TABLES[5])
    assert described.configuration == "3d_fullres"
    assert [s.name for _, s in described.rows()] == ["nnU-Net"] * 3 + ["Diff-UNet"] * 3
    assert described.systems[1].trainers == {
        "T1w": "nnUNetTrainerDiffUNet_1350epochs",
        "T2w": "nnUNetTrainerDiffUNet_1400epochs",
        "T1w+T2w": "nnUNetTrainerDiffUNet_700epochs",
    }


def test_table_2_starts_from_the_presegmentations_of_its_first_system():
    described = read_description(TABLES[2])
    first, *others = described.systems
    assert first.presegment
    assert [s.stage1 for s in others] == [first.name] * 5
    depths = [s.trainers["T1w+T2w"].rsplit("_T", 1)[1] for s in others]
    assert depths == ["30", "100", "300", "500", "1000"]
    assert {s.flags for s in others} == {("--preset", "paper")}
    assert all(s.resumable for s in others)


def test_every_trainer_of_the_tables_is_one():
    """Its suffixes are possible, too: what only the class itself can tell."""
    from nnunetv2_spinesegdiff.training import trainers

    for table in TABLES.values():
        for system in read_description(table).systems:
            for name in system.trainers.values():
                assert getattr(trainers, name).__name__ == name


def test_flags_become_words(small):
    stock, refined = read_description(small).systems
    assert (stock.flags, stock.resumable) == ((), False)
    assert (refined.flags, refined.resumable) == (("--refine", "--num_samples", "3"), True)
    small.write_text(SMALL.replace("_1epochs}", "_1epochs, predict: {disable_tta: true}}"))
    stock = read_description(small).systems[0]
    assert (stock.flags, stock.resumable) == (("--disable_tta",), False)


MISTAKES = [
    ("title: Small\n", "", "title is missing"),
    ("title: Small", "title: 3", "title: must be a text, not 3"),
    ("title: Small", "titel: Small", "unknown key titel; known: title"),
    ("folds: [0, 1]", "folds: []", "folds: must be a list with entries"),
    ("folds: [0, 1]", "folds: [0, -1]", "folds[1]: must be a whole number from 0, not -1"),
    ("folds: [0, 1]", "folds: [0, 0]", "folds: 0 is given twice"),
    ("folds: [0, 1]", "folds: [true]", "folds[0]: must be a whole number from 0, not True"),
    ("convert: t2", "convert: t3", "contrasts[0].convert: must be one of t1, t2, t1t2, not t3"),
    ("dataset: 0", "datset: 0", "contrasts[0]: unknown key datset"),
    ("name: Stock", "name: refined t 30", "systems: refined_t_30 is given twice"),
    ("nnUNetTrainerStage1_1epochs", "Stage1_1epochs", "systems[0].trainer: Stage1_1epochs is no trainer"),
    ("nnUNetTrainerStage1_1epochs", "nnUNetTrainerStage1_1epoch", "unknown suffix '_1epoch'"),
    ("nnUNetTrainerStage1_1epochs", "nnUNetTrainerStage1_0epochs", "must be at least 1"),
    ("nnUNetTrainerStage1_1epochs", "nnUNetTrainerStage1_1epochs_2epochs", "is given twice"),
    ("nnUNetTrainerStage1_1epochs", "{T1w: nnUNetTrainer}", "systems[0].trainer: unknown key T1w"),
    ("num_samples: 3", "num_sample: 3", "systems[1].predict: --num_sample is no flag"),
    ("num_samples: 3", "num_samples: many", "systems[1].predict: argument --num_samples"),
    ("num_samples: 3", "num_samples: false", "systems[1].predict.num_samples: must be true or a value"),
    ("num_samples: 3", "no_refine: true", "systems[1].predict: argument --no_refine: not allowed"),
    ("_1epochs}", "_1epochs, predict: {preset: fast}}", "systems[0].predict: the trainer has no diffusion"),
    ("_1epochs}", "_1epochs, stage1: Stock}", "systems[0].stage1: must be one of the systems above it"),
    ("_1epochs}", "_1epochs, presegment: 1}", "systems[0].presegment: must be true or false, not 1"),
    (
        "_1epochs}",
        "_1epochs, control: yes please}",
        "systems[0].control: must be true or false, not 'yes please'",
    ),
    ("_1epochs}", "_1epochs, presegment: true}", "systems[0].presegment: wants all folds, but not all are"),
    (
        "SpineSegDiff_1epochs",
        "IISDM_1epochs\n    stage1: Stock",
        "systems[1].stage1: nnUNetTrainerIISDM_1epochs",
    ),
    ("SpineSegDiff_1epochs", "Mine\n    stage1: Stock", "systems[1].predict: the trainer has no diffusion"),
    ("title: Small", "title: [", "is no YAML"),
    (SMALL, "- 1", "must hold keys with values"),
]


@pytest.mark.parametrize(
    ("old", "new", "problem"), MISTAKES, ids=[new or "nothing" for _, new, _ in MISTAKES]
)
def test_mistakes_are_one_line_with_file_and_key(small, old, new, problem):
    assert old in SMALL
    small.write_text(SMALL.replace(old, new, 1))
    with pytest.raises(UserError) as refused:
        read_description(small)
    message = str(refused.value)
    assert message.startswith(f"{small}: ")
    assert problem in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("flag", ["preset: fast", "t_start: 1000", "no_refine: true"])
@pytest.mark.parametrize("base", ["FromNoise", "NoIE"])
def test_flags_of_refiners_are_refused_for_systems_from_noise(small, base, flag):
    line = "  - {{name: A, trainer: nnUNetTrainerSpineSegDiff{}_2epochs, predict: {{{}}}}}\n"
    small.write_text(SMALL + line.format("", flag))
    assert read_description(small).systems[2].resumable
    small.write_text(SMALL + line.format(base, flag))
    key = flag.split(":")[0]
    with pytest.raises(UserError, match=rf"systems\[2\]\.predict: {key}: .*{base}_2epochs starts from noise"):
        read_description(small)


def test_presegmentations_that_nobody_wants_are_refused(small):
    text = SMALL.replace("[0, 1]", "[0, 1, 2, 3, 4]").replace("_1epochs}", "_1epochs, presegment: true}")
    small.write_text(text)
    with pytest.raises(UserError, match=r"systems\[0\]\.presegment: no system names Stock as its stage1"):
        read_description(small)
    small.write_text(text + "    stage1: Stock\n")
    assert read_description(small).systems[0].presegment


def test_one_name_cannot_be_trained_on_two_stage_1(small):
    lines = "".join(
        f"  - {{name: {name}, trainer: nnUNetTrainerSpineSegDiff_2epochs{more}}}\n"
        for name, more in (("A", ", stage1: Stock"), ("B", ""))
    )
    small.write_text(SMALL + lines)
    with pytest.raises(UserError, match="nnUNetTrainerSpineSegDiff_2epochs is to be trained on two"):
        read_description(small)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_description(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("given", "problem"), [([1, 2], "T1w, T2w, T1w\\+T2w; 2 were given"), ([1, 2, 1], "twice")]
)
def test_ids_are_one_or_one_a_contrast(given, problem):
    with pytest.raises(UserError, match=problem):
        read_description(TABLES[1]).dataset_ids(given)


def test_the_description_in_readme_is_one(tmp_path):
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    example = next(
        block for block in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL) if "systems" in block
    )
    file = tmp_path / "readme.yaml"
    file.write_text(example)
    stage1, control, refined = read_description(file).systems
    assert (stage1.control, control.control, refined.control) == (False, True, False)
    assert refined.stage1 == stage1.name
    assert refined.flags == ("--preset", "fast")
