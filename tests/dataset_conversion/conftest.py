"""Synthetic cohorts."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..helpers.spider_series import write_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """6 patients with t1 and t2 each; to be read only."""
    root = tmp_path_factory.mktemp("cohort")
    write_cohort(root)
    return root


@pytest.fixture
def own_cohort(tmp_path) -> Path:
    """The same, to be damaged by the test."""
    write_cohort(tmp_path / "spider")
    return tmp_path / "spider"
