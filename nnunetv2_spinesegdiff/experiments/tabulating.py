"""The last job: the table, as CSV and as Markdown, and where everything lies that it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import save_json, written_whole
from .evaluating import Evaluation
from .jobs import RecordedJob, Shell, read_json


@dataclass(frozen=True)
class Tabulation(RecordedJob):
    """The table of all evaluations.

    Attributes:
        title, transposed: of the table.
        controls: systems that others are to be held against.
        rows: system, contrast, and the evaluations of their folds.
    """

    title: str
    transposed: bool
    controls: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[Evaluation, ...]], ...]

    @property
    def products(self) -> tuple[Path, ...]:
        return (self.out / "table.csv", self.out / "table.md", self.systems_json)

    @property
    def systems_json(self) -> Path:
        """What `spinesegdiff evaluate --reproduced` goes by."""
        return self.out / "systems.json"

    def command(self) -> list[str]:
        """None: it is done in this process."""
        return []

    def recipe(self) -> dict:
        rows = [[system, contrast] for system, contrast, _ in self.rows]
        recipe = {"title": self.title, "transposed": self.transposed, "rows": rows}
        return {**recipe, "controls": list(self.controls)}

    def work(self, made_of: dict, shell: Shell) -> None:
        from ..evaluation.summary_tables import as_csv, as_markdown, cases_note, printed
        from .collect import Row, table_of  # pandas takes a second to come

        table = table_of(
            [
                Row(system, contrast, [e.summary for e in evaluations], evaluations[0].dataset_json)
                for system, contrast, evaluations in self.rows
            ]
        )
        lines = printed(table, transposed=self.transposed)
        told = as_markdown(lines, self.title, [cases_note(table, "validation cases of all folds")])
        for path, text in zip(self.products, (as_csv(table), told), strict=False):
            with written_whole(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        save_json(
            {"title": self.title, "systems": [self._system(*row) for row in self.rows]}, self.systems_json
        )

    def _system(self, name: str, contrast: str, evaluations: tuple[Evaluation, ...]) -> dict[str, Any]:
        """Paths are relative to the output folder, which may be moved."""
        folds = {
            str(evaluation.predictions[0].fold): {
                "masks": str((evaluation.folder / "masks").relative_to(self.out)),
                "labels": str((evaluation.folder / "labels").relative_to(self.out)),
                "dataset_json": str(evaluation.dataset_json.relative_to(self.out)),
            }
            for evaluation in evaluations
        }
        told = {"name": name, "data": contrast, "control": name in self.controls}
        return {**told, "seconds_a_case": _seconds_a_case(evaluations), "folds": folds}


def _seconds_a_case(evaluations: tuple[Evaluation, ...]) -> float | None:
    """Of all predictions together, loading the network included; None where one was done in pieces."""
    records = [read_json(job.record_file) for evaluation in evaluations for job in evaluation.predictions]
    seconds = [record.get("seconds") for record in records]
    cases = sum(record.get("cases", 0) for record in records)
    known = [value for value in seconds if value is not None]
    return sum(known) / cases if len(known) == len(seconds) and cases else None
