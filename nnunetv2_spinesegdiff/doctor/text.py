"""Findings for people, and for bug reports."""

from __future__ import annotations

import getpass
import json
import os
import re
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from .finding import Finding, Level

WIDTH = 96
COLOURS: dict[Level, str] = {"ok": "\033[32m", "warning": "\033[33m", "problem": "\033[31m"}
PLAIN = "\033[0m"


def as_text(findings: Sequence[Finding], *, colour: bool = False) -> str:
    """A line a finding and one for its advice, under 100 columns; what is well of one topic shares a line.

    Args:
        colour: mark the levels for a terminal.
    """
    lines = []
    for topic, of_topic in groupby(findings, key=lambda finding: finding.topic):
        together = list(of_topic)
        well = "; ".join(finding.seen for finding in together if finding.level == "ok")
        shown = [Finding("ok", topic, well)] if well else []
        shown += [finding for finding in together if finding.level != "ok"]
        for number, finding in enumerate(shown):
            lines += _lines(finding, topic if number == 0 else "", colour)
    return "\n".join([*lines, "", _summary(findings)])


def as_json(findings: Sequence[Finding], version: str) -> str:
    """The same for a machine, with neither the user's name nor the home folder.

    Args:
        version: of this package.
    """
    content = {"version": version, "findings": [asdict(finding) for finding in findings]}
    return without_names(json.dumps(content, indent=2))


def without_names(text: str) -> str:
    """`text` with ~ for the home folder, and USER for the user's name wherever it is a folder's."""
    for home in {str(Path.home()), os.path.realpath(Path.home())}:
        if home != os.sep:
            text = re.sub(rf"(?<![\w/.-]){re.escape(home)}(?![\w.-])", "~", text)
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        return text
    return re.sub(rf"(?<=/){re.escape(user)}(?![\w.-])", "USER", text)


def _lines(finding: Finding, topic: str, colour: bool) -> list[str]:
    margin = " " * 20
    head = f"{topic:<11}{finding.level:<9}"
    seen = textwrap.wrap(
        head + finding.seen, WIDTH, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False
    )
    if colour:
        mark = f"{COLOURS[finding.level]}{finding.level}{PLAIN}"
        seen[0] = seen[0].replace(finding.level, mark, 1)
    advice = textwrap.wrap(
        finding.advice,
        WIDTH,
        initial_indent=f"{margin}-> ",
        subsequent_indent=f"{margin}   ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return seen + advice


def _summary(findings: Sequence[Finding]) -> str:
    counts = {level: sum(finding.level == level for finding in findings) for level in ("problem", "warning")}
    told = [f"{number} {level}{'' if number == 1 else 's'}" for level, number in counts.items() if number]
    if not told:
        return "All is well."
    ending = "" if counts["problem"] else "; none of them stops spinesegdiff segment"
    return f"{' and '.join(told)}{ending}."
