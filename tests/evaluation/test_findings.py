"""Findings of discs and patients from a table of gradings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.findings import ENDPLATES, FINDINGS, gradings_of

from ..helpers.synthetic_scores import synthetic_gradings

SLIP = "Spondylolisthesis"


@pytest.fixture
def table():
    return synthetic_gradings(np.random.default_rng(0), 30)


@pytest.mark.parametrize("pfirrmann", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["numbers", "text"])
def test_present_where_any_disc_has_it(table, pfirrmann, kind):
    table.loc[0, "Disc herniation"] = 2
    patients = gradings_of(table.astype(str) if kind == "text" else table, "g.csv", pfirrmann).by_patient
    columns = dict(zip(FINDINGS, table.columns[2:], strict=True))
    for patient, discs in table.groupby("Patient"):
        row = patients.loc[str(patient)]
        for finding, column in columns.items():
            lowest = pfirrmann if finding == "Disc degeneration" else 1
            assert row[finding] == any(grade >= lowest for grade in discs[column])
        assert row[ENDPLATES] == any(discs["UP endplate"] + discs["LOW endplate"] > 0)


def test_missing_grades_are_not_absent():
    table = pd.DataFrame(
        {
            "Patient": [1, 1, 2, 2, 3, 3, 4, 4],
            "IVD label": [1, 2] * 4,
            SLIP: ["", " ", None, "0", "1", "", "0", "0"],
        }
    )
    gradings = gradings_of(table, "g.csv")
    patients = gradings.by_patient[SLIP]
    assert pd.isna(patients["1"])
    assert patients[["2", "3", "4"]].tolist() == [False, True, False]
    assert gradings.incomplete().loc[SLIP].to_dict() == {"discs": 4, "unknown": 1, "absent": 1}
    assert gradings.by_level[SLIP].isna().sum() == 4


@pytest.mark.parametrize(
    ("upper", "lower", "either"),
    [("1", "", True), ("", "1", True), ("0", "", None), ("", "", None), ("0", "0", False), ("0", "1", True)],
)
def test_endplates_are_unknown_where_one_of_them_is(upper, lower, either):
    table = pd.DataFrame({"Patient": [1], "IVD label": [1], "UP endplate": [upper], "LOW endplate": [lower]})
    found = gradings_of(table, "g.csv").by_patient.loc["1", ENDPLATES]
    assert pd.isna(found) if either is None else found == either


@pytest.mark.parametrize(
    "name", ["Pfirrman grade", "Pfirrmann grade", "PFIRRMANN_GRADE", " pfirrman  Grade "]
)
def test_names_of_columns_are_matched_whatever_their_spelling(table, name):
    table = table.rename(columns={"Pfirrman grade": name, "Patient": "PATIENT", "IVD label": "ivd Label"})
    gradings = gradings_of(table, "g.csv")
    assert gradings.missing == ()
    assert set(FINDINGS) < set(gradings.discs)


def test_what_needs_a_missing_column_is_left_out(table):
    gradings = gradings_of(table.drop(columns=["UP endplate", "Modic"]), "g.csv")
    assert gradings.missing == ("Modic", "UP endplate")
    assert {"Modic changes", "Upper endplate changes", ENDPLATES}.isdisjoint(gradings.by_patient)
    flat = gradings_of(table.drop(columns="IVD label"), "g.csv")
    assert flat.missing == ("IVD label",)
    assert flat.by_level.empty
    pd.testing.assert_frame_equal(flat.by_patient, gradings_of(table, "g.csv").by_patient)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="Patient"), ["Patient", "IVD label"]),
        (lambda t: t[["Patient", "IVD label"]], ["no finding"]),
        (lambda t: t.iloc[:0], ["no line"]),
        (lambda t: pd.concat([t, t.iloc[[3]]]), ["line 212", "patient 1, IVD label 4"]),
        (lambda t: _with(t, 4, "Modic", "none"), ["line 6", "'none'", "Modic"]),
        (lambda t: _with(t, 4, "Modic", "inf"), ["line 6", "'inf'"]),
        (lambda t: _with(t, 4, "Disc bulging", "-1"), ["line 6", "-1", "Disc bulging"]),
        (lambda t: _with(t, 4, "Pfirrman grade", "0"), ["line 6", "1 to 5"]),
        (lambda t: _with(t, 4, "Pfirrman grade", "44"), ["line 6", "1 to 5"]),
        (lambda t: _with(t, 4, "IVD label", "1.5"), ["line 6", "IVD label"]),
        (lambda t: _with(t, 4, "IVD label", ""), ["line 6", "IVD label"]),
        (lambda t: _with(t, 4, "Patient", " "), ["line 6", "Patient"]),
        (lambda t: t.assign(modic=0), ["two columns Modic"]),
    ],
)
def test_invalid_tables_are_rejected_with_their_line(table, change, words):
    with pytest.raises(UserError) as error:
        gradings_of(change(table), "folder/g.csv")
    message = str(error.value)
    assert message.startswith("folder/g.csv: ")
    assert all(word in message for word in words), message


@pytest.mark.parametrize("pfirrmann", [0, 1, 6])
def test_a_pfirrmann_grade_that_tells_no_discs_apart_is_refused(table, pfirrmann):
    with pytest.raises(UserError, match="2 to 5"):
        gradings_of(table, "g.csv", pfirrmann)


def _with(table, row, column, entry):
    table = table.astype(str)
    table.loc[row, column] = entry
    return table
