"""From the folder of an evaluation and gradings to the folder of tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.findings import FINDINGS, gradings_of
from nnunetv2_spinesegdiff.evaluation.pathology import patient_tests
from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import (
    CASE_COLUMNS,
    FILE_COLUMNS,
    LEVEL_COLUMNS,
    SCORE_COLUMNS,
    Evaluation,
    System,
    write_evaluation,
)
from nnunetv2_spinesegdiff.evaluation.report.pathology import read_pathology, run_pathology

from ...helpers.synthetic_scores import (
    STRUCTURES,
    synthetic_gradings,
    synthetic_level_scores,
    synthetic_scores,
)

SLIP = "Spondylolisthesis"
SEED = 4


def write(folder, scores, level_scores=None, left_out=()):
    scores = scores.reindex(columns=list(SCORE_COLUMNS)).assign(found="both")
    cases = scores[list(CASE_COLUMNS)].drop_duplicates().assign(**dict.fromkeys(FILE_COLUMNS))
    systems = [System(*key) for key in dict.fromkeys(zip(scores["system"], scores["data"], strict=True))]
    more = {}
    if level_scores is not None:
        more["level_scores"] = level_scores.reindex(columns=list(LEVEL_COLUMNS))
    structures = {name: value for value, name in enumerate(STRUCTURES, 1)}
    write_evaluation(Evaluation(folder, structures, tuple(systems), scores, cases, left_out=left_out, **more))


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(SEED)
    gradings = synthetic_gradings(rng)
    return gradings, synthetic_scores(rng, gradings), synthetic_level_scores(rng, gradings)


@pytest.fixture
def inputs(tmp_path, cohort):
    gradings, scores, level_scores = cohort
    gradings.to_csv(tmp_path / "g.csv", index=False)
    write(tmp_path / "eval", scores, level_scores)
    write(tmp_path / "flat", scores)
    return tmp_path


@pytest.mark.parametrize("mixed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_results_are_written_and_read(inputs, cohort, mixed):
    done = run_pathology(inputs / "eval", inputs / "g.csv", mixed=mixed, pfirrmann=3)
    assert done.folder == inputs / "eval" / "pathology"
    read = read_pathology(done.folder)
    for name in ("table", "levels", "values"):
        pd.testing.assert_frame_equal(
            getattr(read, name), getattr(done, name), rtol=1e-5, check_dtype=False, check_column_type=False
        )
    assert (read.notes, dict(read.settings)) == (done.notes, dict(done.settings))
    assert str(read.values[SLIP].dtype) == "boolean"
    gradings, scores, _ = cohort
    expected = patient_tests(scores, gradings_of(gradings, "g.csv", 3).by_patient, mixed)
    # The folder keeps six digits of a score.
    assert done.table["p"].tolist() == pytest.approx(expected["p"].tolist(), rel=1e-3, nan_ok=True)
    table, discs = done.table.set_index(["finding", "structure"]), done.levels.set_index("finding")
    assert (table.loc[(SLIP, "ivd"), "significant"], discs.loc[SLIP, "significant"]) == (True, True)
    degenerated = (gradings.groupby("Patient")["Pfirrman grade"].max() >= 3).sum()
    assert table.loc[("Disc degeneration", "ivd"), "present"] == degenerated
    values = pd.read_csv(done.folder / "patient_scores.csv")
    assert list(values)[5:] == list(FINDINGS)
    row = table.loc[(SLIP, "ivd")]
    means = values[values["structure"] == "ivd"].groupby(SLIP)["dice"].mean().to_dict()
    assert means == pytest.approx({False: row["mean_absent"], True: row["mean_present"]})
    page = (done.folder / "pathology.md").read_text()
    made = int(done.table["p"].notna().sum())
    for part in (
        f"{made} tests (8 findings, 3 structures, 1 systems)",
        f"{24 - made} more",
        f"| {row['mean_present']:.3f} ± {row['sd_present']:.3f} ({row['present']}) |",
        "80 patients with 160 predicted cases",
        *done.notes,
    ):
        assert part in page


def test_small_groups_are_tested_where_asked_for_and_noted(inputs):
    done = run_pathology(inputs / "flat", inputs / "g.csv", fewest=2)
    assert done.settings["fewest"] == 2
    few = next(note for note in done.notes if "Fewer than 10" in note)
    assert "Disc bulging (2)" in few
    assert SLIP not in few
    with pytest.raises(UserError, match="2 or more"):
        run_pathology(inputs / "flat", inputs / "g.csv", fewest=1)


def test_unmatched_patients_skipped_scores_and_missing_columns_are_counted(tmp_path, cohort):
    gradings, scores, level_scores = cohort
    gradings[gradings["Patient"] != 3].drop(columns="Modic").to_csv(tmp_path / "g.csv", index=False)
    scores = scores[scores["patient"] != "8"].copy()
    scores.loc[(scores["structure"] == "ivd") & (scores["patient"] == "5"), "dice"] = np.nan
    write(tmp_path / "eval", scores, level_scores, left_out=("case_x: no label",))
    done = run_pathology(tmp_path / "eval", tmp_path / "g.csv")
    assert done.settings["without_gradings"] == ["3"]
    assert done.settings["without_scores"] == ["8"]
    assert done.settings["missing_columns"] == ["Modic"]
    assert done.settings["skipped_dice"] == {"ivd": 2, "spinal_canal": 0, "vertebrae": 0}
    notes = "\n".join(done.notes)
    for words in (
        *("scores but no gradings: 3.", "gradings but no scores: 8.", "skipped 2 times: ivd 2."),
        *("no Modic", "case_x: no label", "553 discs"),
    ):
        assert words in notes, words
    row = done.table.set_index(["finding", "structure"]).loc[(SLIP, "ivd")]
    assert (row["present"] + row["absent"], row["unknown"]) == (77, 1)
    assert "Modic changes" not in set(done.table["finding"])


@pytest.mark.parametrize("style", ["{:03d}", "{}.0", " {}"])
def test_patients_are_matched_whatever_their_writing(inputs, cohort, style):
    gradings = cohort[0].assign(Patient=[style.format(patient) for patient in cohort[0]["Patient"]])
    gradings.to_csv(inputs / "other.csv", index=False)
    done, other = (run_pathology(inputs / "flat", inputs / name) for name in ("g.csv", "other.csv"))
    pd.testing.assert_frame_equal(done.table, other.table)


def test_systems_are_chosen_by_name_or_label(tmp_path, cohort):
    gradings, scores, _ = cohort
    gradings.to_csv(tmp_path / "g.csv", index=False)
    named = [scores.assign(system=name, data=data) for name, data in (("A", "T1w"), ("A", "T2w"), ("B", ""))]
    write(tmp_path / "eval", pd.concat(named))
    for names, labels in (
        (None, ["A (T1w)", "A (T2w)", "B"]),
        (("A",), ["A (T1w)", "A (T2w)"]),
        (("A (T2w)",), ["A (T2w)"]),
        (("A (T1w)", "B"), ["A (T1w)", "B"]),
    ):
        done = run_pathology(tmp_path / "eval", tmp_path / "g.csv", systems=names)
        assert done.settings["systems"] == labels
        assert len(done.table) == 24 * len(labels)
        assert done.settings["tests"] == done.table["p_corrected"].notna().sum()
    with pytest.raises(UserError, match=r"^C: no such system; .*A \(T1w\), A \(T2w\), B"):
        run_pathology(tmp_path / "eval", tmp_path / "g.csv", systems=["A", "C"])


def test_gradings_of_other_patients_are_rejected(inputs):
    table = pd.read_csv(inputs / "g.csv")
    table.assign(Patient=table["Patient"] + 1000).to_csv(inputs / "g.csv", index=False)
    with pytest.raises(UserError, match=r"g\.csv: .*'1' there, '1001' here"):
        run_pathology(inputs / "eval", inputs / "g.csv")
    assert not (inputs / "eval" / "pathology").exists()


def test_incomplete_results_are_rejected(inputs):
    out = inputs / "out"
    with pytest.raises(UserError, match=r"pathology\.json; .*spinesegdiff pathology"):
        read_pathology(out)
    done = run_pathology(inputs / "flat", inputs / "g.csv", out)
    assert not (out / "levels.csv").exists()
    assert read_pathology(out).levels.empty
    assert any("level by level" in note for note in done.notes)
    table = pd.read_csv(out / "pathology.csv")
    table.drop(columns="p").to_csv(out / "pathology.csv", index=False)
    with pytest.raises(UserError, match=r"pathology\.csv lacks p"):
        read_pathology(out)
    (out / "pathology.csv").unlink()
    with pytest.raises(UserError, match=r"no pathology\.csv"):
        read_pathology(out)
    (out / "pathology.json").write_text("{")
    with pytest.raises(UserError, match="make it again"):
        read_pathology(out)
