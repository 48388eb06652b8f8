"""Tables as plain text."""

from __future__ import annotations

import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.report.plain_tables import read_text_table


def test_entries_stay_the_text_that_they_are(tmp_path):
    (tmp_path / "t.csv").write_bytes("\ufeffPatient,sex\n001,F \n2,\n".encode())
    table = read_text_table(tmp_path / "t.csv")
    assert list(table) == ["Patient", "sex"]
    assert table["Patient"].tolist() == ["001", "2"]
    assert table["sex"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    "content",
    [None, b"", b"a,b\n1,2,3,4\n", b"a,b\n1,2,\n", b"a,b\n1\n5,6,7\n", b"a\n\xff\xfe\x00"],
)
def test_unreadable_tables_are_named_in_one_line(tmp_path, content):
    path = tmp_path / "t.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"^{path}: [^\n]*$"):
        read_text_table(path)
