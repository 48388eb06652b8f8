"""What S, n and T buy: seconds, memory, Dice, ranking of errors and calibration, on validation cases.

Every fold is judged by the model that was not trained on it. Errors and probabilities are looked at within 10
pixels, in plane, of true structures. Make the model with nnU-Net's own commands, for example

    ln -s /data/real_lumbar $nnUNet_raw/Dataset700_RealLumbar
    nnUNetv2_plan_and_preprocess -d 700 -c 2d
    for f in 0 1 2 3 4; do
        nnUNetv2_train 700 2d $f -tr nnUNetTrainerSpineSegDiff_8epochs_40iters_width50
    done
    python benchmarks/sampling.py -d 700 -tr nnUNetTrainerSpineSegDiff_8epochs_40iters_width50 -o sampling.md
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peak_memory import peak, reset_peak
from scipy.special import entr
from sklearn.metrics import roc_auc_score

from nnunetv2_spinesegdiff.calibration.cases import HeldOutCases
from nnunetv2_spinesegdiff.calibration.held_out import HeldOutPredictor
from nnunetv2_spinesegdiff.environment import folder_of, make_trainers_known
from nnunetv2_spinesegdiff.inference.export import CaseMaps
from nnunetv2_spinesegdiff.inference.memory import keep_freed_memory
from nnunetv2_spinesegdiff.inference.scan_grid import ScanGrid
from nnunetv2_spinesegdiff.inference.settings import PredictionSettings
from nnunetv2_spinesegdiff.preflight import name_of_dataset
from nnunetv2_spinesegdiff.text import markdown_table
from nnunetv2_spinesegdiff.uncertainty.ranking import near_foreground
from nnunetv2_spinesegdiff.uncertainty.temperature import fit_temperatures, reliability, temperature_scaled

NOTE = """Within 10 pixels, in plane, of true structures: AUROC is the share of pairs in which a wrong pixel
is more uncertain than a right one (mean of the cases), ECE the expected calibration error (all
pixels together), the last column the same with temperatures fitted on the other folds. The refiner
is a second network that was trained, too: training stage 1 for longer may narrow the differences."""
STAGE1 = "stage 1 alone"
MEAN = "mean of stage 1 and refined"
FIT_PIXELS = 200_000


@dataclass
class Row:
    """One way to predict, and what came of it, a list entry a case.

    Attributes:
        seconds: of a prediction without reading, resampling and writing.
        megabytes: by which the peak of memory exceeded what was taken before.
        pixels: probabilities (K, N) of the looked-at pixels, and their true classes (N,).
    """

    name: str
    settings: PredictionSettings
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    dice: list[float] = field(default_factory=list)
    auroc: list[float] = field(default_factory=list)
    pixels: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    folds: list[int] = field(default_factory=list)


@dataclass
class Case:
    """A preprocessed validation case and its truth (Z, Y, X)."""

    data: torch.Tensor
    properties: dict[str, Any]
    truth: np.ndarray


class TimedPredictor(HeldOutPredictor):
    """Predicts preprocessed cases in this process, as the command does, and watches clock and memory."""

    def cases(self, held_out: HeldOutCases, names: Sequence[str]) -> list[Case]:
        preprocessor = self.configuration_manager.preprocessor_class(verbose=False)
        reader = self.plans_manager.image_reader_writer_class()
        cases = []
        for name in names:
            data, _, properties = preprocessor.run_case(
                list(held_out.images[name]),
                None,
                self.plans_manager,
                self.configuration_manager,
                self.dataset_json,
            )
            truth = reader.read_seg(held_out.labels[name])[0][0]
            cases.append(Case(torch.as_tensor(data), properties, truth))
        return cases

    def set_up(self, settings: PredictionSettings, trained: Any) -> None:
        self.settings = settings
        self.network.refine_predictions = settings.refine
        if settings.refine:
            self.network.configure_sampler(settings.sampler(trained))

    def timed(self, case: Case) -> tuple[torch.Tensor, CaseMaps, float, float]:
        """Logits, maps, seconds and MB."""
        before = reset_peak(self.device)
        start = time.perf_counter()
        logits = self.predict_logits_from_preprocessed_data(case.data)
        seconds = time.perf_counter() - start
        return logits, self.maps, seconds, (peak(self.device) - before) / 1e6


# --- judging ---------------------------------------------------------------------------------------------


def judge(row: Row, fold: int, truth: np.ndarray, probabilities: np.ndarray, heatmap: np.ndarray) -> None:
    """Add Dice, AUROC and pixels of one case: truth and heatmap (Z, Y, X), probabilities (K, Z, Y, X)."""
    mask = probabilities.argmax(0)
    near = near_foreground(truth > 0)
    row.folds.append(fold)
    row.dice.append(mean_dice(mask, truth, len(probabilities)))
    wrong = (mask != truth)[near]
    row.auroc.append(roc_auc_score(wrong, heatmap[near]) if 0 < wrong.sum() < wrong.size else float("nan"))
    row.pixels.append((probabilities[:, near], truth[near].astype(np.int64)))


def mean_dice(mask: np.ndarray, truth: np.ndarray, classes: int) -> float:
    def dice(label: int) -> float:
        a, b = mask == label, truth == label
        total = a.sum() + b.sum()
        return 2 * (a & b).sum() / total if total else float("nan")

    return float(np.nanmean([dice(label) for label in range(1, classes)]))


def error_of(row: Row, fold: int | None = None, temperatures_of_others: bool = False) -> float:
    """Expected calibration error of a fold, or of all."""
    folds = sorted(set(row.folds)) if fold is None else [fold]
    total = reliability(np.zeros(0), np.zeros(0, bool))
    for number in folds:
        probabilities, truth = _pixels(row, [number])
        if temperatures_of_others:
            others = [f for f in set(row.folds) if f != number]
            probabilities = temperature_scaled(probabilities, _temperatures(row, others), regions=False)
        total += reliability(probabilities.max(0), probabilities.argmax(0) == truth)
    return total.expected_calibration_error


def _temperatures(row: Row, folds: Sequence[int]) -> np.ndarray:
    probabilities, truth = _pixels(row, folds)
    some = np.random.default_rng(0).permutation(len(truth))[:FIT_PIXELS]
    return fit_temperatures(probabilities[:, some], truth[some], regions=False)


def _pixels(row: Row, folds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    chosen = [pixels for pixels, fold in zip(row.pixels, row.folds, strict=True) if fold in folds]
    return np.concatenate([p for p, _ in chosen], 1), np.concatenate([t for _, t in chosen])


# --- run -------------------------------------------------------------------------------------------------


def rows_of(samples: Sequence[int], steps: Sequence[int], depths: Sequence[int], precision: str) -> list[Row]:
    rows = [Row(STAGE1, PredictionSettings(refine=False, precision=precision))]
    rows.append(Row("preset balanced", PredictionSettings(preset="balanced", precision=precision)))
    for t_start in depths:
        for num_samples in samples:
            for n in steps:
                changes = {"num_samples": num_samples, "ddim_steps": n, "fusion_steps": n, "t_start": t_start}
                name = f"S {num_samples}, n {n}, T {t_start}"
                rows.append(Row(name, PredictionSettings(changes=changes, precision=precision)))
    return rows


def run(options: argparse.Namespace) -> list[Row]:
    dataset = name_of_dataset(options.d, "train the model first")
    model = folder_of("nnUNet_results") / dataset / f"{options.tr}__{options.p}__{options.c}"
    held_out = HeldOutCases.of_dataset(dataset)
    rows = rows_of(options.num_samples, options.ddim_steps, options.t_start, options.precision)
    # Two networks often average well: whether they do belongs beside the refined result.
    mean = Row(MEAN, replace(rows[-1].settings))
    reference = next(row for row in rows[2:] if "n 2" in row.name)
    for fold in options.f:
        settings = PredictionSettings(precision=options.precision)
        predictor = TimedPredictor(device=torch.device(options.device), settings=settings)
        predictor.initialize_from_trained_model_folder(str(model), (fold,), "checkpoint_final.pth")
        trained = predictor.network.sampler
        cases = predictor.cases(held_out, held_out.of_fold(fold)[: options.cases])
        for row in rows:
            predictor.set_up(row.settings, trained)
            if fold == options.f[0]:
                predictor.timed(cases[0])  # the first forward of a shape is a slow one
            for case in cases:
                _predict_and_judge(predictor, case, row, fold, mean if row is reference else None)
            print(f"fold {fold}  {row.name:24s}{np.mean(row.seconds):7.2f} s", file=sys.stderr, flush=True)
    mean.seconds, mean.megabytes = reference.seconds, reference.megabytes
    return [*rows, mean]


def _predict_and_judge(predictor: TimedPredictor, case: Case, row: Row, fold: int, mean: Row | None) -> None:
    logits, maps, seconds, megabytes = predictor.timed(case)
    row.seconds.append(seconds)
    row.megabytes.append(megabytes)
    grid = ScanGrid(
        predictor.plans_manager,
        predictor.configuration_manager,
        predictor.dataset_json,
        case.properties,
        torch.get_num_threads(),
    )
    probabilities = np.asarray(grid.segmentation(logits.numpy(), True)[1], np.float32)
    assert maps.uncertainty is not None
    assert maps.stage1 is not None
    heatmap = grid.placed(maps.uncertainty)[1:].max(0)
    judge(row, fold, case.truth, probabilities, heatmap)
    if mean is not None:
        stage1 = np.asarray(grid.segmentation(maps.stage1, True)[1], np.float32)
        both = (probabilities + stage1) / 2
        judge(mean, fold, case.truth, both, entr(both)[1:].max(0))


# --- table -----------------------------------------------------------------------------------------------


def table(rows: Sequence[Row], told: str) -> str:
    stage1 = np.median(rows[0].seconds)
    columns = {
        "": lambda row: row.name,
        "s per case": lambda row: f"{np.median(row.seconds):.2f}",
        "stage 1 = 1": lambda row: f"{np.median(row.seconds) / stage1:.1f}",
        "peak MB": lambda row: f"{np.max(row.megabytes):.0f}",
        "Dice": lambda row: f"{np.nanmean(row.dice):.3f}",
        "AUROC of errors": lambda row: f"{np.nanmean(row.auroc):.3f}",
        "ECE": lambda row: f"{error_of(row):.4f}",
        "ECE calibrated": lambda row: f"{error_of(row, temperatures_of_others=True):.4f}",
    }
    shown = markdown_table(columns, [[column(row) for column in columns.values()] for row in rows])
    by_fold = folds_table(rows[0], next(r for r in rows[2:] if "n 2" in r.name))
    return "\n".join([told, "", NOTE, "", shown, "", *by_fold])


def folds_table(stage1: Row, refined: Row) -> list[str]:
    rows = []
    for fold in sorted(set(stage1.folds)):
        first, second = (_mean_of_fold(row, fold) for row in (stage1, refined))
        before, after = (error_of(row, fold) for row in (stage1, refined))
        ranks, calibrated = second > first, after < before
        verdict = {(True, True): "in both", (True, False): "AUROC only", (False, True): "ECE only"}
        better = verdict.get((ranks, calibrated), "in neither")
        rows.append((fold, f"{first:.3f}", f"{second:.3f}", f"{before:.4f}", f"{after:.4f}", better))
    headings = ("fold", "AUROC stage 1", "AUROC refined", "ECE stage 1", "ECE refined", "refined is better")
    return [
        f"Fold by fold, stage 1's softmax against {refined.name}:",
        "",
        markdown_table(headings, rows),
    ]


def _mean_of_fold(row: Row, fold: int) -> float:
    return float(np.nanmean([a for a, f in zip(row.auroc, row.folds, strict=True) if f == fold]))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    p.add_argument("-d", required=True, help="dataset")
    p.add_argument("-tr", required=True, help="trainer")
    p.add_argument("-c", default="2d")
    p.add_argument("-p", default="nnUNetPlans")
    p.add_argument("-f", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="folds")
    p.add_argument("-device", default="cpu")
    p.add_argument("-o", type=Path, required=True, help="the table, Markdown")
    p.add_argument("--title", default="", help="a sentence above the table")
    p.add_argument("--cases", type=int, help="of a fold, at most")
    p.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    p.add_argument("--num_samples", type=int, nargs="+", default=[1, 15])
    p.add_argument("--ddim_steps", type=int, nargs="+", default=[1, 2, 10])
    p.add_argument("--t_start", type=int, nargs="+", default=[30, 10])
    options = p.parse_args()
    make_trainers_known()
    keep_freed_memory()
    rows = run(options)
    command = f"python benchmarks/sampling.py -d {options.d} -tr {options.tr}"
    machine = f"{len(rows[0].dice)} cases, {torch.get_num_threads()} threads, median of the cases' seconds"
    told = f"{options.title}\n\n`{command}`: {machine}."
    options.o.write_text(table(rows, told.strip()) + "\n")
    print(options.o.read_text())


if __name__ == "__main__":
    main()
