"""Do the bounds on areas hold? Calibrate on one made-up cohort, predict another one, and count.

Everything is done with the commands that a user types, on phantoms sampled at 2 mm so that it takes two CPU
cores about an hour. What is there already in the folder is not done again.

    python benchmarks/coverage.py -w /tmp/coverage -o benchmarks/coverage.md
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import SimpleITK as sitk

from nnunetv2_spinesegdiff.environment import COMMANDS, external_trainers
from nnunetv2_spinesegdiff.labels import CLASSES
from nnunetv2_spinesegdiff.text import markdown_table
from nnunetv2_spinesegdiff.uncertainty.confidence import structure_mask

TRAINER = "nnUNetTrainerSpineSegDiff_6epochs_40iters_width25"
MODEL = f"-d 620 -c 2d -tr {TRAINER} -device cpu"
PREDICTIONS = {"the model of fold 0": "-f 0", "all five folds together": "-f 0 1 2 3 4"}


def commands(patients: int, unseen: int) -> list[tuple[str, str]]:
    """What must be there, relative to the working folder, and the command that makes it."""
    convert = "spinesegdiff convert --contrast t2 --max_oblique_deg 90"
    made = [
        ("cohort/images", f"spinesegdiff phantom -o cohort --patients {patients} --seed 11"),
        ("unseen/images", f"spinesegdiff phantom -o unseen --patients {unseen} --seed 12"),
        ("raw/Dataset620_Coverage/dataset.json", f"{convert} -i cohort -d 620 --name Coverage"),
        ("raw/Dataset621_CoverageUnseen/dataset.json", f"{convert} -i unseen -d 621 --name CoverageUnseen"),
        (
            "pre/Dataset620_Coverage/nnUNetPlans_2d",
            "nnUNetv2_plan_and_preprocess -d 620 -c 2d -npfp 2 -np 2 -overwrite_target_spacing 4 2 2",
        ),
    ]
    model = f"res/Dataset620_Coverage/{TRAINER}__nnUNetPlans__2d"
    for fold in range(5):
        train = f"nnUNetv2_train 620 2d {fold} -tr {TRAINER} -device cpu"
        made.append((f"{model}/fold_{fold}/checkpoint_final.pth", train))
    made.append((f"{model}/reliability.png", f"spinesegdiff calibrate {MODEL} -np 2"))
    for i, folds in enumerate(PREDICTIONS.values()):
        predict = f"nnUNetv2_predict -i raw/Dataset621_CoverageUnseen/imagesTr -o masks_{i} {MODEL} {folds}"
        made.append((f"masks_{i}/uncertainty/confidence.csv", f"{predict} -npp 1 -nps 1 --save_uncertainty"))
    return made


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "nnUNet_raw": str(folder / "raw"),
        "nnUNet_preprocessed": str(folder / "pre"),
        "nnUNet_results": str(folder / "res"),
        "nnUNet_extTrainer": external_trainers(),
        "spinesegdiff_python": sys.executable,
        "PATH": os.pathsep.join([str(COMMANDS), str(Path(sys.executable).parent), os.environ["PATH"]]),
    }


def coverage(folder: Path, number: int) -> pd.DataFrame:
    """A row a structure: cases, share of them within bounds, mean width of the bounds."""
    rows = pd.read_csv(folder / f"masks_{number}/uncertainty/confidence.csv")
    truths = folder / "raw/Dataset621_CoverageUnseen/labelsTr"
    rows["true"] = [true_area(truths / f"{r.case}.nii.gz", CLASSES[r.structure]) for r in rows.itertuples()]
    rows["held"] = (rows["area_low"] <= rows["true"]) & (rows["true"] <= rows["area_high"])
    rows["error"] = (rows["area_mm2"] / rows["true"] - 1).abs()
    rows["width"] = (rows["area_high"] - rows["area_low"]) / rows["true"]
    groups = rows.groupby("structure", sort=False)
    columns = {"held": "mean", "error": "median", "width": "median"}
    return groups.agg(columns).assign(cases=groups.size())


def true_area(path: Path, label: int) -> float:
    image = sitk.ReadImage(str(path))
    pixels = int(structure_mask(sitk.GetArrayViewFromImage(image), label).sum())
    return pixels * image.GetSpacing()[0] * image.GetSpacing()[1]


def table(folder: Path) -> str:
    headings = (
        *("predicted with", "structure", "unseen cases", "true area within the 90 % bounds"),
        *("median error", "median width of the bounds"),
    )
    rows = [
        (
            name,
            structure,
            f"{row['cases']:.0f}",
            f"{row['held']:.1%}",
            f"{row['error']:.1%}",
            f"{row['width']:.0%} of the area",
        )
        for number, name in enumerate(PREDICTIONS)
        for structure, row in coverage(folder, number).iterrows()
    ]
    return markdown_table(headings, rows)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    p.add_argument("-w", type=Path, required=True, help="working folder")
    p.add_argument("-o", type=Path, required=True, help="the table, Markdown")
    p.add_argument("--patients", type=int, default=150, help="to train and calibrate on")
    p.add_argument("--unseen", type=int, default=150, help="to predict")
    options = p.parse_args()
    folder = options.w.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for result, command in commands(options.patients, options.unseen):
        if not (folder / result).exists():
            print(f"$ {command}", flush=True)
            subprocess.run(command.split(), cwd=folder, env=environment(folder), check=True)
    told = (
        f"`python benchmarks/coverage.py --patients {options.patients} --unseen {options.unseen}`: T2w "
        "phantoms, calibrated on the validation cases of five folds (level 90 %)."
    )
    options.o.write_text(f"{told}\n\n{table(folder)}\n")
    print(options.o.read_text())


if __name__ == "__main__":
    main()
