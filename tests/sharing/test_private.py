"""Which parts of a model's JSON files are left out."""

from __future__ import annotations

import getpass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.sharing.private import is_private, without_private


@pytest.fixture(autouse=True, scope="module")
def user():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(getpass, "getuser", lambda: "janedoe")
        yield


@pytest.mark.parametrize(
    ("value", "private"),
    [
        *((text, True) for text in ("see ~/data", "/mnt/data", "janedoe_v2", "../data")),
        *(
            (text, False)
            for text in ("", "T1w /T2w", "janedoes", "https://doi.org/10/5", "http://a.b/c/d?e=/f")
        ),
    ],
)
def test_texts_are_searched_for_in_lists_and_objects(value, private):
    for content in (value, [1, ["a", {"b": value}]], {value: None}):
        assert is_private(content) is private


def test_what_is_left_out_is_listed_and_everything_else_stays():
    content = {
        "a": 1,
        "b": {"c": "/home/x", "d": {"e": "~/y", "f": [1, 2]}, "/home/z": {"g": 1}},
        "h": ["fine", "/data/i"],
        "j": None,
    }
    kept, left_out = without_private(content)
    assert kept == {"a": 1, "b": {"d": {"f": [1, 2]}}, "j": None}
    assert left_out == ["b.c", "b.d.e", "b.(a key)", "h"]
    assert content["h"] == ["fine", "/data/i"]


@given(
    st.recursive(
        st.none() | st.integers() | st.sampled_from(["fine", "/home/x/y", "janedoe"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["a", "b", "/c/d"]), inner, max_size=3)
        ),
    )
)
def test_what_is_kept_names_nothing(value):
    kept, left_out = without_private({"value": value})
    assert not is_private(kept)
    assert (kept == {"value": value}) is (not left_out)
