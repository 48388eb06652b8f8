"""Convert a synthetic cohort and read the result."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import SimpleITK as sitk
from nnunetv2_spinesegdiff.dataset_conversion.convert import ConversionReport, convert


def run(spider: Path | list[Path], out: Path, **options) -> ConversionReport:
    options = {"num_processes": 1, **options}
    return convert(spider, 501, nnunet_raw=out / "raw", nnunet_preprocessed=out / "preprocessed", **options)


def contents(folder: Path) -> dict[str, str]:
    """Checksum of every file below a folder, hidden ones included."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def rows(report: ConversionReport) -> list[dict[str, str]]:
    with (report.dataset / "cases.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def folds_of(report: ConversionReport) -> list[dict[str, list[str]]]:
    return json.loads(report.splits_file.read_text())


def validated(report: ConversionReport) -> list[str]:
    """Every validation case of all folds, after checking that no patient is on both sides of a fold."""
    folds = folds_of(report)
    for fold in folds:
        assert not {case[:10] for case in fold["val"]} & {case[:10] for case in fold["train"]}
    return sorted(case for fold in folds for case in fold["val"])


def expected_files(cases: list[str]) -> set[str]:
    names = {"dataset.json", "cases.csv", "splits_final.json"}
    for case in cases:
        names |= {f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz", f"conversion/{case}.json"}
    return names


def truncated(spider: Path) -> tuple[str, str]:
    path = spider / "images" / "3_t1.mha"
    path.write_bytes(path.read_bytes()[:-2000])
    return "images/3_t1.mha", "truncated"


def edit(path: Path, change: Callable[[sitk.Image], sitk.Image | None]) -> None:
    """Write an image again after `change`, which edits it or returns another."""
    image = sitk.ReadImage(str(path))
    changed = change(image)
    sitk.WriteImage(image if changed is None else changed, str(path))


def image_missing(spider: Path) -> tuple[str, str]:
    (spider / "images" / "3_t1.mha").unlink()
    return "images/3_t1.mha", "no such file, though its mask is there"
