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


@pytest.mark.parametrize(
    "text",
    [
        *(
            "C:\\data\\spider",
            r"\\server\share",
            "see ~/data",
            "file:///data/spider",
            "/mnt/data",
            "a:/b/c",
            "`/ä/ö`",
        ),
        *("by janedoe", "janedoe_v2", "nnUNetPlans_janedoe_2d", "spinebox.lab.example", "JSON of janedoe."),
    ],
)
def test_other_ways_to_name_a_machine(text):
    assert is_private(text, NAMES)
    assert is_private([1, ["a", {"b": text}]], NAMES)
    assert is_private({text: 1}, NAMES)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "T1w/T2w",
            "1/2",
            "mm/px",
            "a / b",
            "ratio 1:2",
            "10.5281/zenodo.10159290",
            "CC BY 4.0",
            "~ 5 mm",
        ),
        *(
            "https://doi.org/10.5281/zenodo.10159290",
            "http://a.b/c/d?e=/f",
            "janedoes",
            "myspinebox",
            "Janedoe",
        ),
    ],
)
def test_what_names_nothing(text):
    assert not is_private(text, NAMES)


@pytest.mark.parametrize("value", [None, 3, 2.5, True, [], {}])
def test_values_that_are_no_text(value):
    assert not is_private(value, NAMES)


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
