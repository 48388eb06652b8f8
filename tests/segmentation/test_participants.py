"""Columns of participants.tsv for measurements.csv, and tables that are malformed."""

from __future__ import annotations

import pytest

from nnunetv2_spinesegdiff.segmentation.participants import participants_of

SCANS = ("sub-01_T2w", "sub-02_ses-1_T1w")


def test_values_are_looked_up_by_subject(tmp_path):
    table = "\ufeffage\tparticipant_id\tlevel\r\n034\tsub-01\tn/a\r\n\r\n5\tsub-09\tL5\r\n"
    (tmp_path / "participants.tsv").write_text(table, encoding="utf-8", newline="")
    columns, (note,) = participants_of(tmp_path, SCANS)
    assert columns == {
        SCANS[0]: {"participant_id": "sub-01", "participant_age": "034", "participant_level": ""},
        SCANS[1]: {"participant_id": "sub-02", "participant_age": "", "participant_level": ""},
    }
    assert "sub-02" in note
    assert "sub-09" not in note


def test_without_a_table_there_is_the_subject(tmp_path):
    columns = {SCANS[0]: {"participant_id": "sub-01"}, SCANS[1]: {"participant_id": "sub-02"}}
    assert participants_of(tmp_path, SCANS) == (columns, [])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"participant_id,age\nsub-01,3\n",
        b"name\tage\nsub-01\t3\n",
        b"participant_id\tage\nsub-01\n",
        b"participant_id\tage\nsub-01\t3\nsub-01\t4\n",
        b"participant_id\tage\tage\nsub-01\t3\t4\n",
        b"participant_id\tage\nsub-01\t\xff\n",
    ],
)
def test_a_malformed_table_is_one_line(content, tmp_path):
    (tmp_path / "participants.tsv").write_bytes(content)
    columns, (note,) = participants_of(tmp_path, SCANS)
    assert columns[SCANS[0]] == {"participant_id": "sub-01"}
    assert note.startswith(str(tmp_path / "participants.tsv"))
    assert "\n" not in note
