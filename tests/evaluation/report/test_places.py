"""The texts of a report name no folder, unless whole paths are wanted."""

from __future__ import annotations

from pathlib import Path

from nnunetv2_spinesegdiff.evaluation.report.places import Places


def test_settings_are_searched_to_their_depth():
    settings = {"a": {"/x/y": ["/data/z", 3, None]}, "b": True}
    assert Places().hidden_in(settings) == {"a": {"y": ["z", 3, None]}, "b": True}


def test_whole_paths_where_they_are_wanted():
    places = Places(whole=True)
    assert places.hidden("/data/a") == "/data/a"
    assert places.shown(Path("/data/a")) == "/data/a"
    assert Places().shown(Path("/data/a")) == "a"
