"""No folder, user or machine is named in texts for others; words with slashes stay."""

from __future__ import annotations

import getpass
import platform
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.redaction import names_of_this_machine, redacted

WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-. ", max_size=20)
PARTS = st.lists(st.text("abcxyzABC0189_-+", min_size=1, max_size=8), min_size=2, max_size=5)


@pytest.fixture(autouse=True, scope="module")
def machine():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(getpass, "getuser", lambda: "janedoe")
        patch.setattr(platform, "node", lambda: "ward7-ws.hospital.example")
        yield


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/data/hospital/masks/7.nii.gz: has no label", "7.nii.gz: has no label"),
        ("-i=/data/scans -o /out/masks/", "-i=scans -o masks"),
        ("'Stage 1@T1w=/data/a b'", "'Stage 1@T1w=a b'"),
        ("(see /a/b/c.csv)", "(see c.csv)"),
        ("../../smith/masks and ./here", "masks and ./here"),
        ("~/study/masks ~jane/x", "masks x"),
        (r"C:\Users\jane\masks", "masks"),
        (r"\\server\share\masks", "masks"),
        ("server:/data/masks a:/b/c", "masks c"),
        ("jane@server:/data/masks", "masks"),
        ("file:///data/masks `/ä/ö`", "masks `ö`"),
        ("http://intranet/wiki/masks", "masks"),
        ("/data/a,/data/b;/data/c|/data/d", "a,b;c|d"),
        ("by janedoe, janedoe_v2 and nnUNetPlans_janedoe_2d", "by …, …_v2 and nnUNetPlans_…_2d"),
        ("on ward7-ws.hospital.example, or ward7-ws.", "on …, or …."),
        *(
            (text, text)
            for text in (
                "L5/S1 and L4/L5, T1w /T2w",
                "n/a, +/-, and/or, T1w/T2w, 1 / 2, ~ 5 mm",
                "a difference in 0.1 mm/px",
                "https://doi.org/10.5281/zenodo.10159290",
                "masks/refined relative to here",
                "time 12:30, ratio 1:2",
                "janedoes, Janedoe, myward7-ws and ward7-ws2 are others",
            )
        ),
    ],
)
def test_folders_and_names_go_and_names_of_files_stay(text, left):
    assert redacted(text) == left


@given(PARTS, WORDS, WORDS, st.sampled_from([*" '=(,`[", '"']))
def test_nothing_but_the_last_part_is_left_of_an_absolute_path(parts, before, after, edge):
    assert redacted(f"{before}{edge}/{'/'.join(parts)} {after}") == f"{before}{edge}{parts[-1]} {after}"


@given(PARTS, WORDS)
def test_addresses_and_relative_paths_stay(parts, before):
    path = "/".join(parts)
    for text in (f"https://example.org/{path}", f"imagesTr/{path}", f"./{path}", f"and/or {path}"):
        assert redacted(f"{before} {text}", keep_addresses=True) == f"{before} {text}"


def test_known_folders_may_hold_blanks():
    folders = (Path("/data/St. Mary/my masks (new)"),)
    for text, left in (
        ("/data/St. Mary/my masks (new)/7.nii.gz is gone", "7.nii.gz is gone"),
        ("in /data/St. Mary/my masks (new): nothing", "in my masks (new): nothing"),
        ("/data/St. Mary/labels/7.nii.gz", "7.nii.gz"),
    ):
        assert redacted(text, folders) == left
    assert redacted("/data/ab/c", (Path("/data/a"),)) == "c"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nnUNet_raw=/home/anna/data is not there", "nnUNet_raw=~/data is not there"),
        ('"/home/anna", /home/anna/x:/home/anna', '"~", ~/x:~'),
        ("/home/annabel/x and /home/anna.old", "/home/annabel/x and /home/….old"),
        ("/scratch/anna/x, /scratch/anna and /mnt/home/anna", "/scratch/…/x, /scratch/… and /mnt/home/…"),
    ],
)
def test_paths_can_be_kept_without_the_home_folder(text, expected, monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setattr(getpass, "getuser", lambda: "anna")
    assert redacted(text, keep_paths=True) == expected


def unknown_user() -> str:
    raise KeyError("getpwuid(): uid not found: 1000")


@pytest.mark.parametrize(
    ("user", "host", "expected"),
    [
        (lambda: "janedoe", "spinebox.lab.example", {"janedoe", "spinebox", "spinebox.lab.example"}),
        (lambda: "root", "localhost", set()),
        (lambda: "ab", "", set()),
        (unknown_user, "", set()),
    ],
)
def test_names_that_everyone_has_are_not_names(user, host, expected, monkeypatch):
    monkeypatch.setattr(getpass, "getuser", user)
    monkeypatch.setattr(platform, "node", lambda: host)
    monkeypatch.setenv("HOME", "/")
    assert names_of_this_machine() == expected
    assert redacted("/data/x of root at localhost", keep_paths=True) == "/data/x of root at localhost"
