r"""Compare ways to predict with the trained refiners of a study: what is mirrored, and how many steps.

Every case is predicted by the refiner and the stage 1 of the fold that did not train on its patient. Means
are over patients, of all seeds. Differences are paired by patient, to stage 1 as nnU-Net predicts with it:
with both axes mirrored. Scores that are in the CSV file next to the tables are not computed again.

    python benchmarks/refinement/modes.py benchmarks/refinement/mirrored.yaml \
        -o benchmarks/refinement/results/modes_mirrored.md
    python benchmarks/refinement/modes.py benchmarks/refinement/study.yaml \
        -o benchmarks/refinement/results/modes.md --against benchmarks/refinement/results/modes_mirrored.csv
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
from score import MEAN, SETS, by_patient, cases_of, difference, paired, read_label, scores_of
from torch import Tensor
from tqdm import tqdm

from nnunetv2_spinesegdiff.environment import external_trainers
from nnunetv2_spinesegdiff.inference.mirrored import mirrorings
from nnunetv2_spinesegdiff.inference.predictor import SpineSegDiffPredictor
from nnunetv2_spinesegdiff.inference.settings import PredictionSettings
from nnunetv2_spinesegdiff.text import markdown_table

ARM = "refiner"
METRICS = (f"dice {MEAN}", "auroc 1 - p_max")
NOTHING, STAGE1, ALL = "nothing", "stage 1", "everything"


@dataclass(frozen=True)
class Mode:
    """A way to predict.

    Attributes:
        mirrored: "stage 1" refines the mean of its mirrored copies once; "everything" refines every copy.
        steps: of the chain; 0 is stage 1 alone.
    """

    mirrored: str
    steps: int

    @property
    def name(self) -> str:
        if not self.steps:
            return f"stage 1, {self.mirrored} mirrored"
        steps = "1 step" if self.steps == 1 else f"{self.steps} steps"
        return f"refined, {steps}, {self.mirrored} mirrored"


STOCK = Mode(ALL, 0)
MODES = (
    STOCK,
    Mode(NOTHING, 0),
    *(Mode(mirrored, steps) for mirrored in (NOTHING, STAGE1, ALL) for steps in (1, 2)),
)


def logits_of(predictor: SpineSegDiffPredictor, mode: Mode, data: Tensor) -> Tensor:
    """Logits (K, Z, Y, X) of a preprocessed case (1, Z, Y, X)."""
    network = predictor.network
    network.refine_predictions = mode.steps > 0
    if mode.steps:
        steps = {"ddim_steps": mode.steps, "fusion_steps": mode.steps}
        network.configure_sampler(network.sampler.changed(stage1_weight=0, **steps))
    predictor.use_mirroring = mode.mirrored == STAGE1
    predictor.settings = PredictionSettings(preset="balanced")  # whose chains are not mirrored
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
            scored = scores_of(case, truth, probabilities, spacing)
            yield {
                **{"system": mode.name, "set": case.group, "patient": case.patient, "case": case.name},
                **{"fold": cell.fold, "seed": cell.seed},
                **{metric: scored.get(metric) for metric in METRICS},
            }


def predict(study: Study, raw: Path, splits: Sequence[dict[str, list[str]]]) -> pd.DataFrame:
    """Scores of every seed, fold, case and mode."""
    rows = []
    for seed in range(study.seeds):
        for cell in (cell for cells in study.rounds(seed) for cell in cells):
            if cell.arm.name == ARM and cell.finished:
                rows += rows_of(cell, raw, splits[cell.fold]["val"])
    return pd.DataFrame(rows).round(5)


def report(scores: pd.DataFrame, other: pd.DataFrame | None) -> str:
    """The tables in Markdown.

    Args:
        other: scores of another study, with whose stock prediction all are compared.
    """
    control = f"{STOCK.name}, of the other study" if other is not None else STOCK.name
    if other is not None:
        stock = other[(other.system == STOCK.name) & other.seed.isin(scores.seed)]
        scores = pd.concat([scores[scores.seed.isin(stock.seed)], stock.assign(system=control)])
    lines = ["# Ways to predict", "", *__doc__.splitlines()[2:5], ""]
    for group in SETS:
        rows = []
        for system in scores.system.unique():
            cells = []
            for metric in METRICS:
                if system == control:
                    cells += [f"{by_patient(scores, system, group, metric).mean():.3f}", ""]
                    continue
                both = paired(scores, system, control, group, metric)
                cells += [f"{both[system].mean():.3f}", difference(both[system] - both[control])]
            rows.append([system, *cells])
        patients = scores[scores.set == group].patient.nunique()
        headings = ["mode", "Dice", "difference", "AUROC of 1 - p_max", "difference of AUROC"]
        lines += [f"## {group}", "", f"{patients} patients.", "", markdown_table(headings, rows), ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("-o", type=Path, required=True, help="Markdown file of the tables")
    parser.add_argument(
        "--against", type=Path, help="CSV file of a study with whose stock prediction to compare"
    )
    options = parser.parse_args()
    os.environ["nnUNet_extTrainer"] = os.pathsep.join([external_trainers(), str(CONTROLS)])
    study = read_study(options.study)
    raw, preprocessed = (
        Path(os.environ[f"nnUNet_{kind}"]) / study.dataset for kind in ("raw", "preprocessed")
    )
    splits = json.loads((preprocessed / "splits_final.json").read_text(encoding="utf-8"))
    table = options.o.with_suffix(".csv")
    scores = pd.read_csv(table, dtype={"patient": str}) if table.exists() else predict(study, raw, splits)
    scores.to_csv(table, index=False, lineterminator="\n")
    other = pd.read_csv(options.against, dtype={"patient": str}) if options.against else None
    text = report(scores, other)
    options.o.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
