from __future__ import annotations

import pytest
from nnunetv2_spinesegdiff.dataset_conversion.phantom.tables import GRADING_COLUMNS, OVERVIEW_COLUMNS

from nnunetv2_spinesegdiff.downloads.datasets import SPIDER, Table
from nnunetv2_spinesegdiff.downloads.tables import what_is_wrong

from ..helpers.spider_series import SHARED_DATA

TABLE = 'Name,size,"in, words"\n1_t1,3,"three, or so"\n2_t1,4,four\n'
COLUMNS = ("name", "SIZE")


def wrong(tmp_path, content: str | bytes, columns=COLUMNS) -> str:
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return what_is_wrong(path, columns)


@pytest.mark.parametrize(
    "content", [TABLE, TABLE.replace("\n", "\r\n"), "\ufeff" + TABLE, TABLE.rstrip(), TABLE + "\n"]
)
def test_whole_tables(tmp_path, content):
    assert wrong(tmp_path, content) == ""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "has no column 'name'"),
        ("Name,weight\n1,2\n", "has no column 'SIZE'"),
        ("<!DOCTYPE html>\n<html>no such record</html>\n", "has no column 'name'"),
        ("Name,size\n", "has no rows"),
        ("Name,size\n1,2\n3\n", "row 3"),
        ("Name,size\n1,2,3\n", "row 2"),
        (bytes(range(256)), "no CSV"),
        (TABLE + '"5', "no CSV"),
    ],
)
def test_what_is_none(tmp_path, content, reason):
    assert reason in wrong(tmp_path, content)


def test_a_table_that_ends_within_a_row_is_found(tmp_path):
    """Wherever it is cut before the last value of a row; within it, only the file's length could tell."""
    second = TABLE.index("2_t1")
    last_values = TABLE.index(',"three'), TABLE.index(",four")
    for end in (*range(last_values[0] + 1), *range(second + 1, last_values[1] + 1)):
        assert wrong(tmp_path, TABLE[:end]), repr(TABLE[:end])


def test_spiders_columns_are_those_of_the_phantoms_tables():
    known = {"overview.csv": OVERVIEW_COLUMNS, "radiological_gradings.csv": GRADING_COLUMNS}
    for table in SPIDER.parts["tables"]:
        assert isinstance(table, Table)
        assert set(table.columns) <= set(known[table.name])


@pytest.mark.skipif(not (SHARED_DATA / "spider_tables").is_dir(), reason="SPIDER's tables are not here")
def test_spiders_own_tables_are_whole():
    for table in SPIDER.parts["tables"]:
        assert isinstance(table, Table)
        assert what_is_wrong(SHARED_DATA / "spider_tables" / table.name, table.columns) == ""
