r"""How often do vertebrae and discs get their number? Against SPIDER's numbers, and SPIDER's counts.

Numbers: masks that nnU-Net's validation predicted for slices with SPIDER's numbers. A true vertebra or disc
counts if it has at least 50 pixels of 1 mm and the mask has at least half of them. It is right if most of
these pixels have its number. Everything above T12 is one number, as in these slices.

Counts: masks of `spinesegdiff segment` on middle slices, against the number of vertebrae and discs that
SPIDER's readers labeled in the whole series. Series without a mask count as wrong.

    python benchmarks/levels.py --numbered data/spider_t2w --cases raw/Dataset601_SpiderLumbar/cases.csv \
        --model results/Dataset601_SpiderLumbar/TRAINER__PLANS__2d \
        --counted data/spider_middle --masks segmented -o benchmarks/levels.md
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk
from nnunetv2_spinesegdiff.dataset_conversion.geometry import extract_slice

from nnunetv2_spinesegdiff.labels import IVD, VERTEBRAE
from nnunetv2_spinesegdiff.segmentation.measuring.edges import beyond_edge
from nnunetv2_spinesegdiff.segmentation.measuring.levels import DISCS, PARTIAL, SACRUM, Levels, number_levels
from nnunetv2_spinesegdiff.text import markdown_table

MM = (1.0, 1.0)
LEAST_PIXELS = 50
LEAST_SHARE = 0.5
ABOVE_T12 = 7
CONFIDENCES = ("high", "moderate", "low")


def slice_of(path: Path) -> np.ndarray:
    """The middle slice (H, W) of a label image, as the model sees it."""
    view = extract_slice(sitk.ReadImage(str(path)), is_label=True)
    return sitk.GetArrayFromImage(view.image)[0]


def structures(truth: np.ndarray, mask: np.ndarray, levels: Levels) -> Iterator[bool]:
    """Whether each true vertebra and disc that the mask contains has its number."""
    numbers = np.where(levels.numbers // PARTIAL == 1, levels.numbers % PARTIAL, levels.numbers)
    for number in np.unique(truth[(truth > 0) & (truth != PARTIAL)]):
        inside = truth == number
        of_class = inside & (mask == (IVD if number > DISCS else VERTEBRAE))
        if inside.sum() >= LEAST_PIXELS and of_class.sum() >= LEAST_SHARE * inside.sum():
            found = int(np.bincount(numbers[of_class]).argmax())
            if number % PARTIAL < ABOVE_T12:
                yield found == number
            else:
                yield found // DISCS == number // DISCS and found % DISCS >= ABOVE_T12


def numbered(folder: Path, cases: Path, model: Path) -> pd.DataFrame:
    """One row per vertebra and disc that a predicted mask contains."""
    predictions = {path.name: path for path in model.glob("fold_*/validation/*.nii.gz")}
    rows = []
    for case in pd.read_csv(cases, dtype={"patient": str}).itertuples():
        truth, prediction = folder / "masks" / str(case.source), predictions.get(f"{case.case}.nii.gz")
        if not truth.exists() or prediction is None:
            continue
        mask, true = sitk.GetArrayFromImage(sitk.ReadImage(str(prediction)))[0], slice_of(truth)
        image = slice_of(folder / "images" / str(case.source))
        levels = number_levels(mask, MM, beyond_edge(image))
        for right in structures(true, mask, levels):
            rows.append((case.case, case.patient, levels.confidence, right))
    return pd.DataFrame(rows, columns=["case", "patient", "confidence", "right"])


def counted(folder: Path, masks: Path) -> pd.DataFrame:
    """One row per series: how many vertebrae and discs more than labeled by readers, NaN without mask."""
    rows = []
    for series in pd.read_csv(folder / "overview.csv").itertuples():
        path = masks / f"{series.new_file_name}_seg.nii.gz"
        if not path.exists():
            rows.append((series.new_file_name, "no mask", np.nan, np.nan))
            continue
        levels = number_levels(
            slice_of(path), MM, beyond_edge(slice_of(folder / f"{series.new_file_name}.mha"))
        )
        real = [number for number in levels.names if number % PARTIAL and number % PARTIAL != SACRUM]
        discs = sum(number > DISCS for number in real)
        more = (len(real) - discs - series.num_vertebrae, discs - series.num_discs)
        rows.append((series.new_file_name, levels.confidence, *more))
    return pd.DataFrame(rows, columns=["series", "confidence", "vertebrae", "discs"])


def table_of_numbers(rows: pd.DataFrame) -> str:
    groups = {
        "all": rows,
        **{f"confidence {name}": rows[rows.confidence == name] for name in CONFIDENCES},
    }
    lines = [
        [
            name,
            str(group.case.nunique()),
            str(len(group)),
            f"{group.right.sum()}",
            f"{group.right.mean():.1%}",
        ]
        for name, group in groups.items()
    ]
    return markdown_table(["slices", "number", "vertebrae and discs", "right", "share"], lines)


def table_of_counts(rows: pd.DataFrame) -> str:
    lines = []
    for structure in ("discs", "vertebrae"):
        off = rows[structure]
        lines.append(
            [structure, str(len(rows)), f"{(off == 0).mean():.1%}", f"{(off.abs() <= 1).mean():.1%}"]
        )
    return markdown_table(["structure", "series", "number equal", "within 1"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--numbered", type=Path, required=True, help="folder with SPIDER's numbers")
    parser.add_argument("--cases", type=Path, required=True, help="cases.csv of the converted dataset")
    parser.add_argument("--model", type=Path, required=True, help="trained model with validation masks")
    parser.add_argument("--counted", type=Path, required=True, help="folder of series with overview.csv")
    parser.add_argument("--masks", type=Path, required=True, help="output folder of `spinesegdiff segment`")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    numbers = numbered(args.numbered, args.cases, args.model)
    counts = counted(args.counted, args.masks)
    wrong = numbers[~numbers.right].groupby("case").size()
    text = "\n\n".join(
        [
            "`python benchmarks/levels.py`. The thresholds were chosen on T2_SPACE series; one rule (S1-S2) "
            "after results like these had been seen.",
            f"Masks of held-out T2w slices, {numbers.patient.nunique()} patients, against SPIDER's numbers:",
            table_of_numbers(numbers),
            "Wrong: " + ", ".join(f"{count} in {case}" for case, count in wrong.items()) + ".",
            "Masks of `spinesegdiff segment` on middle slices, against the labels of the whole series:",
            table_of_counts(counts),
        ]
    )
    args.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
