r"""Which map of uncertainty ranks the errors of the mask best? AUROC on the validation cases of every fold.

Each case is predicted with the model of the fold that did not train on its patient, of T2_SPACE only the
middle slice. Pixels within 10 of any true or predicted structure count. Equations 4 and 5 are the largest
entropy of the structures, the entropy is the sum over all classes. Means are over patients. Differences to
equation 5 are paired by patient, with 95 % intervals.

    python benchmarks/spider_model/error_ranking.py 601 nnUNetTrainerSpineSegDiffSagittal_3epochs_100iters \
        --weak data/spider_weak -o benchmarks/spider_model/results/error_ranking.md
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk
import torch
from evaluate import list_cases
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from sklearn.metrics import roc_auc_score
from small_plans import NAME
from tqdm import tqdm

from nnunetv2_spinesegdiff.environment import make_trainers_known, search_unheard
from nnunetv2_spinesegdiff.evaluation.comparisons import mean_interval
from nnunetv2_spinesegdiff.inference.arrays import ArrayPredictor
from nnunetv2_spinesegdiff.inference.npz_uncertainty import entropy
from nnunetv2_spinesegdiff.inference.predictor import SpineSegDiffPredictor
from nnunetv2_spinesegdiff.inference.settings import PredictionSettings
from nnunetv2_spinesegdiff.labels import IGNORE
from nnunetv2_spinesegdiff.text import markdown_table, with_interval
from nnunetv2_spinesegdiff.uncertainty.ranking import near_foreground

EQ5 = "equation 5"
SPACE, T2, WEAK = GROUPS = ("T2_SPACE, middle slice", "T2w", "T1w and T2w, weak labels")


class Maps(ArrayPredictor):
    """Predicts the mask and every map (Z, Y, X) by its name."""

    def _on_image(self, logits: np.ndarray, maps: Any, grid: Any) -> Any:
        mask, probabilities = grid.segmentation(logits, return_probabilities=True)
        h = entropy(probabilities)
        return mask, {
            EQ5: grid.placed_structures(maps.uncertainty).max(0),
            "equation 4 of the final probabilities": h[1:].max(0),
            "entropy of the final probabilities": h.sum(0),
            "1 - p_max": 1 - probabilities.max(0),
            "1 - p_max of stage 1": 1 - grid.segmentation(maps.stage1, return_probabilities=True)[1].max(0),
        }


def group_of(case: Any) -> str | None:
    if case.weak:
        return WEAK
    if case.space:
        return SPACE if case.middle else None
    return T2


def ranked(model: Path, raw: Path, cases: pd.DataFrame) -> pd.DataFrame:
    """One row per case and map."""
    rows = []
    for fold, of_fold in cases.groupby("fold"):
        predictor = SpineSegDiffPredictor(
            settings=PredictionSettings(save_uncertainty=True), device=torch.device("cpu"), allow_tqdm=False
        )
        with search_unheard():
            predictor.initialize_from_trained_model_folder(str(model), (fold,), "checkpoint_final.pth")
        maps = Maps(predictor)
        for case in tqdm(list(of_fold.itertuples()), desc=f"fold {fold}"):
            image = sitk.ReadImage(str(raw / "imagesTr" / f"{case.case}_0000.nii.gz"))
            truth = sitk.GetArrayFromImage(sitk.ReadImage(str(raw / "labelsTr" / f"{case.case}.nii.gz")))
            predicted: Any = maps.predict(sitk.GetArrayFromImage(image), image.GetSpacing()[::-1])
            mask, found = predicted
            known = truth != IGNORE
            near = near_foreground((truth > 0) & known, mask > 0) & known
            wrong = (mask != truth)[near]
            if 0 < wrong.sum() < wrong.size:
                of_case = {"group": case.group, "patient": case.patient}
                rows += [
                    {**of_case, "map": name, "auroc": roc_auc_score(wrong, one[near])}
                    for name, one in found.items()
                ]
    return pd.DataFrame(rows)


def table(rows: pd.DataFrame) -> str:
    lines = []
    for group in GROUPS:
        patients = rows[rows.group == group].groupby(["map", "patient"]).auroc.mean().unstack(0)
        for name in dict.fromkeys(rows["map"]):
            gain = (patients[name] - patients[EQ5]).to_numpy()
            shown = "" if name == EQ5 else with_interval(gain.mean(), *mean_interval(gain), 3, signed=True)
            lines.append([group, len(patients), name, f"{patients[name].mean():.3f}", shown])
    return markdown_table(["cases", "patients", "map", "AUROC", "difference to equation 5"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="id or name of the dataset")
    parser.add_argument("trainer", help="full name of the refiner's trainer")
    parser.add_argument("-o", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--weak", type=Path, nargs="+", default=[], help="folders with weak labels")
    options = parser.parse_args()
    make_trainers_known()
    dataset = maybe_convert_to_dataset_name(options.dataset)
    raw, preprocessed, results = (
        Path(os.environ[f"nnUNet_{kind}"]) / dataset for kind in ("raw", "preprocessed", "results")
    )
    cases = list_cases(raw, preprocessed, options.weak)
    cases["group"] = [group_of(case) for case in cases.itertuples()]
    rows = ranked(results / f"{options.trainer}__{NAME}__2d", raw, cases[cases.group.notna()])
    text = "\n".join(["# Which map ranks errors best", "", *__doc__.splitlines()[2:6], "", table(rows), ""])
    options.o.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
