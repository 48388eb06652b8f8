"""Which texts name a machine, and which only look a little like it."""

from __future__ import annotations

import getpass
import platform

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.sharing.private import is_private, names_of_this_machine, without_private

WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-. ", max_size=20)
PARTS = st.lists(st.text("abcxyzABC0189_-+~", min_size=1, max_size=8), min_size=2, max_size=5)
NAMES = {"janedoe", "spinebox"}


@given(PARTS, WORDS, WORDS, st.sampled_from([*" '=(,:`[", '"']))
def test_absolute_paths_are_found_in_any_sentence(parts, before, after, edge):
    assert is_private(f"{before}{edge}/{'/'.join(parts)} {after}", ())


@given(PARTS, WORDS)
def test_addresses_and_relative_paths_are_none(parts, before):
    path = "/".join(parts).replace("~", "x")
    for text in (f"https://example.org/{path}", f"imagesTr/{path}", f"./{path}", f"and/or {path}"):
        assert not is_private(f"{before} {text}", ())


PRIVATE = [
    *("C:\\data\\spider", r"\\server\share", "see ~/data", "file:///data/spider", "/mnt/data", "a:/b/c"),
    *("`/ä/ö`", "by janedoe", "janedoe_v2", "nnUNetPlans_janedoe_2d", "spinebox.lab.example"),
]
PUBLIC = [
    *("", "T1w/T2w", "1/2", "a / b", "10.5281/zenodo.10159290", "CC BY 4.0", "~ 5 mm", "janedoes", "Janedoe"),
    *("myspinebox", "https://doi.org/10.5281/zenodo.10159290", "http://a.b/c/d?e=/f"),
]


@pytest.mark.parametrize(("value", "private"), [*((p, True) for p in PRIVATE), *((p, False) for p in PUBLIC)])
def test_other_ways_to_name_a_machine_and_what_names_nothing(value, private):
    for content in (value, [1, ["a", {"b": value}]], {value: None}):
        assert is_private(content, NAMES) is private


def test_names_that_everyone_has_are_no_names(monkeypatch):
    for user, host, expected in (
        ("janedoe", "spinebox.lab.example", {"janedoe", "spinebox", "spinebox.lab.example"}),
        ("root", "localhost", set()),
        ("ab", "", set()),
    ):
        monkeypatch.setattr(getpass, "getuser", lambda user=user: user)
        monkeypatch.setattr(platform, "node", lambda host=host: host)
        assert names_of_this_machine() == expected

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1000")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert names_of_this_machine() == set()


def test_what_is_left_out_is_listed_and_everything_else_stays():
    content = {
        "a": 1,
        "b": {"c": "/home/x", "d": {"e": "~/y", "f": [1, 2]}, "/home/z": {"g": 1}},
        "h": ["fine", "/data/i"],
        "j": None,
    }
    kept, left_out = without_private(content, ())
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
    kept, left_out = without_private({"value": value}, NAMES)
    assert not is_private(kept, NAMES)
    assert (kept == {"value": value}) is (not left_out)
