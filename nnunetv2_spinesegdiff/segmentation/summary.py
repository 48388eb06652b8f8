"""measurements.csv, run.json, index.html and names of levels over all scans of an output folder."""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .. import __version__
from ..files import half_written, save_json, written_whole
from ..locks import locked
from ..records import as_stored
from .level_files import names_as_json, slicer_color_table
from .measurements import USE, write_measurements
from .outputs import RECORDS, records_in
from .overview import OVERVIEW, is_foreign, write_overview

_FILES = ("measurements.csv", "run.json", "level_names.json", "level_colors.ctbl", OVERVIEW)
_PACKAGES = ("nnunetv2", "torch", "numpy", "SimpleITK", "nibabel", "highdicom")


def write_summary(
    folder: Path,
    run: Mapping[str, Any],
    names: Collection[str],
    failures: Mapping[str, str],
    known: Mapping[str, dict[str, Any]],
    participants: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Collect the records of an output folder, those of other parts and of earlier runs included.

    Parts of one cohort share the folder; the part that ends last reports all scans. Results that were removed
    are not reported, nor earlier failures of scans that are not in the cohort now.

    Args:
        run: facts about the run that ends here. For scans that an earlier run made with other settings,
            `made_with` in `run.json` states what was different.
        names: of all scans of the cohort.
        failures: why scans of this run have no new result, by name.
        known: records of scans that this run made or kept, by name.
        participants: columns to add to measurements.csv, by the name of the scan.
    """
    measurements, told, names_file, colors, _ = (folder / name for name in _FILES)
    with _alone(folder / RECORDS):
        for left in (left for name in _FILES for left in half_written(folder / name)):
            left.unlink(missing_ok=True)
        records = _reported_records(folder, names, known)
        rows = [row for record in records.values() for row in record.get("measurements", [])]
        write_measurements(rows, measurements, participants)
        level_names = _level_names(records.values())
        save_json(names_as_json(level_names), names_file)
        with written_whole(colors) as temporary:
            temporary.write_text(slicer_color_table(level_names), encoding="utf-8")
        scans = {name: _entry(record, run) for name, record in records.items()}
        for name, reason in failures.items():
            scans[name] = {**scans.get(name, {}), "failure": reason}
        save_json({"use": USE, "versions": _versions(), **run, "scans": scans}, told)
        failed = {name: {**records.get(name, {}), "failure": reason} for name, reason in failures.items()}
        write_overview(folder, {**records, **failed})


def scans_beside(folder: Path, names: Collection[str]) -> list[str]:
    """Scans with results in an output folder that are none of these."""
    return [name for name in _reported_records(folder, names, {}) if name not in names]


def _reported_records(
    folder: Path, names: Collection[str], known: Mapping[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    def is_current(name: str, record: Mapping[str, Any]) -> bool:
        if "failure" in record:
            return name in names
        mask = next(iter(record["files"]))
        return (folder / mask).is_file()

    return {name: record for name, record in records_in(folder, known).items() if is_current(name, record)}


def remove_summary(folder: Path) -> None:
    """Remove tables and page before scans are made again: after a kill, they would show earlier numbers."""
    with _alone(folder / RECORDS):
        for path in (folder / name for name in _FILES):
            if path.name != OVERVIEW or not is_foreign(path):
                path.unlink(missing_ok=True)


def _level_names(records: Iterable[Mapping[str, Any]]) -> dict[int, str]:
    """Names of the numbers in all scans; where they differ (L5, L6), all of them."""
    found: dict[int, set[str]] = {}
    for record in records:
        for number, name in record.get("levels", {}).get("names", {}).items():
            found.setdefault(int(number), set()).add(name)
    return {number: "/".join(sorted(names)) for number, names in found.items()}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time, and the next one when this one ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock", wait=True):
        yield


def _entry(record: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    if "failure" in record:
        return {"failure": record["failure"]}
    told = {"files": list(record["files"]), "seconds": record["seconds"], "warnings": record["warnings"]}
    if "levels" in record:
        told["levels"] = {key: record["levels"][key] for key in ("confidence", "basis")}
    made, this = record["made_from"], {"model": run["model"]["sha256"], "settings": run["settings"]}
    this = as_stored({**this, "version": __version__})
    other = {key: made[key] for key, value in this.items() if made[key] != value}
    return {**told, "made_with": other} if other else told


def _versions() -> dict[str, str]:
    found = {"spinesegdiff": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
