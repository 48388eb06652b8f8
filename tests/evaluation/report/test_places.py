"""No folder and no machine is named in a report that may be mailed; words with slashes stay."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.evaluation.report.places import Places


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/data/hospital/masks/7.nii.gz: has no label", "7.nii.gz: has no label"),
        ("-i=/data/scans -o /out/masks/", "-i=scans -o masks"),
        ("'Stage 1@T1w=/data/a b'", "'Stage 1@T1w=a b'"),
        ("(see /a/b/c.csv)", "(see c.csv)"),
        ("../../smith/masks and ./here", "masks and here"),
        ("~/study/masks ~jane/x", "masks x"),
        (r"C:\Users\jane\masks", "masks"),
        (r"\\server\share\masks", "masks"),
        ("server:/data/masks", "masks"),
        ("jane@server:/data/masks", "masks"),
        ("file:///data/masks", "masks"),
        ("http://intranet/wiki/masks", "masks"),
        ("/data/a,/data/b;/data/c|/data/d", "a,b;c|d"),
        # Other slashes stay.
        ("L5/S1 and L4/L5", None),
        ("n/a, +/-, and/or, T1w/T2w, 1 / 2", None),
        ("a difference in 0.1 mm/px", None),
        ("https://doi.org/10.5281/zenodo.10159290", None),
        ("masks/refined relative to here", None),
        ("time 12:30, ratio 1:2", None),
    ],
)
def test_folders_go_and_names_of_files_stay(text, left):
    assert Places().hidden(text) == (text if left is None else left)


def test_known_folders_may_hold_blanks():
    places = Places([Path("/data/St. Mary/my masks (new)")])
    assert places.hidden("/data/St. Mary/my masks (new)/7.nii.gz is gone") == "7.nii.gz is gone"
    assert places.hidden("in /data/St. Mary/my masks (new): nothing") == "in my masks (new): nothing"
    assert places.hidden("/data/St. Mary/labels/7.nii.gz") == "7.nii.gz"
    assert Places([Path("/data/a")]).hidden("/data/ab/c") == "c"


def test_the_machine_is_not_named(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "ward7-ws.hospital.example")
    places = Places()
    assert places.hidden("on ward7-ws.hospital.example, or ward7-ws.") == "on …, or …."
    assert places.hidden("ward7-ws2 is another") == "ward7-ws2 is another"


def test_settings_are_searched_to_their_depth():
    settings = {"a": {"/x/y": ["/data/z", 3, None]}, "b": True}
    assert Places().hidden_in(settings) == {"a": {"y": ["z", 3, None]}, "b": True}


def test_whole_paths_where_they_are_wanted():
    places = Places(whole=True)
    assert places.hidden("/data/a") == "/data/a"
    assert places.shown(Path("/data/a")) == "/data/a"
    assert Places().shown(Path("/data/a")) == "a"


NAME = st.text("abcxyz0123_-", min_size=1, max_size=6).filter(lambda name: name.strip("-"))


@given(parts=st.lists(NAME, min_size=2, max_size=5), before=st.sampled_from(["", "x ", "a=", "'", "("]))
def test_nothing_but_the_last_part_is_left_of_an_absolute_path(parts, before):
    assert Places().hidden(f"{before}/{'/'.join(parts)}") == before + parts[-1]
