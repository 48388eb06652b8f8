"""What was run: versions, commands, settings, folds, and the files that were read."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import pandas as pd

from ... import __version__
from ...text import MISSING
from ..columns import label_of
from ..pathology import SYSTEM
from ..summary_tables import without_empty
from .evaluation_folder import Evaluation, System
from .page import Block, Listing, Section, Table
from .places import Places

PACKAGES = (
    *("nnunetv2", "torch", "monai", "statsmodels", "scipy", "numpy", "pandas"),
    *("SimpleITK", "matplotlib", "Jinja2"),
)
KINDS = {"label": "labels", "prediction": "masks", "image": "scans", "uncertainty": "heatmaps"}
"""What the columns with files of cases.csv hold."""
COMMAND = "command"
"""In `Evaluation.made_with`; what else is there are versions."""


def provenance_section(evaluation: Evaluation, commands: Sequence[str], places: Places) -> Section:
    """Everything that is known of how the numbers were made.

    Args:
        commands: that were run in addition to the evaluation's own.
    """
    made_with = evaluation.made_with
    own = [made_with[COMMAND]] if COMMAND in made_with else []
    run = tuple(dict.fromkeys(map(places.command, [*own, *commands])))
    blocks: list[Block] = [Listing("Commands", run, code=True)] if run else []
    blocks.append(versions_table({k: places.hidden(v) for k, v in made_with.items() if k != COMMAND}))
    settings = settings_table(evaluation.systems, places)
    if settings is not None:
        blocks.append(settings)
    blocks += [*fold_blocks(evaluation.cases), files_table(evaluation.cases, places)]
    text = [] if places.whole else ["Folders are left out of paths, so that this file can be shared."]
    unknown = [system.label for system in evaluation.systems if not system.settings]
    if unknown:
        text.append(f"How masks were predicted is not known for {', '.join(unknown)}.")
    return Section("What was run", tuple(text), blocks=tuple(blocks))


def versions() -> dict[str, str]:
    """Versions of Python and of all packages that make an evaluation; none is imported."""
    own = {"spinesegdiff": __version__, "python": platform.python_version()}
    return own | {name: version(name) for name in PACKAGES}


def versions_table(made_with: Mapping[str, str]) -> Table:
    """Versions that the evaluation recorded and those of the report."""
    here = versions()
    rows = [(name, made_with.get(name, MISSING), here.get(name, MISSING)) for name in {**here, **made_with}]
    return Table(pd.DataFrame(rows, columns=["Package", "Evaluation", "Report"]), "Versions")


def settings_table(systems: Sequence[System], places: Places) -> Table | None:
    """One row per setting, one column per system; None where nothing is known."""
    known = {}
    for system in systems:
        # Nested settings get dotted names.
        nested = pd.json_normalize(places.hidden_in(system.settings or {})).to_dict("records")
        values = nested[0] if nested else {}
        settings = {str(name): v if isinstance(v, str) else json.dumps(v) for name, v in values.items()}
        if system.seconds_a_case is not None:
            settings["seconds per case"] = f"{system.seconds_a_case:.3g}"
        if settings:
            known[system.label] = settings
    if not known:
        return None
    names = list(dict.fromkeys(name for settings in known.values() for name in settings))
    columns = {label: [settings.get(name, MISSING) for name in names] for label, settings in known.items()}
    return Table(pd.DataFrame({"Setting": names, **columns}), "How masks were predicted")


def fold_blocks(cases: pd.DataFrame) -> list[Block]:
    """Cases and patients per fold and system, and the cases of every fold by name; nothing without folds."""
    within = cases[cases["fold"] != ""]
    if within.empty:
        return []
    grouped = within.groupby([*SYSTEM, "fold"], sort=False)
    counts = grouped.agg(cases=("case", "nunique"), patients=("patient", "nunique")).reset_index()
    lines = [
        f"Fold {fold}: {', '.join(sorted(set(own['case'])))}"
        for fold, own in within.groupby("fold", sort=True)
    ]
    if outside := cases.loc[cases["fold"] == "", "case"].nunique():
        lines.append(f"In no fold: {outside} cases")
    return [
        Table(without_empty(counts.rename(columns=str.capitalize)), "Validation cases of the folds"),
        Listing("Validation cases of the folds by name", tuple(lines), folded=True),
    ]


def files_table(cases: pd.DataFrame, places: Places) -> Table:
    """The folders from which a system's files were read, and how many from each."""
    rows = []
    for name, own in cases.groupby(SYSTEM, sort=False):
        for column, kind in KINDS.items():
            folders = Counter(places.shown(path.parent) for path in own[column] if path)
            counts = ", ".join(f"{count} in {folder}" for folder, count in folders.items()) or "none"
            rows.append({"System": label_of(name), "Files": kind, "From": counts})
    return Table(pd.DataFrame(rows), "Files that were read", folded=True)
