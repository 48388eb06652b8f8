"""What was run: versions, commands, settings, folds, and which files were read."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from ... import __version__
from .evaluation_folder import Evaluation, System
from .page import Block, Listing, Section, Table
from .places import Places
from .result_sections import without_empty

PACKAGES = (
    *("nnunetv2", "torch", "monai", "statsmodels", "scipy", "numpy", "pandas"),
    *("SimpleITK", "matplotlib", "Jinja2"),
)
KINDS = {"label": "labels", "prediction": "masks", "image": "scans", "uncertainty": "heatmaps"}
"""What the columns with files of cases.csv hold."""
COMMAND = "command"
"""In `Evaluation.made_with`; what else is there are versions."""


def provenance_section(evaluation: Evaluation, commands: Sequence[str], places: Places) -> Section:
    """Everything that is known of how the numbers came about.

    Args:
        commands: that were run beside the evaluation's own, this report's for example.
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
        text.append(f"How masks were predicted is not known of {', '.join(unknown)}.")
    return Section("What was run", tuple(text), blocks=tuple(blocks))


def versions_table(made_with: Mapping[str, Any]) -> Table:
    """Versions that the evaluation wrote down, beside those of the report; nothing is imported for it."""
    here = {"spinesegdiff": __version__, "python": platform.python_version()}
    here |= {name: _version(name) for name in PACKAGES}
    names = [*here, *(name for name in made_with if name not in here)]
    columns = {
        "Package": names,
        "Evaluation": [str(made_with.get(name, "n/a")) for name in names],
        "Report": [here.get(name, "n/a") for name in names],
    }
    return Table(pd.DataFrame(columns), "Versions")


def settings_table(systems: Sequence[System], places: Places) -> Table | None:
    """A row a setting, a column a system; None where nothing is known of any."""
    known = {}
    for system in systems:
        settings = _flat(places.hidden_in(system.settings or {}))
        if system.seconds_a_case is not None:
            settings["seconds a case"] = f"{system.seconds_a_case:.3g}"
        if settings:
            known[system.label] = settings
    if not known:
        return None
    names = list(dict.fromkeys(name for settings in known.values() for name in settings))
    columns = {label: [settings.get(name, "n/a") for name in names] for label, settings in known.items()}
    return Table(pd.DataFrame({"Setting": names, **columns}), "How masks were predicted")


def fold_blocks(cases: pd.DataFrame) -> list[Block]:
    """Cases and patients a fold and system, and the cases of every fold by name; nothing without folds."""
    within = cases[cases["fold"] != ""]
    if within.empty:
        return []
    grouped = within.groupby(["system", "data", "fold"], sort=False)
    counts = grouped.agg(cases=("case", "nunique"), patients=("patient", "nunique")).reset_index()
    heads = {"system": "System", "data": "Data", "fold": "Fold", "cases": "Cases", "patients": "Patients"}
    lines = tuple(
        f"Fold {fold}: {', '.join(sorted(set(own['case'])))}"
        for fold, own in within.groupby("fold", sort=True)
    )
    outside = cases.loc[cases["fold"] == "", "case"].nunique()
    if outside:
        lines += (f"In no fold: {outside} cases",)
    return [
        Table(without_empty(counts.rename(columns=heads)), "Validation cases of the folds"),
        Listing("Validation cases of the folds by name", lines, folded=True),
    ]


def files_table(cases: pd.DataFrame, places: Places) -> Table:
    """From which folders a system's files were read, and how many from each."""
    rows = []
    for (system, data), own in cases.groupby(["system", "data"], sort=False):
        for kind in KINDS:
            folders = Counter(places.shown(Path(path).parent) for path in own[kind] if path)
            told = ", ".join(f"{count} in {folder}" for folder, count in folders.items()) or "none"
            rows.append(
                {"System": f"{system} ({data})" if data else system, "Files": KINDS[kind], "From": told}
            )
    return Table(pd.DataFrame(rows), "Files that were read", folded=True)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _flat(settings: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Nested settings with dotted names."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{name}.")
        else:
            flat[f"{above}{name}"] = value if isinstance(value, str) else json.dumps(value)
    return flat
