"""Patient and contrast of a case, by table and by name."""

from __future__ import annotations

import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.report.patients import CaseOrigin, Patients


@pytest.mark.parametrize(
    ("case", "origin"),
    [
        ("SPIDER_002_t2_085", CaseOrigin("2", "T2w")),
        ("17_t2_SPACE", CaseOrigin("17", "T2w")),
        ("lumbar_002", CaseOrigin("lumbar_002")),
        ("P12_03_t2", CaseOrigin("P12_03_t2")),
    ],
)
def test_by_name(case, origin):
    assert Patients([])(case) == origin


def test_the_table_comes_first(tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text("case,patient,contrast,source\nSPIDER_002_t1,77,t2,77_t2.mha\nother,007,,\nblank,,,\n")
    patients = Patients([table])
    assert patients("SPIDER_002_t1") == CaseOrigin("77", "T2w", "77_t2.mha")
    assert patients("other") == CaseOrigin("007")
    assert patients("blank") == CaseOrigin("blank")
    assert patients("SPIDER_003_t1") == CaseOrigin("3", "T1w")


def test_a_users_own_table_needs_two_columns(tmp_path):
    table = tmp_path / "cases.csv"
    with pytest.raises(UserError, match=r"cases.csv: "):
        Patients([table])
    table.write_text("case,patient\na,1\nb,1\n")
    assert Patients([table])("b") == CaseOrigin("1")
    table.write_text("case,Patient\na,1\n")
    with pytest.raises(UserError, match=r"cases.csv: .*patient"):
        Patients([table])
