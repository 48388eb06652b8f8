"""README and the pages of the documentation as they are read without a build."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
FIGURE = re.compile(r"\d\.\d|\d ?%")


def test_figures_are_those_of_the_benchmark_files(hooks):
    for path in hooks.pages():
        text = path.read_text("utf-8")
        assert hooks.with_figures(text, path) == text, f"{path.name}: run `python docs/hooks.py`"


def test_the_built_page_shows_values_without_comments(hooks):
    reference = "benchmarks/levels.md | * | all | share"
    written = hooks.with_figures("a {{ figure " + reference + " }} b")
    assert hooks.on_page_markdown(written, None) == f"a {hooks.figure(reference)} b"


def test_no_macro_is_seen_without_a_build(hooks):
    """Except for the commands: every command prints its own."""
    for path in hooks.pages():
        assert set(re.findall(r"\{\{.*?\}\}", path.read_text("utf-8"))) <= {"{{ commands }}"}, path.name


def test_no_figure_interrupts_a_paragraph(hooks):
    """In GitHub's Markdown, a line that begins with a comment ends the paragraph."""
    for path in hooks.pages():
        assert not re.search(r"(?m)^\s*<!-- figure", path.read_text("utf-8")), path.name


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
