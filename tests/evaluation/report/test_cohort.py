"""The folder of a cohort."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.report.cohort import CONTRASTS, FINDINGS, SPACINGS, run_cohort
from nnunetv2_spinesegdiff.files import save_json

from ...helpers.synthetic_scores import synthetic_gradings


@pytest.fixture
def inputs(tmp_path):
    """Thirty patients; 30 is graded only, 31 was scanned only."""
    synthetic_gradings(np.random.default_rng(0), 30).to_csv(tmp_path / "g.csv", index=False)
    patients = [p for p in range(1, 32) if p != 30]
    overview = pd.DataFrame(
        {
            "new_file_name": [f"{p}_{s}" for p in patients for s in ("t1", "t2")] + ["readme"],
            "sex": (["F ", "F"] * 20 + ["M", "M"] * 10) + [""],
            "subset": "training",
            "MagneticFieldStrength": 1.5,
            "PixelSpacing": ["[0.5, 0.5]", "wide"] * 30 + [""],
            "SpacingBetweenSlices": ["4.4", ""] * 30 + [""],
            "SliceThickness": 4.0,
        }
    )
    overview.to_csv(tmp_path / "o.csv", index=False)
    folds = [
        {
            "train": [f"SPIDER_{p:03d}_t1" for p in range(1, 30) if p % 5 != fold],
            "val": [f"SPIDER_{p:03d}_t1" for p in range(1, 30) if p % 5 == fold],
        }
        for fold in range(5)
    ]
    save_json(folds, tmp_path / "splits_final.json")
    return tmp_path


def run(inputs, *splits):
    return run_cohort(inputs / "g.csv", inputs / "o.csv", inputs / "out", [inputs / name for name in splits])


def test_everything_is_counted_and_written(inputs):
    cohort = run(inputs, "splits_final.json")
    assert len(cohort.tables) == 7
    out = inputs / "out"
    assert sorted(path.name for path in out.iterdir()) == ["cohort.csv", "cohort.json", "cohort.md"]
    record = json.loads((out / "cohort.json").read_text())
    assert list(record["tables"]) == list(cohort.tables)
    findings = cohort.tables[FINDINGS]
    assert [row["patients"] for row in record["tables"][FINDINGS]] == findings["patients"].map(str).tolist()
    text = (out / "cohort.md").read_text()
    for part in (*cohort.tables, *cohort.notes, str(cohort.tables[FINDINGS]["patients"].iloc[0])):
        assert part in text
    notes = "\n".join(cohort.notes)
    for count in (
        *("gradings but no series (30)", "series but no gradings (31)", "20 of sex", "(readme)"),
        *("no Manufacturer", "SpacingBetweenSlices: 30", "(wide)", "never validated on (30)"),
    ):
        assert count in notes, count


def test_the_long_table_holds_the_same_numbers(inputs):
    cohort = run(inputs, "splits_final.json")
    long = pd.read_csv(inputs / "out" / "cohort.csv").set_index(["section", "item", "measure"])
    for _, row in cohort.tables[FINDINGS].iterrows():
        line = long.loc[(FINDINGS, row["finding"], "patients")]
        assert (line["count"], line["total"]) == (row["count"], row["total"])
        assert line["percent"] == pytest.approx(row["percent"], rel=1e-5)
        assert long.loc[(FINDINGS, row["finding"], "discs"), "count"] == row["discs"]
    assert long.loc[(CONTRASTS, "T1w+T2w", "series"), "count"] == 60
    assert long.loc[(CONTRASTS, "T1w+T2w", "patients"), "count"] == 30
    assert long.loc[("Sex", "F", "patients"), "count"] == 20
    assert long.loc[("Field strength in T", "1.5", "series"), "count"] == 60
    assert long.loc[(SPACINGS, "PixelSpacing all", "high"), "value"] == 0.5
    assert long.loc[(SPACINGS, "SpacingBetweenSlices all", "missing"), "count"] == 30
    fold = cohort.tables["Folds of splits_final.json"].iloc[2]
    bulging = long.loc[("Folds of splits_final.json", "fold 2", "Disc bulging"), "percent"]
    assert bulging == pytest.approx(fold["Disc bulging"], rel=1e-5)
    assert not long.index.duplicated().any()


def test_bad_folds_stop_it_before_anything_is_written(inputs):
    fold = {"train": ["1"], "val": ["2"]}
    for content in ("", "[]", json.dumps([fold, fold])):
        (inputs / "bad.json").write_text(content)
        with pytest.raises(UserError, match=r"bad\.json"):
            run(inputs, "bad.json")
        assert not (inputs / "out").exists()
