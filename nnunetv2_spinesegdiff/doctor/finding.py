"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: "problem" for what stops work, "warning" for what stops a part of it, or slows it down.
        topic: a word under which findings stand together.
        seen: what is there.
        advice: what to do; empty where everything is well, and only there.

    Raises:
        ValueError: advice without need, or need without advice.
    """

    level: Level
    topic: str
    seen: str
    advice: str = ""

    def __post_init__(self) -> None:
        if (self.level == "ok") == bool(self.advice):
            raise ValueError(f"{self.level}: {self.seen}: advice is {self.advice!r}")
