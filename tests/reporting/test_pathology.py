"""From the folder of an evaluation and gradings to the folder of tests."""

from __future__ import annotations

import json

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
from tests.made_up_scores import STRUCTURES, made_up_gradings, made_up_level_scores, made_up_scores

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
def made_up():
    rng = np.random.default_rng(SEED)
    gradings = made_up_gradings(rng)
    return gradings, made_up_scores(rng, gradings), made_up_level_scores(rng, gradings)


@pytest.fixture
def inputs(tmp_path, made_up):
    gradings, scores, level_scores = made_up
    gradings.to_csv(tmp_path / "g.csv", index=False)
    write(tmp_path / "eval", scores, level_scores)
    return tmp_path


def test_spondylolisthesis_is_found_from_files(inputs, made_up):
    done = run_pathology(inputs / "eval", inputs / "g.csv")
    assert done.folder == inputs / "eval" / "pathology"
    table = done.table.set_index(["finding", "structure"])
    assert table.loc[(SLIP, "ivd"), "significant"]
    assert not table.loc[("Disc bulging", "ivd"), "significant"]
    gradings, scores, _ = made_up
    expected = patient_tests(scores, gradings_of(gradings, "g.csv").by_patient)
    # The folder keeps six digits of a score.
    assert done.table["p"].tolist() == pytest.approx(expected["p"].tolist(), rel=1e-3, nan_ok=True)
    discs = done.levels.set_index("finding")
    assert discs.loc[SLIP, "significant"]
    assert not discs.loc["Disc bulging", "significant"]


@pytest.mark.parametrize("mixed", [False, True])
def test_what_is_written_is_what_is_read(inputs, mixed):
    done = run_pathology(inputs / "eval", inputs / "g.csv", inputs / "out", mixed=mixed)
    read = read_pathology(inputs / "out")
    for name in ("table", "levels", "values"):
        pd.testing.assert_frame_equal(
            getattr(read, name), getattr(done, name), rtol=1e-5, check_dtype=False, check_column_type=False
        )
    assert read.notes == done.notes
    assert dict(read.settings) == dict(done.settings)
    assert str(read.values[SLIP].dtype) == "boolean"
    assert read.table["significant"].dtype == bool


def test_the_page_tells_groups_and_the_size_of_the_family(inputs):
    done = run_pathology(inputs / "eval", inputs / "g.csv", inputs / "out")
    page = (inputs / "out" / "pathology.md").read_text()
    made = int(done.table["p"].notna().sum())
    assert f"The family has {made} tests (8 findings, 3 structures, 1 systems)" in page
    assert f"{24 - made} more could not be made" in page
    row = done.table.set_index(["finding", "structure"]).loc[(SLIP, "ivd")]
    assert f"in {row['present']} patients with it than in {row['absent']} without it" in page
    assert f"{row['mean_present']:.3f} ± {row['sd_present']:.3f} ({row['present']})" in page
    assert "80 patients with 160 predicted cases" in page
    assert "2 patients without the finding, at least 5 are needed" in page
    assert all(note in page for note in done.notes)


def test_small_groups_are_tested_where_asked_for_and_pointed_out(inputs):
    done = run_pathology(inputs / "eval", inputs / "g.csv", fewest=2)
    assert done.settings["fewest"] == 2
    few = next(note for note in done.notes if note.startswith("Fewer than 10 patients"))
    assert "Disc bulging (2)" in few
    assert SLIP not in few
    with pytest.raises(UserError, match="give 2 or more"):
        run_pathology(inputs / "eval", inputs / "g.csv", fewest=1)


def test_unmatched_patients_skipped_scores_and_missing_columns_are_counted(tmp_path, made_up):
    gradings, scores, level_scores = made_up
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
        "1 patients have scores but no gradings: 3.",
        "1 patients have gradings but no scores: 8.",
        "skipped 2 times: ivd 2.",
        "The gradings have no Modic",
        "left out 1 cases: case_x: no label",
        "553 discs have both scores and gradings, 7 only scores, 0 only gradings",
    ):
        assert words in notes, words
    row = done.table.set_index(["finding", "structure"]).loc[(SLIP, "ivd")]
    assert (row["present"] + row["absent"], row["unknown"]) == (77, 1)
    assert "Modic changes" not in set(done.table["finding"])


@pytest.mark.parametrize("style", ["{:03d}", "{}.0", " {}"])
def test_patients_are_matched_whatever_their_writing(inputs, made_up, style):
    gradings = made_up[0].assign(Patient=[style.format(patient) for patient in made_up[0]["Patient"]])
    gradings.to_csv(inputs / "other.csv", index=False)
    done, other = (run_pathology(inputs / "eval", inputs / name) for name in ("g.csv", "other.csv"))
    pd.testing.assert_frame_equal(done.table, other.table)


def test_systems_are_chosen_by_name_or_label(tmp_path, made_up):
    gradings, scores, _ = made_up
    gradings.to_csv(tmp_path / "g.csv", index=False)
    both = [scores.assign(system="A", data="T1w"), scores.assign(system="A", data="T2w"), scores]
    write(tmp_path / "eval", pd.concat(both))
    chosen = {}
    for names in (None, ("A",), ("A (T2w)",), ("A (T1w)", "made up")):
        done = run_pathology(tmp_path / "eval", tmp_path / "g.csv", systems=names)
        chosen[names] = done.settings["systems"]
        assert len(done.table) == 24 * len(done.settings["systems"])
        assert done.settings["tests"] == done.table["p_corrected"].notna().sum()
    assert list(chosen.values()) == [
        ["A (T1w)", "A (T2w)", "made up"],
        ["A (T1w)", "A (T2w)"],
        ["A (T2w)"],
        ["A (T1w)", "made up"],
    ]
    with pytest.raises(UserError, match=r"has no system B; choose from A \(T1w\), A \(T2w\), made up"):
        run_pathology(tmp_path / "eval", tmp_path / "g.csv", systems=["A", "B"])


def test_without_scores_of_discs_there_is_no_table_of_them(inputs, made_up):
    out = inputs / "out"
    run_pathology(inputs / "eval", inputs / "g.csv", out)
    assert (out / "levels.csv").exists()
    write(inputs / "flat", made_up[1])
    done = run_pathology(inputs / "flat", inputs / "g.csv", out)
    assert not (out / "levels.csv").exists()
    assert read_pathology(out).levels.empty
    assert any("nothing is tested level by level" in note for note in done.notes)


@pytest.mark.parametrize("pfirrmann", [3, 5])
def test_the_grade_of_degeneration_can_be_set(inputs, made_up, pfirrmann):
    done = run_pathology(inputs / "eval", inputs / "g.csv", pfirrmann=pfirrmann)
    row = done.table.set_index(["finding", "structure"]).loc[("Disc degeneration", "ivd")]
    highest = made_up[0].groupby("Patient")["Pfirrman grade"].max()
    assert row["present"] == (highest >= pfirrmann).sum()
    assert any(f"Pfirrmann grade of {pfirrmann} or more" in note for note in done.notes)


def test_a_table_without_patients_names_file_and_column(inputs):
    pd.read_csv(inputs / "g.csv").drop(columns="Patient").to_csv(inputs / "g.csv", index=False)
    with pytest.raises(UserError, match=r"g\.csv: has no column Patient"):
        run_pathology(inputs / "eval", inputs / "g.csv")
    assert not (inputs / "eval" / "pathology").exists()


def test_gradings_of_other_patients_are_refused(inputs):
    table = pd.read_csv(inputs / "g.csv")
    table.assign(Patient=table["Patient"] + 1000).to_csv(inputs / "g.csv", index=False)
    with pytest.raises(UserError, match=r"grades no patient of .*'1' there, '1001' here"):
        run_pathology(inputs / "eval", inputs / "g.csv")


def test_a_folder_without_a_whole_result_is_told(inputs):
    out = inputs / "out"
    with pytest.raises(UserError, match=r"has no pathology\.json; make it with spinesegdiff pathology"):
        read_pathology(out)
    run_pathology(inputs / "eval", inputs / "g.csv", out)
    table = pd.read_csv(out / "pathology.csv")
    table.drop(columns="p").to_csv(out / "pathology.csv", index=False)
    with pytest.raises(UserError, match=r"pathology\.csv lacks p"):
        read_pathology(out)
    (out / "pathology.csv").unlink()
    with pytest.raises(UserError, match=r"has no pathology\.csv"):
        read_pathology(out)
    (out / "pathology.json").write_text("{")
    with pytest.raises(UserError, match="make it again"):
        read_pathology(out)


def test_the_values_behind_the_tests_are_written(inputs, made_up):
    done = run_pathology(inputs / "eval", inputs / "g.csv", inputs / "out")
    values = pd.read_csv(inputs / "out" / "patient_scores.csv")
    assert list(values)[5:] == list(FINDINGS)
    ivd = values[values["structure"] == "ivd"]
    row = done.table.set_index(["finding", "structure"]).loc[(SLIP, "ivd")]
    assert ivd.groupby(SLIP)["dice"].mean().to_dict() == pytest.approx(
        {False: row["mean_absent"], True: row["mean_present"]}
    )
    json.loads((inputs / "out" / "pathology.json").read_text())
