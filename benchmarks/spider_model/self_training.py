"""Labels for slices that nobody labelled, from a model: where stage 1 and the refined result agree.

`label` writes a folder in SPIDER's layout. Pixels where the two disagree are 255 (unknown). Slices with a
warning about their anatomy are left out, and so are patients of the training data. `folds` then gives the
converted dataset the folds of the one without these slices: they are trained on in every fold and validated
in none.

    python benchmarks/spider_model/self_training.py label MODEL IMAGES -f 0 --trained_on CASES.CSV -o OUT
    python benchmarks/spider_model/self_training.py folds 602 --of 601
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from nnunetv2_spinesegdiff.dataset_conversion.names import patient_of
from tqdm import tqdm

from nnunetv2_spinesegdiff import Failure, Segmentation, SpineSegmenter
from nnunetv2_spinesegdiff.segmentation.findings import anatomy_warnings

UNKNOWN = 255
SPIDER_LABELS = np.array([0, 100, 1, 201], np.uint8)
"""Of background, canal, vertebrae and discs; which vertebra or disc is not known."""


def label(model: str, images: Path, folds: list[int], trained_on: Path, out: Path) -> None:
    known = set(pd.read_csv(trained_on, dtype=str)["patient"])
    scans = [path for path in sorted(images.glob("*.mha")) if patient_of(path.stem) not in known]
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    left_out = 0
    with (
        SpineSegmenter(model, folds=folds, device="cpu", preset="fast") as refined,
        SpineSegmenter(model, folds=folds, device="cpu", refine=False) as stage1,
    ):
        both = zip(refined.segment_each(scans), stage1.segment_each(scans), strict=True)
        for scan, (first, second) in zip(tqdm(scans), both, strict=True):
            if isinstance(first, Failure) or isinstance(second, Failure) or _implausible(first):
                left_out += 1
                continue
            one, other = (sitk.GetArrayViewFromImage(result.mask) for result in (first, second))
            labels = sitk.GetImageFromArray(np.where(one == other, SPIDER_LABELS[one], np.uint8(UNKNOWN)))
            labels.CopyInformation(first.mask)
            sitk.WriteImage(labels, str(out / "masks" / scan.name), useCompression=True)
            shutil.copy(scan, out / "images" / scan.name)
    print(f"{out}: {len(scans) - left_out} slices labelled, {left_out} left out")


def _implausible(result: Segmentation) -> bool:
    return bool(anatomy_warnings(result.shown.mask, result.shown.spacing))


def folds(dataset: str, of: str) -> None:
    preprocessed = Path(os.environ["nnUNet_preprocessed"])
    target, source = (preprocessed / maybe_convert_to_dataset_name(name) for name in (dataset, of))
    splits = json.loads((source / "splits_final.json").read_text(encoding="utf-8"))
    labelled = {case for fold in splits for case in fold["train"] + fold["val"]}
    cases = sorted(path.stem for path in (target / "gt_segmentations").iterdir())
    added = [name for case in cases if (name := case.removesuffix(".nii")) not in labelled]
    splits = [{"train": fold["train"] + added, "val": fold["val"]} for fold in splits]
    (target / "splits_final.json").write_text(json.dumps(splits, indent=2) + "\n", encoding="utf-8")
    print(f"{target}: {len(added)} cases added to the training of every fold")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("label")
    one.add_argument("model", help="see `spinesegdiff segment -m`")
    one.add_argument("images", type=Path, help="folder of slices <patient>_<t1|t2>.mha")
    one.add_argument("-f", "--folds", type=int, nargs="+", required=True)
    one.add_argument("--trained_on", type=Path, required=True, help="cases.csv of the labelled dataset")
    one.add_argument("-o", "--out", type=Path, required=True)
    other = commands.add_parser("folds")
    other.add_argument("dataset", help="preprocessed dataset with the added slices")
    other.add_argument("--of", required=True, help="dataset without them")
    options = parser.parse_args()
    if options.command == "label":
        label(options.model, options.images, options.folds, options.trained_on, options.out)
    else:
        folds(options.dataset, options.of)


if __name__ == "__main__":
    main()
