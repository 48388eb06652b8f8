"""Score a model on lumbar scans from other sources, which it was not trained on.

Only what these sources label is scored, in the middle sagittal slice at 1 mm. Where a label holds vertebral
bodies without their arches, the share of it that was segmented as vertebrae is reported instead of Dice, for
the model segments the whole vertebra.

    python benchmarks/spider_model/external.py --data data -o benchmarks/spider_model/results/external.md
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk
from nnunetv2_spinesegdiff.dataset_conversion.geometry import extract_slice
from tqdm import tqdm

from nnunetv2_spinesegdiff import SpineSegmenter, UserError
from nnunetv2_spinesegdiff.text import markdown_table

CANAL, VERTEBRAE, DISCS = 1, 2, 3
# SimpleITK direction of slices stored head up and front left.
SAGITTAL = (0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)

Scan = tuple[str, str, sitk.Image, sitk.Image]
"""Source, name, image, and label with the numbers of the source."""


def midsagittal_slices(folder: Path) -> Iterator[Scan]:
    """real_lumbar: 1 disc, 2 vertebral body; its headers do not state that the slices are sagittal."""
    for path in sorted((folder / "imagesTr").glob("*.nii.gz")):
        name = path.name.removesuffix("_0000.nii.gz")
        image = sitk.ReadImage(str(path))
        image.SetDirection(SAGITTAL)
        label = sitk.ReadImage(str(folder / "labelsTr" / f"{name}.nii.gz"))
        label.SetDirection(SAGITTAL)
        yield folder.name, name, image, label


def vertebral_body_volumes(folder: Path) -> Iterator[Scan]:
    """spider_like: 1 to 9, vertebral bodies."""
    for path in sorted((folder / "images").glob("*.mha")):
        source = f"{folder.name}, {path.stem.split('_')[1]}"
        label = sitk.ReadImage(str(folder / "masks" / path.name))
        yield source, path.stem, sitk.ReadImage(str(path)), label


def tptbox(folder: Path) -> Iterator[Scan]:
    """A crop of one scan: 41 to 49 parts of vertebrae, 60 cord, 61 canal, 62 endplates, 100 disc."""
    names = ("sub-mri_label-6_T2w.nii.gz", "sub-mri_seg-subreg_label-6_msk.nii.gz")
    # Of 78 mm from head to foot; `segment` refuses fields of view below 100 mm.
    image, label = (
        sitk.ConstantPad(sitk.ReadImage(str(folder / name)), [0, 20, 0], [0, 20, 0]) for name in names
    )
    yield folder.name, "label-6", image, label


def scores_of(source: str, mask: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Of the structures that the source labels."""
    if source == "real_lumbar":
        return {"discs, Dice": dice(mask == DISCS, label == 1), "bodies, found": found(mask, label == 2)}
    if source == "tptbox_mr":
        return {
            "canal, Dice": dice(mask == CANAL, np.isin(label, (60, 61))),
            "vertebrae, Dice": dice((mask == VERTEBRAE) & (label != 62), (label > 40) & (label < 50)),
            "discs, Dice": dice((mask == DISCS) & (label != 62), label == 100),
        }
    return {"bodies, found": found(mask, label > 0)}


def dice(a: np.ndarray, b: np.ndarray) -> float:
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else float("nan")


def found(mask: np.ndarray, bodies: np.ndarray) -> float:
    """Share of the labelled bodies that was segmented as vertebrae."""
    return float((mask == VERTEBRAE)[bodies].mean()) if bodies.any() else float("nan")


def middle(labels: sitk.Image) -> np.ndarray:
    """The middle sagittal slice, which is the one that `segment` segments (1, 320, 320)."""
    return sitk.GetArrayFromImage(extract_slice(labels, is_label=True).image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the sources' folders")
    parser.add_argument("-m", help="model; by default the bundled one")
    parser.add_argument("-o", type=Path, required=True, help="Markdown file to write")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    scans = [
        *midsagittal_slices(options.data / "real_lumbar"),
        *vertebral_body_volumes(options.data / "spider_like"),
        *tptbox(options.data / "robustness" / "tptbox_mr"),
    ]
    with SpineSegmenter(options.m, slices="middle") as segmenter:
        for source, name, image, label in tqdm(scans):
            try:
                mask = segmenter.segment(image, name=name).mask
            except UserError as error:
                rows.append({"source": source, "scan": name, "failure": str(error)})
                continue
            rows.append({"source": source, "scan": name, **scores_of(source, middle(mask), middle(label))})
    table = pd.DataFrame(rows)
    columns = [column for column in table.columns if "," in column]
    lines = ["# Scans from other sources", "", *__doc__.splitlines()[2:5], ""]
    means = []
    failed = table.get("failure", pd.Series(index=table.index, dtype=object)).notna()
    for source, of_source in table.groupby("source", sort=False):
        cells = ["-" if np.isnan(value) else f"{value:.3f}" for value in of_source[columns].mean()]
        means.append([source, len(of_source), failed[of_source.index].sum(), *cells])
    lines.append(markdown_table(["source", "scans", "without a mask", *columns], means))
    options.o.parent.mkdir(parents=True, exist_ok=True)
    options.o.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    for row in table[failed].itertuples():
        print(f"{row.scan}: {row.failure}")


if __name__ == "__main__":
    main()
