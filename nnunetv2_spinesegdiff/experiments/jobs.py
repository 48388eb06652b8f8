"""What a job is: a name, what it needs, one command, and when it is finished."""

from __future__ import annotations

import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import save_json

Shell = Callable[[Sequence[str], Mapping[str, str]], None]
"""Runs words as a command, with variables beside the usual environment; raises UserError where it fails."""


@dataclass(frozen=True)
class Job(ABC):
    """A part of an experiment that is run, and finished, on its own.

    Attributes:
        name: unique in the experiment; begins with what it does.
        needs: names of the jobs that must be finished before it.
    """

    name: str
    needs: tuple[str, ...]

    @property
    def kind(self) -> str:
        return self.name.split("-")[0]

    @abstractmethod
    def command(self) -> list[str]:
        """The words that do the work; none where this process does it."""

    def variables(self) -> dict[str, str]:
        """Beside the usual environment."""
        return {}

    @property
    @abstractmethod
    def lock(self) -> Path:
        """The file that the process holds which runs this job."""

    @abstractmethod
    def result(self, needed: Mapping[str, str]) -> str | None:
        """What identifies the finished result, or None.

        A result counts only if it was made from the results that its needs have now.

        Args:
            needed: the results of what it needs.
        """

    @abstractmethod
    def run(self, needed: Mapping[str, str], shell: Shell) -> None:
        """Do the work; what it leaves half-done when it is killed is never taken for its result."""


@dataclass(frozen=True)
class RecordedJob(Job):
    """A job whose end is recorded in a file of ours, with what it was made of.

    Attributes:
        out: folder of the experiment.
    """

    out: Path

    @property
    def record_file(self) -> Path:
        return self.out / "jobs" / f"{self.name}.json"

    @property
    def lock(self) -> Path:
        return self.record_file.with_suffix(".lock")

    @property
    def products(self) -> tuple[Path, ...]:
        """What must still be there, or the record tells of the past."""
        return ()

    @abstractmethod
    def recipe(self) -> dict[str, Any]:
        """What decides the result beside the needs, without paths: an output folder may be moved."""

    @abstractmethod
    def work(self, made_of: dict[str, Any], shell: Shell) -> dict[str, Any] | None:
        """Do the work. `made_of` is the recipe with the results of the needs.

        Returns:
            What is worth to be recorded beside it.
        """

    def result(self, needed: Mapping[str, str]) -> str | None:
        record = read_json(self.record_file)
        if not all(path.exists() for path in self.products):
            return None
        return record.get("result") if record.get("made_of") == self._made_of(needed) else None

    def run(self, needed: Mapping[str, str], shell: Shell) -> None:
        made_of = self._made_of(needed)
        self.record_file.unlink(missing_ok=True)
        facts = self.work(made_of, shell) or {}
        save_json({"result": uuid.uuid4().hex, "made_of": made_of, **facts}, self.record_file)

    def _made_of(self, needed: Mapping[str, str]) -> dict[str, Any]:
        return {**self.recipe(), "needs": dict(needed)}


def read_json(file: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing where there is none, or a half-written one."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
