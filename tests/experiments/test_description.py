"""Descriptions: those of the paper's tables, and mistakes reported in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.experiments import TABLES
from nnunetv2_spinesegdiff.experiments.description import read_description

from .conftest import PRESEGMENTED, SMALL


def test_table_1_is_in_the_papers_order():
    described = read_description(TABLES[1])
    rows = [(contrast.name, system.name) for contrast, system in described.rows()]
    systems = ["SpineSegDiff", "SpineSegDiff w/o IE", "Diff-UNet 2D", "IISDM", "nnU-Net"]
    assert rows == [(contrast, system) for contrast in ("T1w+T2w", "T1w", "T2w") for system in systems]
    assert described.dataset_ids([501]) == {"T1w": 501, "T2w": 502, "T1w+T2w": 503}
    assert described.dataset_ids([7, 9, 5]) == {"T1w": 7, "T2w": 9, "T1w+T2w": 5}
    for given, cause in (([1, 2], "T1w, T2w, T1w\\+T2w"), ([1, 2, 1], "twice")):
        with pytest.raises(UserError, match=f"-d: .*{cause}"):
            described.dataset_ids(given)


def test_table_5_has_epochs_for_each_contrast_and_rows_by_system():
    described = read_description(TABLES[5])
    assert described.configuration == "3d_fullres"
    assert [s.name for _, s in described.rows()] == ["nnU-Net"] * 3 + ["Diff-UNet"] * 3
    assert {c.name: described.systems[1].trainer_on(c) for c in described.contrasts} == {
        "T1w": "nnUNetTrainerDiffUNet_1350epochs",
        "T2w": "nnUNetTrainerDiffUNet_1400epochs",
        "T1w+T2w": "nnUNetTrainerDiffUNet_700epochs",
    }


def test_table_2_starts_from_the_presegmentations_of_its_first_system():
    first, *others = read_description(TABLES[2]).systems
    assert first.presegment
    assert {s.stage1 for s in others} == {first.name}
    readings = ["T30", "T100", "T300", "T500", "T1000", "N30", "N100", "N300", "N500"]
    assert [s.trainer.rsplit("_", 1)[1] for s in others] == readings
    assert {s.flags for s in others} == {("--preset", "paper")}
    assert all(s.resumable for s in others)


def test_every_trainer_of_the_tables_exists():
    """Its suffixes are possible, too: only the class itself knows."""
    from nnunetv2_spinesegdiff.training import trainers

    for description in map(read_description, TABLES.values()):
        for contrast, system in description.rows():
            name = system.trainer_on(contrast)
            assert getattr(trainers, name).__name__ == name


def test_flags_become_words(small):
    stock, refined = read_description(small).systems
    assert (stock.flags, stock.resumable) == ((), False)
    assert (refined.flags, refined.resumable) == (("--refine", "--num_samples", "3"), True)
    small.write_text(SMALL.replace("_1epochs}", "_1epochs, predict: {disable_tta: true}}"))
    stock = read_description(small).systems[0]
    assert (stock.flags, stock.resumable) == (("--disable_tta",), False)


STAGE1 = "nnUNetTrainerStage1_1epochs"
MISTAKES = [
    ("title: Small\n", "", "title", "required"),
    ("title: Small", "title: 3", "title", "string"),
    ("title: Small", "title: ' '", "title", ""),
    ("title: Small", "titel: Small\ntitle: Small", "titel", "unknown key"),
    ("folds: [0, 1]", "folds: []", "folds", "at least 1"),
    ("folds: [0, 1]", "folds: 3", "folds", ""),
    ("folds: [0, 1]", "folds: [0, -1]", "folds[1]", "greater"),
    ("folds: [0, 1]", "folds: [0, 0]", "folds", "0 is given twice"),
    ("folds: [0, 1]", "folds: [true]", "folds[0]", "integer"),
    ("convert: t2", "convert: t3", "contrasts[0].convert", "'t1', 't2' or 't1t2'"),
    ("dataset: 0", "dataset: 0, datset: 0", "contrasts[0].datset", "unknown key"),
    ("name: Stock", "name: refined t 30", "systems", "refined_t_30 is given twice"),
    (STAGE1, "Stage1_1epochs", "systems[0].trainer", "Stage1_1epochs"),
    (STAGE1, "3", "systems[0].trainer", "3"),
    (STAGE1, "nnUNetTrainerStage1_1epoch", "systems[0].trainer", "suffix '_1epoch'"),
    (STAGE1, "nnUNetTrainerStage1_0epochs", "systems[0].trainer", "at least 1"),
    (STAGE1, f"{STAGE1}_2epochs", "systems[0].trainer", "twice"),
    (STAGE1, "{T1w: nnUNetTrainer}", "systems", "Stock: trainer: .*T2w"),
    ("num_samples: 3", "num_sample: 3", "systems[1].predict", "--num_sample"),
    ("num_samples: 3", "num_samples: many", "systems[1].predict", "--num_samples"),
    ("num_samples: 3", "num_samples: false", "systems[1].predict", "num_samples"),
    ("num_samples: 3", "no_refine: true", "systems[1].predict", "--no_refine"),
    ("_1epochs}", "_1epochs, predict: {preset: fast}}", "systems[0].predict", "diffusion"),
    ("_1epochs}", "_1epochs, stage1: Stock}", "systems[0].stage1", "Stage1_1epochs"),
    ("_1epochs\n", "_1epochs\n    stage1: Nobody\n", "systems", "T = 30: stage1"),
    ("_1epochs}", "_1epochs, presegment: 1}", "systems[0].presegment", "boolean"),
    ("_1epochs}", "_1epochs, control: yes please}", "systems[0].control", "boolean"),
    ("_1epochs}", "_1epochs, presegment: true}", "systems", "Stock: presegment: .*all folds"),
    ("SpineSegDiff_1epochs", "IISDM_1epochs\n    stage1: Stock", "systems[1].stage1", "IISDM"),
    ("SpineSegDiff_1epochs", "Mine\n    stage1: Stock", "systems[1].predict", "diffusion"),
    ("title: Small", "title: [", "", "YAML"),
    (SMALL, "- 1", "", "Description"),
]


@pytest.mark.parametrize(
    ("old", "new", "key", "cause"), MISTAKES, ids=[new or "nothing" for _, new, *_ in MISTAKES]
)
def test_mistakes_are_one_line_with_file_and_key(small, old, new, key, cause):
    assert old in SMALL
    small.write_text(SMALL.replace(old, new, 1))
    with pytest.raises(UserError) as rejected:
        read_description(small)
    message = str(rejected.value)
    assert message.startswith(f"{small}: {key}")
    assert re.search(cause, message)
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("flag", ["preset: fast", "t_start: 1000", "no_refine: true"])
@pytest.mark.parametrize("base", ["FromNoise", "NoIE"])
def test_flags_of_refiners_are_rejected_for_systems_from_noise(small, base, flag):
    line = "  - {{name: A, trainer: nnUNetTrainerSpineSegDiff{}_2epochs, predict: {{{}}}}}\n"
    small.write_text(SMALL + line.format("", flag))
    assert read_description(small).systems[2].resumable
    small.write_text(SMALL + line.format(base, flag))
    with pytest.raises(UserError, match=rf"systems\[2\]\.predict: {flag.split(':')[0]}: .*{base}_2epochs"):
        read_description(small)


def test_stage_1_and_its_presegmentations_are_for_refiners(small):
    small.write_text(PRESEGMENTED.replace("    stage1: Stock\n", ""))
    with pytest.raises(UserError, match=r"Stock: presegment: .*stage1"):
        read_description(small)
    small.write_text(PRESEGMENTED)
    assert read_description(small).systems[0].presegment
    trainer = "nnUNetTrainerSpineSegDiff_2epochs"
    lines = (
        f"  - {{name: {n}, trainer: {trainer}{more}}}\n" for n, more in (("A", ", stage1: Stock"), ("B", ""))
    )
    small.write_text(SMALL + "".join(lines))
    with pytest.raises(UserError, match=f"{trainer} .*two different stage 1"):
        read_description(small)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read"):
        read_description(tmp_path / "none.yaml")


def test_the_description_in_the_documentation_is_valid(tmp_path):
    page = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "reproduce.md"
    (block,) = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    file = tmp_path / "experiment.yaml"
    file.write_text(block)
    stage1, control, refined = read_description(file).systems
    assert (stage1.control, control.control, refined.control) == (False, True, False)
    assert refined.stage1 == stage1.name
    assert refined.flags == ("--preset", "fast")
