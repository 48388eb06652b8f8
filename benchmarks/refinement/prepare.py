"""Make the dataset of the study: three folds by patient of sagittal slices at 2 mm, and the test slices.

Slices of `spider_space` are trained on. Those of `spider_t2w` are in the validation list of every fold that
does not train on their patient, and those of `real_lumbar` in all of them, so nnU-Net's own validation
predicts the three sets. In `real_lumbar` only discs are labeled as here; what is far from them is ignored.

    python benchmarks/refinement/prepare.py --data data -d 611
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk
from nnunetv2_spinesegdiff.dataset_conversion.names import parse_case

from nnunetv2_spinesegdiff.labels import CLASSES, IGNORE
from nnunetv2_spinesegdiff.network.planned import scale_features

PIXEL_MM = 2.0
PLANS, WIDTH, BATCH_SIZE, PATCH_SIZE = "nnUNetPlansQuarter", 0.25, 4, [160, 128]
DISC_OF_REAL_LUMBAR, BODY_OF_REAL_LUMBAR = 1, 2


def convert(data: Path, dataset: str, folder: Path) -> None:
    """Convert SPIDER's slices, add those of real_lumbar, and resample all of them."""
    sources = [str(data / "spider_space"), str(data / "spider_t2w")]
    words = ["spinesegdiff", "convert", "-i", *sources, "-d", dataset, "--name", folder.name.split("_", 1)[1]]
    words += ["--t2_source", "both", "--slices", "each", "--ignore_label", "255"]
    subprocess.run(words, check=True)
    any_case = sitk.ReadImage(str(next((folder / "imagesTr").glob("*.nii.gz"))))
    for path in sorted((data / "real_lumbar" / "imagesTr").glob("*.nii.gz")):
        name = path.name.removesuffix("_0000.nii.gz")
        image = sitk.ReadImage(str(path))
        label = sitk.ReadImage(str(data / "real_lumbar" / "labelsTr" / f"{name}.nii.gz"))
        for one in (image, label):
            one.SetDirection(any_case.GetDirection())  # the headers do not state that these are sagittal
        sitk.WriteImage(image, str(folder / "imagesTr" / f"real_{name}_0000.nii.gz"))
        sitk.WriteImage(with_our_labels(label), str(folder / "labelsTr" / f"real_{name}.nii.gz"))
    for path in sorted((folder / "imagesTr").glob("*.nii.gz")):
        sitk.WriteImage(resampled(sitk.ReadImage(str(path)), label=False), str(path))
    for path in sorted((folder / "labelsTr").glob("*.nii.gz")):
        sitk.WriteImage(resampled(sitk.ReadImage(str(path)), label=True), str(path))
    description = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    description["numTraining"] = len(list((folder / "labelsTr").glob("*.nii.gz")))
    (folder / "dataset.json").write_text(json.dumps(description, indent=2), encoding="utf-8")


def with_our_labels(label: sitk.Image) -> sitk.Image:
    """Discs and what is near to them; far from discs the arches are not labeled, so that is ignored."""
    values = sitk.GetArrayFromImage(label)
    ours = np.full(values.shape, IGNORE, np.uint8)
    ours[values == DISC_OF_REAL_LUMBAR] = CLASSES["ivd"]
    # Next to a disc the source labels either a body or nothing: that border can be scored.
    near = sitk.GetArrayFromImage(sitk.BinaryDilate(label == DISC_OF_REAL_LUMBAR, [4, 4, 0])) > 0
    ours[near & (values == 0)] = 0
    ours[near & (values == BODY_OF_REAL_LUMBAR)] = CLASSES["vertebrae"]
    made = sitk.GetImageFromArray(ours)
    made.CopyInformation(label)
    return made


def resampled(image: sitk.Image, label: bool) -> sitk.Image:
    """A slice (1, Y, X) with square pixels of `PIXEL_MM`; labels by the nearest pixel."""
    spacing = image.GetSpacing()
    size = [round(n * mm / PIXEL_MM) for n, mm in zip(image.GetSize()[:2], spacing[:2], strict=True)]
    if not label:
        image = sitk.Cast(image, sitk.sitkFloat32)
        for axis in (0, 1):
            image = sitk.RecursiveGaussian(image, PIXEL_MM / 3, direction=axis)
    resample = sitk.ResampleImageFilter()
    resample.SetSize([*size, 1])
    resample.SetOutputSpacing([PIXEL_MM, PIXEL_MM, spacing[2]])
    resample.SetOutputOrigin(image.GetOrigin())
    resample.SetOutputDirection(image.GetDirection())
    resample.SetInterpolator(sitk.sitkNearestNeighbor if label else sitk.sitkLinear)
    return resample.Execute(image)


def folds_by_patient(cases: pd.DataFrame, others: list[str], count: int) -> list[dict[str, list[str]]]:
    """Deal the patients with T2_SPACE slices out to the folds in turn; see the module.

    Args:
        cases: `case` and `patient` of the converted dataset.
        others: cases of patients whom no fold trains on.
    """
    space = cases[[parse_case(case).sequence == "t2_SPACE" for case in cases.case]]
    patients = sorted(space.patient.unique())
    folds = []
    for fold in range(count):
        held_out = set(patients[fold::count])
        trained = set(patients) - held_out
        training = space[space.patient.isin(trained)].case
        tested = cases[~cases.patient.isin(trained)].case
        folds.append({"train": sorted(training), "val": sorted([*tested, *others])})
    return folds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the sources' folders")
    parser.add_argument("-d", default="611", help="id of the dataset")
    parser.add_argument("--folds", type=int, default=3)
    options = parser.parse_args()
    name = f"Dataset{options.d}_RefinementStudy"
    raw, preprocessed = (Path(os.environ[f"nnUNet_{kind}"]) / name for kind in ("raw", "preprocessed"))
    for folder in (raw, preprocessed):
        shutil.rmtree(folder, ignore_errors=True)
    convert(options.data, options.d, raw)
    plan = ["nnUNetv2_plan_and_preprocess", "-d", options.d, "-c", "2d", "-np", "1", "-npfp", "1"]
    subprocess.run(plan, check=True, stdout=subprocess.DEVNULL)
    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text(encoding="utf-8"))
    configuration = plans["configurations"]["2d"]
    architecture = configuration["architecture"]
    architecture["arch_kwargs"] = scale_features(architecture["arch_kwargs"], WIDTH)
    configuration.update(batch_size=BATCH_SIZE, patch_size=PATCH_SIZE)
    plans["plans_name"] = PLANS
    (preprocessed / f"{PLANS}.json").write_text(json.dumps(plans, indent=2), encoding="utf-8")
    cases = pd.read_csv(raw / "cases.csv", dtype={"patient": str})
    others = [path.name.removesuffix(".nii.gz") for path in (raw / "labelsTr").glob("real_*.nii.gz")]
    splits = folds_by_patient(cases, others, options.folds)
    (preprocessed / "splits_final.json").write_text(json.dumps(splits, indent=2), encoding="utf-8")
    for number, fold in enumerate(splits):
        print(f"fold {number}: {len(fold['train'])} slices to train on, {len(fold['val'])} to score")


if __name__ == "__main__":
    main()
