"""The last job: the table, as CSV and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..files import written_whole
from .evaluating import Evaluation
from .jobs import RecordedJob, Shell


@dataclass(frozen=True)
class Tabulation(RecordedJob):
    """The table of all evaluations.

    Attributes:
        title, transposed: of the table.
        rows: system, contrast, and the evaluations of their folds.
    """

    title: str
    transposed: bool
    rows: tuple[tuple[str, str, tuple[Evaluation, ...]], ...]

    @property
    def products(self) -> tuple[Path, ...]:
        return (self.out / "table.csv", self.out / "table.md")

    def command(self) -> list[str]:
        """None: it is done in this process."""
        return []

    def recipe(self) -> dict:
        rows = [[system, contrast] for system, contrast, _ in self.rows]
        return {"title": self.title, "transposed": self.transposed, "rows": rows}

    def work(self, made_of: dict, shell: Shell) -> None:
        from .collect import Row, as_csv, as_markdown, table_of  # pandas takes a second to come

        table = table_of(
            [
                Row(system, contrast, [e.summary for e in evaluations], evaluations[0].dataset_json)
                for system, contrast, evaluations in self.rows
            ]
        )
        for path, text in zip(
            self.products, (as_csv(table), as_markdown(table, self.title, self.transposed)), strict=True
        ):
            with written_whole(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
