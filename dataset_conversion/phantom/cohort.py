"""A synthetic cohort on disk, in SPIDER's layout."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nnunetv2_spinesegdiff.errors import UserError, writing
from nnunetv2_spinesegdiff.files import load_json, save_json
from nnunetv2_spinesegdiff.images.writing import write_image
from nnunetv2_spinesegdiff.workers import done_by_workers

from ..names import parse_series
from .acquisition import Acquisition
from .patient import Patient, draw_patient
from .render import render
from .tables import write_tables

MODEL_VERSION = 2
"""Raised whenever the same seed gives other images."""

NOTE = "phantom.json"
"""File in the output folder that states what made it."""

Job = tuple[Path, Patient, Acquisition]


def make_phantom(output: Path, *, patients: int, seed: int, num_processes: int | None = None) -> list[Path]:
    """Generate patients 1, 2, ... in SPIDER's layout.

    Writes `images/<patient>_<t1|t2|t2_SPACE>.mha` (int16) and `masks/<same name>` (uint8, SPIDER numbers, the
    image's exact geometry), `overview.csv` and `radiological_gradings.csv` with SPIDER's columns, and
    `phantom.json`. Patient p of seed s is bit-identical whatever else is made, and by how many processes.

    A folder that an earlier run with the same seed made, finished or not, is continued: series whose image
    and mask are there stay, others are made, files that an interrupted run left half written are removed, and
    the tables list all series.

    Args:
        output: folder, made if missing.
        patients: how many, at least 1.
        seed: from 0.
        num_processes: worker processes; as many as there are processors if None.

    Returns:
        The images of the patients asked for, in order.

    Raises:
        UserError: a number is out of range, or the folder cannot be written or holds something else or
            another seed's patients.
    """
    if patients < 1:
        raise UserError(f"{patients} patients", "at least one is needed")
    if seed < 0:
        raise UserError(f"seed {seed}", "must not be negative")
    output = Path(output)
    with _writing(output):
        _claim(output, seed)
        for path in (*output.glob("images/.*.part*"), *output.glob("masks/.*.part*")):
            path.unlink(missing_ok=True)  # left by a run that was killed
    cohort = [draw_patient(seed, number) for number in range(1, patients + 1)]
    stems = [patient.stem(acquisition) for patient in cohort for acquisition in patient.acquisitions]
    jobs = [
        (output, patient, acquisition)
        for patient in cohort
        for acquisition in patient.acquisitions
        if not _is_whole(output, patient.stem(acquisition))
    ]
    done = done_by_workers(_work, jobs, num_processes or os.cpu_count() or 1, "finished series")
    for _ in tqdm(done, "Making phantoms", len(stems), initial=len(stems) - len(jobs), unit="series"):
        pass
    with _writing(output):
        _write_tables(output, seed, cohort)
    return [_image_path(output, stem) for stem in stems]


def write_series(output: Path, patient: Patient, acquisition: Acquisition) -> None:
    """Render a series and write its mask, then its image."""
    image, mask = render(patient.anatomy, patient.spine, acquisition)
    stem = patient.stem(acquisition)
    _write_volume(_mask_path(output, stem), mask, acquisition)
    _write_volume(_image_path(output, stem), image, acquisition)


def _image_path(output: Path, stem: str) -> Path:
    return output / "images" / f"{stem}.mha"


def _mask_path(output: Path, stem: str) -> Path:
    return output / "masks" / f"{stem}.mha"


def _is_whole(output: Path, stem: str) -> bool:
    """Whether a series has its image and its mask, neither of them empty."""
    paths = _image_path(output, stem), _mask_path(output, stem)
    return all(path.is_file() and path.stat().st_size > 0 for path in paths)


def _write_volume(path: Path, array: np.ndarray, acquisition: Acquisition) -> None:
    write_image(acquisition.file_grid().image(acquisition.to_file_axes(array)), path)


def _claim(output: Path, seed: int) -> None:
    note = output / NOTE
    made_by = {"made_by": "spinesegdiff phantom", "model_version": MODEL_VERSION, "seed": seed}
    if output.exists() and not output.is_dir():
        raise UserError(output, "is not a folder", "choose another")
    if not note.exists():
        if output.is_dir() and any(output.iterdir()):
            raise UserError(output, "is not empty and was not made by this command", "choose another folder")
        save_json(made_by, note)
        return
    try:
        found = load_json(note)
    except ValueError as error:
        raise UserError(note, "is damaged", "choose another folder or remove this one") from error
    if found != made_by:
        raise UserError(output, "holds patients of another seed or version", "choose another folder")


def _writing(output: Path) -> AbstractContextManager[None]:
    return writing(output, "make it writable or choose another")


def _work(job: Job) -> None:
    output, patient, acquisition = job
    with _writing(output):
        write_series(output, patient, acquisition)


def _write_tables(output: Path, seed: int, cohort: list[Patient]) -> None:
    # An earlier run may have left other patients of this seed here.
    stems = {path.stem for path in (output / "images").glob("[!.]*.mha") if _is_whole(output, path.stem)}
    known = {patient.number: patient for patient in cohort}
    numbers = {int(s.patient) for s in map(parse_series, stems) if s is not None and s.patient.isdecimal()}
    everyone = (known.get(number) or draw_patient(seed, number) for number in sorted(numbers))
    write_tables(output, everyone, stems)
