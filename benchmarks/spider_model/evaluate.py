r"""Score a trained model on the validation cases of its folds: stage 1, refined and the mean of both.

Each case is predicted with the model of the fold that did not train on its patient. Means are over patients,
with the 95 % intervals of `spinesegdiff evaluate`. Weak labels were moved to the slice by a registration of
the patient's T2_SPACE series; they are reported apart. Pixels that nobody annotated are not scored. HD95 and
ASSD are means over the slices in which the structure is both labeled and found.

    python benchmarks/spider_model/evaluate.py 601 nnUNetTrainerSpineSegDiffSagittal_8epochs_50iters \
        --weak data/spider_weak -o benchmarks/spider_model/results

Controls are read from nnU-Net's own validation: `--control NAME=TRAINER`, or `NAME=TRAINER+TRAINER` for the
mean of their probabilities.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk
import torch
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from nnunetv2_spinesegdiff.dataset_conversion.names import parse_case
from small_plans import NAME
from tqdm import tqdm

from nnunetv2_spinesegdiff.environment import make_trainers_known, search_unheard
from nnunetv2_spinesegdiff.evaluation.comparisons import mean_interval
from nnunetv2_spinesegdiff.evaluation.scores import score_case
from nnunetv2_spinesegdiff.inference.arrays import ArrayPredictor
from nnunetv2_spinesegdiff.inference.predictor import SpineSegDiffPredictor
from nnunetv2_spinesegdiff.inference.settings import PredictionSettings
from nnunetv2_spinesegdiff.labels import BACKGROUND, CLASSES, IGNORE
from nnunetv2_spinesegdiff.segmentation.measuring.plausible import without_outside_parts
from nnunetv2_spinesegdiff.text import markdown_table

STRUCTURES = {name: label for name, label in CLASSES.items() if label != BACKGROUND}
METRICS = ("dice", "hd95_mm", "assd_mm")
GROUPS = (
    "T2_SPACE, middle slice",
    "T2_SPACE, all slices",
    "T2w, slices with all three structures",
    "T2w, all slices",
    "T1w, all slices",
    "T1w, weak labels",
    "T2w, weak labels",
)
SPACE_MIDDLE, SPACE, T2_COMPLETE, T2, T1, T1_WEAK, T2_WEAK = GROUPS
MEAN, STAGE1 = "mean of both", "stage 1"
WEIGHTS = {"refined": 0.0, MEAN: 0.5}
"""Of stage 1, by the name of the system."""


class BothStages(ArrayPredictor):
    """Predicts the mask of the whole model, that of stage 1, and the first without outside parts."""

    def _on_image(self, logits: np.ndarray, maps: Any, grid: Any) -> Any:
        mask, stage1 = (grid.segmentation(one)[0] for one in (logits, maps.stage1))
        spacing = grid.properties["spacing"][1:]
        cleaned = np.stack([without_outside_parts(one, spacing) for one in mask])
        return mask, stage1, cleaned


def predicted(
    model: Path, raw: Path, cases: pd.DataFrame, folds: list[int]
) -> Iterator[tuple[Any, str, Any]]:
    """(case, system, mask) of the validation cases of every fold, each with the model of its fold."""
    for fold in folds:
        for system, weight in WEIGHTS.items():
            predictor = SpineSegDiffPredictor(
                settings=PredictionSettings(save_uncertainty=True, changes={"stage1_weight": weight}),
                device=torch.device("cpu"),
                allow_tqdm=False,
            )
            with search_unheard():
                predictor.initialize_from_trained_model_folder(str(model), (fold,), "checkpoint_final.pth")
            both = BothStages(predictor)
            for case in tqdm(cases[cases.fold == fold].case, desc=f"fold {fold}, {system}"):
                image = sitk.ReadImage(str(raw / "imagesTr" / f"{case}_0000.nii.gz"))
                masks: Any = both.predict(sitk.GetArrayFromImage(image), image.GetSpacing()[::-1])
                mask, stage1, cleaned = masks
                yield case, system, mask
                if system == MEAN:
                    yield case, STAGE1, stage1
                    yield case, f"{MEAN}, parts outside of the spine removed", cleaned


def validated(name: str, models: list[Path], cases: pd.DataFrame) -> Iterator[tuple[Any, str, Any]]:
    """(case, system, mask) from the probabilities of nnU-Net's own validation, their mean if several."""
    for case, fold in zip(cases.case, cases.fold, strict=True):
        files = [model / f"fold_{fold}" / "validation" / f"{case}.npz" for model in models]
        yield case, name, np.mean([np.load(file)["probabilities"] for file in files], axis=0).argmax(0)


def list_cases(raw: Path, preprocessed: Path, weak: list[Path]) -> pd.DataFrame:
    """List the cases of the validation folds with what decides their group.

    Args:
        weak: SPIDER-layout folders whose labels are weak.
    """
    cases = pd.read_csv(raw / "cases.csv", dtype={"patient": str})
    splits = pd.read_json(preprocessed / "splits_final.json").val
    fold_of = {case: fold for fold, names in enumerate(splits) for case in names}
    cases = cases[cases.case.isin(fold_of)].copy()  # oblique series are in no validation fold
    cases["fold"] = cases.case.map(fold_of).astype(int)
    slices = cases["size"].str.split("x").str[0].astype(int)
    series = cases.case.map(parse_case)
    cases["space"] = [one.sequence == "t2_SPACE" for one in series]
    cases["middle"] = cases.space & (cases.slice_index == slices // 2)
    cases["weak"] = cases.source.isin({path.name for folder in weak for path in folder.glob("images/*.mha")})
    return cases


def groups_of(case: Any, complete: bool) -> list[str]:
    """Rows of the table that a case belongs to; `complete`: its label holds all structures."""
    if case.weak:
        return [T1_WEAK if case.contrast == "t1" else T2_WEAK]
    if case.space:
        return [SPACE, *([SPACE_MIDDLE] if case.middle else [])]
    if case.contrast == "t1":
        return [T1]
    return [T2, *([T2_COMPLETE] if complete else [])]


def scored(raw: Path, cases: pd.DataFrame, masks: Iterator[tuple[Any, str, Any]]) -> Iterator[dict[str, Any]]:
    by_name = {case.case: case for case in cases.itertuples()}
    for name, system, mask in masks:
        case = by_name[name]
        label = sitk.ReadImage(str(raw / "labelsTr" / f"{name}.nii.gz"))
        truth = sitk.GetArrayFromImage(label)
        complete = all((truth == value).any() for value in STRUCTURES.values())
        rows = score_case(truth, mask, label.GetSpacing()[::-1], STRUCTURES, IGNORE)
        for group in groups_of(case, complete):
            for row in rows:
                yield {
                    **{"system": system, "group": group, "case": name, "patient": case.patient},
                    **{"fold": case.fold, "structure": row["structure"]},
                    **{metric: round(row[metric], 4) for metric in METRICS},
                }


def interval(by_patient: pd.Series, signed: bool = False) -> str:
    """Mean over patients with its 95 % interval; none of fewer than six patients."""
    values = by_patient.dropna().to_numpy()
    if not len(values):
        return "-"
    low, high = mean_interval(values)
    sign = "+" if signed else ""
    return f"{values.mean():{sign}.3f}" + ("" if np.isnan(low) else f" ({low:{sign}.3f} to {high:{sign}.3f})")


def table(scores: pd.DataFrame, metric: str) -> str:
    lines = []
    for group in GROUPS:
        of_group = scores[scores.group == group]
        for system in scores.system.unique():
            rows = of_group[of_group.system == system]
            if rows.empty:
                continue
            means = [
                interval(rows[rows.structure == structure].groupby("patient")[metric].mean())
                for structure in STRUCTURES
            ]
            lines.append([group, rows.case.nunique(), rows.patient.nunique(), system, *means])
    return markdown_table(["cases", "n", "patients", "system", *STRUCTURES], lines)


def paired(scores: pd.DataFrame) -> str:
    """Differences in Dice to stage 1, paired by patient."""
    lines = []
    for group in GROUPS:
        of_group = scores[scores.group == group]
        means = of_group.groupby(["system", "patient", "structure"]).dice.mean().unstack()
        means["mean of structures"] = means.mean(axis=1)
        for system in scores.system.unique():
            if system == STAGE1 or system not in means.index:
                continue
            apart = means.loc[system] - means.loc[STAGE1]
            cells = [interval(apart[name], signed=True) for name in (*STRUCTURES, "mean of structures")]
            lines.append([group, len(apart), system, *cells])
    return markdown_table(["cases", "patients", "system", *STRUCTURES, "mean of structures"], lines)


def report(scores: pd.DataFrame) -> str:
    """All tables in Markdown."""
    text = ["# Cross-validated scores", "", *__doc__.splitlines()[2:6], ""]
    for metric, title in zip(METRICS, ("Dice", "HD95 in mm", "ASSD in mm"), strict=True):
        text += [f"## {title}", "", table(scores, metric), ""]
    return "\n".join([*text, "## Differences in Dice to stage 1", "", paired(scores), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="id or name of the dataset")
    parser.add_argument("trainer", help="full name of the refiner's trainer")
    parser.add_argument("-o", type=Path, required=True, help="folder for scores.csv and cross_validation.md")
    parser.add_argument("--weak", type=Path, nargs="+", default=[], help="folders with weak labels")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--control", nargs="+", default=[], metavar="NAME=TRAINER")
    parser.add_argument("--tables_only", action="store_true", help="make the tables of scores.csv again")
    options = parser.parse_args()
    if options.tables_only:
        scores = pd.read_csv(options.o / "scores.csv", dtype={"patient": str})
        (options.o / "cross_validation.md").write_text(report(scores), encoding="utf-8")
        return
    make_trainers_known()
    dataset = maybe_convert_to_dataset_name(options.dataset)
    raw, preprocessed, results = (
        Path(os.environ[f"nnUNet_{kind}"]) / dataset for kind in ("raw", "preprocessed", "results")
    )
    cases = list_cases(raw, preprocessed, options.weak)
    cases = cases[cases.fold.isin(options.folds)]

    def masks() -> Iterator[tuple[Any, str, Any]]:
        yield from predicted(results / f"{options.trainer}__{NAME}__2d", raw, cases, options.folds)
        for control in options.control:
            name, trainers = control.split("=", 1)
            models = [results / f"{trainer}__{NAME}__2d" for trainer in trainers.split("+")]
            yield from validated(name, models, cases)

    rows = list(scored(raw, cases, masks()))
    options.o.mkdir(parents=True, exist_ok=True)
    with (options.o / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (options.o / "cross_validation.md").write_text(report(pd.DataFrame(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
