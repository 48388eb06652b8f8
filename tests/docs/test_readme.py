"""README: its figures are those of the benchmark files, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
FIGURE = re.compile(r"\d\.\d|\d ?%")


def test_figures_are_those_of_the_benchmark_files(hooks):
    assert hooks.with_figures(README) == README, "run `python docs/hooks.py`"


def test_a_stale_figure_is_found(hooks):
    value = re.search(r"(<!-- figure [^>]+ -->)([^<]+)(<!-- end -->)", README)
    assert value
    stale = README.replace(value[0], f"{value[1]}0.5{value[3]}")
    assert stale != README
    assert hooks.with_figures(stale) == README


def test_every_measured_figure_is_read_from_a_file(hooks):
    measured = README.partition("## Measured")[2].partition("\n## ")[0]
    assert len(FIGURE.findall(measured)) > 20
    assert not FIGURE.findall(hooks.COMMENT.sub("", measured))


def test_a_figure_that_no_file_holds_is_an_error(hooks):
    for reference in (
        "benchmarks/segment.md | * | no such row | measured",
        "benchmarks/speed.md | * | fast, float32 | stage 1 alone = 1",  # of two widths
        "benchmarks/segment.md | * | peak memory",
    ):
        with pytest.raises(LookupError):
            hooks.figure(reference)


def test_links_lead_to_files():
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_readme_is_short():
    assert len(README.splitlines()) <= 150
