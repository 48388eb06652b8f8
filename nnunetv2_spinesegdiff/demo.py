"""Segment two real example scans with the bundled model."""

from __future__ import annotations

import shlex
from pathlib import Path

import pandas as pd

from .cli import main
from .examples import FOLDER, example_scans
from .preflight import check_new_folder


def run_demo(output: Path, *, device: str | None = None) -> int:
    """Segment the example scans with `spinesegdiff segment`, and print what was found and where it is.

    Args:
        output: new or empty folder for masks, uncertainty maps, pictures, index.html, measurements.csv and
            run.json.
        device: "cpu", "cuda" or "mps"; None is a CUDA device if there is one, else the CPU.

    Returns:
        The exit status of `spinesegdiff segment`.

    Raises:
        UserError: the folder is not empty.
    """
    check_new_folder(output)
    chosen = ["-device", device] if device else []
    words = ["segment", "-i", str(FOLDER), "-o", str(output), *chosen]
    print(f"$ {shlex.join(['spinesegdiff', *words])}", flush=True)
    if status := main(words):
        return status
    print(f"\n{found_in(pd.read_csv(output / 'measurements.csv')).to_string(index=False)}\n")
    for scan in example_scans():
        print(f"Picture: {output / scan.stem}_overlay.png")
    print(f"Masks, uncertainty maps, levels, index.html, measurements.csv, run.json: {output}")
    print(f"The scans, their source and license: {FOLDER}")
    return status


def found_in(measurements: pd.DataFrame) -> pd.DataFrame:
    """Summarize measurements.csv, one row per scan and structure.

    Args:
        measurements: table of `segmentation.measurements.COLUMNS`.

    Returns:
        Columns scan, structure, found (numbered vertebrae or discs; connected parts of the spinal canal),
        area in mm2 and mean uncertainty inside the structure.
    """
    totals = measurements[measurements["number"].isna()]
    numbered = measurements.groupby(["scan", "structure"])["number"].count()
    counts = [
        row.parts if row.structure == "spinal_canal" else numbered[row.scan, row.structure]
        for row in totals.itertuples()
    ]
    return pd.DataFrame(
        {
            "scan": totals["scan"],
            "structure": totals["structure"].replace({"spinal_canal": "spinal canal", "ivd": "discs"}),
            "found": pd.Series(counts, totals.index).astype(int),
            "area (mm2)": totals["area_mm2"].round().astype(int),
            "mean uncertainty": totals["mean_uncertainty"].round(3),
        }
    )
