"""The last job: the table as CSV and Markdown, and the folders that it is made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..files import json_object, load_json, save_json, written_whole
from ..labels import summary_key
from .jobs import Evaluation, RecordedJob, Shell

if TYPE_CHECKING:
    import pandas as pd

Row = tuple[str, str, tuple[Evaluation, ...]]
"""System, contrast, and the evaluations of their folds."""


@dataclass(frozen=True)
class Tabulation(RecordedJob):
    """The table of all evaluations.

    Attributes:
        title, transposed: of the table.
        controls: systems that are controls for others.
        rows: of the table.
    """

    title: str
    transposed: bool
    controls: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def products(self) -> tuple[Path, ...]:
        return (self.out / "table.csv", self.out / "table.md", self.systems_json)

    @property
    def systems_json(self) -> Path:
        """What `spinesegdiff evaluate --reproduced` reads."""
        return self.out / "systems.json"

    def command(self) -> list[str]:
        return []

    def recipe(self) -> dict[str, Any]:
        rows = [[system, contrast] for system, contrast, _ in self.rows]
        recipe = {"title": self.title, "transposed": self.transposed, "rows": rows}
        return {**recipe, "controls": list(self.controls)}

    def work(self, made_of: dict[str, Any], shell: Shell) -> None:
        from ..evaluation.summary_tables import as_csv, as_markdown, cases_note, printed

        table = summarize(self.rows)
        note = cases_note(table, "validation cases of all folds")
        markdown = as_markdown(printed(table, transposed=self.transposed), self.title, [note])
        for path, text in zip(self.products, (as_csv(table), markdown), strict=False):
            with written_whole(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        systems = [self._describe(*row) for row in self.rows]
        save_json({"title": self.title, "systems": systems}, self.systems_json)

    def _describe(self, name: str, contrast: str, evaluations: tuple[Evaluation, ...]) -> dict[str, Any]:
        """Paths are relative to the output folder, which may be moved."""
        folds = {
            str(evaluation.predictions[0].fold): {
                "masks": str((evaluation.folder / "masks").relative_to(self.out)),
                "labels": str((evaluation.folder / "labels").relative_to(self.out)),
                "dataset_json": str(evaluation.dataset_json.relative_to(self.out)),
            }
            for evaluation in evaluations
        }
        # Of all predictions together, loading the network included; None if one was done in pieces.
        records = [
            json_object(job.record_file) for evaluation in evaluations for job in evaluation.predictions
        ]
        seconds = [record.get("seconds") for record in records]
        cases = sum(record.get("cases", 0) for record in records)
        mean = sum(filter(None, seconds)) / cases if cases and None not in seconds else None
        system = {"name": name, "data": contrast, "control": name in self.controls}
        return {**system, "seconds_a_case": mean, "folds": folds}


def summarize(rows: tuple[Row, ...]) -> pd.DataFrame:
    """Return the table (see `summary_table`) of Dice over the cases of all folds.

    Raises:
        UserError: a summary of nnU-Net lacks a structure.
    """
    import pandas as pd

    from ..evaluation.summary_tables import summary_table

    lines = []
    for system, contrast, evaluations in rows:
        names = structures(evaluations[0].dataset_json)
        for path in (evaluation.summary for evaluation in evaluations):
            for number, case in enumerate(load_json(path)["metric_per_case"]):
                missing = [key for key in names.values() if key not in case["metrics"]]
                if missing:
                    raise UserError(path, f"has no structure {missing[0]!r}", "evaluate again")
                # A case is identified by its place: summaries of one system are of different cases.
                own = {"system": system, "data": contrast, "case": f"{path}:{number}"}
                lines += [
                    {**own, "structure": n, "dice": case["metrics"][k]["Dice"]} for n, k in names.items()
                ]
    scores = pd.DataFrame(lines).astype({"dice": float})
    return summary_table(scores, [(system, contrast) for system, contrast, _ in rows])


def structures(dataset_json: Path) -> dict[str, str]:
    """Return name of a structure to its key in a summary, without background and ignored pixels."""
    keys = {name: summary_key(label) for name, label in load_json(dataset_json)["labels"].items()}
    return {name: key for name, key in keys.items() if key != "0" and name not in ("background", "ignore")}
