"""Findings of the checks, and how they are printed."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Literal

from .. import __version__
from ..redaction import redacted

Level = Literal["ok", "warning", "problem"]
Seen = tuple[Level, str, str]
"""Level, what was found, and advice (empty if all is well)."""

OURS = "nnunetv2_spinesegdiff"
GB = 1e9

WIDTH = 96
COLORS: dict[Level, str] = {"ok": "\033[32m", "warning": "\033[33m", "problem": "\033[31m"}
PLAIN = "\033[0m"
wrap = partial(textwrap.wrap, width=WIDTH, break_long_words=False, break_on_hyphens=False)


@dataclass(frozen=True)
class Finding:
    """Result of a check.

    Attributes:
        level: "problem" if it stops work, "warning" if it stops a part of it or slows it down, or "ok".
        topic: findings of one topic are shown together.
        seen: what was found.
        advice: what to do; empty if and only if the level is "ok".

    Raises:
        ValueError: advice is missing or not needed.
    """

    level: Level
    topic: str
    seen: str
    advice: str = ""

    def __post_init__(self) -> None:
        if (self.level == "ok") == bool(self.advice):
            raise ValueError(f"{self.level}: {self.seen}: advice is {self.advice!r}")


def ok(seen: str) -> Seen:
    return "ok", seen, ""


def warning(seen: str, advice: str) -> Seen:
    return "warning", seen, advice


def problem(seen: str, advice: str) -> Seen:
    return "problem", seen, advice


def ok_if(good: bool, seen: str, advice: str, otherwise: Level = "problem") -> Seen:
    return ok(seen) if good else (otherwise, seen, advice)


def as_text(findings: Sequence[Finding], *, color: bool = False) -> str:
    """Return findings and advice in under 100 columns; those of a topic that are ok share a line.

    Args:
        color: mark the levels for a terminal.
    """
    lines = []
    for topic, group in groupby(findings, key=lambda finding: finding.topic):
        together = list(group)
        well = "; ".join(finding.seen for finding in together if finding.level == "ok")
        shown = [Finding("ok", topic, well)] if well else []
        shown += [finding for finding in together if finding.level != "ok"]
        for number, finding in enumerate(shown):
            head = f"{'' if number else topic:<11}{finding.level:<9}"
            seen = wrap(head + finding.seen, subsequent_indent=" " * 20)
            if color:
                mark = f"{COLORS[finding.level]}{finding.level}{PLAIN}"
                seen[0] = seen[0].replace(finding.level, mark, 1)
            lines += seen + wrap(finding.advice, initial_indent=f"{'':20}-> ", subsequent_indent=" " * 23)
    numbers = {level: sum(finding.level == level for finding in findings) for level in ("problem", "warning")}
    summary = " and ".join(counted(number, level) for level, number in numbers.items() if number)
    if not numbers["problem"]:
        harmless = f"{summary}, none of which prevents spinesegdiff segment"
        summary = harmless if summary else "No problem was found"
    return "\n".join([*lines, "", f"{summary}."])


def as_json(findings: Sequence[Finding]) -> str:
    """Return findings for a bug report, without the user's name and home folder."""
    rows = [asdict(finding) for finding in findings]
    hidden = [{key: redacted(text, keep_paths=True) for key, text in row.items()} for row in rows]
    return json.dumps({"version": __version__, "findings": hidden}, indent=2)


def counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def same_place(path: str, other: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)
