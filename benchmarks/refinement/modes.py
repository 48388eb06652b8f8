r"""Compare ways to predict with the trained refiners of a study: what is mirrored, and how many steps.

Every case is predicted by the refiner and the stage 1 of the fold that did not train on its patient. Means
are over patients, of all seeds. Differences are paired by patient, to stage 1 as nnU-Net predicts with it:
with both axes mirrored.

    python benchmarks/refinement/modes.py benchmarks/refinement/study.yaml -o benchmarks/refinement/results
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from run import CONTROLS, Cell, Study, read_study
from score import MEAN, SETS, cases_of, difference, paired, read_label, scores_of
from torch import Tensor
from tqdm import tqdm

from nnunetv2_spinesegdiff.environment import external_trainers
from nnunetv2_spinesegdiff.inference.mirrored import mirrorings
from nnunetv2_spinesegdiff.inference.predictor import SpineSegDiffPredictor
from nnunetv2_spinesegdiff.text import markdown_table

ARM = "refiner"
NOTHING, STAGE1, ALL = "nothing", "stage 1", "everything"


@dataclass(frozen=True)
class Mode:
    """A way to predict.

    Attributes:
        mirrored: "stage 1" refines the mean of its mirrored copies once; "everything" refines every copy.
        steps: of the chain; 0 is stage 1 alone.
        weight: of stage 1 in the result.
    """

    mirrored: str
    steps: int
    weight: float = 0.0

    @property
    def name(self) -> str:
        if not self.steps:
            return f"stage 1, {self.mirrored} mirrored"
        steps = "1 step" if self.steps == 1 else f"{self.steps} steps"
        return f"{'mean of stages' if self.weight else 'refined'}, {steps}, {self.mirrored} mirrored"


STOCK = Mode(ALL, 0)
MODES = (
    STOCK,
    Mode(NOTHING, 0),
    *(
        Mode(mirrored, steps, weight)
        for mirrored in (NOTHING, STAGE1, ALL)
        for steps in (1, 2)
        for weight in (0.0, 0.5)
    ),
)


def logits_of(predictor: SpineSegDiffPredictor, mode: Mode, data: Tensor) -> Tensor:
    """Logits (K, Z, Y, X) of a preprocessed case (1, Z, Y, X)."""
    network = predictor.network
    network.refine_predictions = mode.steps > 0
    if mode.steps:
        network.configure_sampler(
            network.sampler.changed(ddim_steps=mode.steps, fusion_steps=mode.steps, stage1_weight=mode.weight)
        )
    predictor.use_mirroring = mode.mirrored == STAGE1
    predict = predictor.predict_logits_from_preprocessed_data
    if mode.mirrored != ALL:
        return predict(data)
    flips = mirrorings(predictor.allowed_mirroring_axes)
    copies = [torch.flip(predict(torch.flip(data, dims).contiguous()), dims) for dims in flips]
    return torch.stack(copies).mean(0)


def rows_of(cell: Cell, raw: Path, names: Sequence[str]) -> Iterator[dict]:
    """Scores of every case and mode with the model of one fold and seed."""
    predictor = SpineSegDiffPredictor(
        tile_step_size=0.5, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(cell.folder.parent), (cell.fold,))
    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    preprocessor = configuration.preprocessor_class(verbose=False)
    for case in tqdm(cases_of(raw, names), desc=f"seed {cell.seed}, fold {cell.fold}"):
        truth, spacing = read_label(raw, case)
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(raw / "imagesTr" / f"{case.name}_0000.nii.gz")))
        facts = {"spacing": list(spacing)}
        data, _, facts = preprocessor.run_case_npy(
            image[None].astype(np.float32), None, facts, plans, configuration, predictor.dataset_json
        )
        for mode in MODES:
            _, probabilities = convert_predicted_logits_to_segmentation_with_correct_shape(
                logits_of(predictor, mode, torch.from_numpy(data)),
                plans,
                configuration,
                predictor.label_manager,
                facts,
                return_probabilities=True,
            )
            yield {
                **{"system": mode.name, "set": case.group, "patient": case.patient, "case": case.name},
                **{"fold": cell.fold, "seed": cell.seed},
                **scores_of(case, truth, probabilities, spacing),
            }


def predict(study: Study, raw: Path, splits: Sequence[dict[str, list[str]]]) -> pd.DataFrame:
    """Scores of every seed, fold, case and mode."""
    rows = []
    for seed in range(study.seeds):
        for cell in (cell for cells in study.rounds(seed) for cell in cells):
            if cell.arm.name == ARM and cell.finished:
                rows += rows_of(cell, raw, splits[cell.fold]["val"])
    return pd.DataFrame(rows).round(5)


def report(scores: pd.DataFrame) -> str:
    """The tables in Markdown."""
    lines = ["# Ways to predict", "", *__doc__.splitlines()[2:5], ""]
    for group in SETS:
        rows = []
        for mode in MODES:
            cells = []
            for metric in (f"dice {MEAN}", "auroc 1 - p_max"):
                both = paired(scores, mode.name, STOCK.name, group, metric) if mode != STOCK else None
                if both is None:
                    means = scores[(scores.system == mode.name) & (scores.set == group)]
                    cells += [f"{means.groupby('patient')[metric].mean().mean():.3f}", ""]
                else:
                    change = both[mode.name] - both[STOCK.name]
                    cells += [f"{both[mode.name].mean():.3f}", difference(change)]
            rows.append([mode.name, *cells])
        patients = scores[scores.set == group].patient.nunique()
        headings = ["mode", "Dice", "difference", "AUROC of 1 - p_max", "difference of AUROC"]
        lines += [f"## {group}", "", f"{patients} patients.", "", markdown_table(headings, rows), ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("-o", type=Path, required=True, help="folder for modes.md and modes.csv")
    options = parser.parse_args()
    os.environ["nnUNet_extTrainer"] = os.pathsep.join([external_trainers(), str(CONTROLS)])
    study = read_study(options.study)
    raw, preprocessed = (
        Path(os.environ[f"nnUNet_{kind}"]) / study.dataset for kind in ("raw", "preprocessed")
    )
    splits = json.loads((preprocessed / "splits_final.json").read_text(encoding="utf-8"))
    scores = predict(study, raw, splits)
    options.o.mkdir(parents=True, exist_ok=True)
    scores.to_csv(options.o / "modes.csv", index=False, lineterminator="\n")
    text = report(scores)
    (options.o / "modes.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
