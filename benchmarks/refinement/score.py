r"""Score the arms of a study and compare them by patient: study.md and scores.csv.

Masks and probabilities are those of nnU-Net's own validation, each case predicted by models of folds that did
not train on its patient. A patient's score is the mean over its slices and over the folds and seeds that
predicted it. Differences are paired by patient, with the 95 % intervals of `spinesegdiff evaluate`.

    python benchmarks/refinement/score.py benchmarks/refinement/study.yaml \
        -o benchmarks/refinement/results --plot docs/refinement.png
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import SimpleITK as sitk
from nnunetv2_spinesegdiff.dataset_conversion.names import parse_case
from run import Cell, Study, read_study
from scipy import stats
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from nnunetv2_spinesegdiff.evaluation.comparisons import FEWEST, mean_interval
from nnunetv2_spinesegdiff.evaluation.scores import score_case
from nnunetv2_spinesegdiff.inference.npz_uncertainty import entropy
from nnunetv2_spinesegdiff.labels import BACKGROUND, CLASSES, IGNORE
from nnunetv2_spinesegdiff.text import markdown_table
from nnunetv2_spinesegdiff.uncertainty.ranking import near_foreground
from nnunetv2_spinesegdiff.uncertainty.temperature import reliability

STRUCTURES = {name: label for name, label in CLASSES.items() if label != BACKGROUND}
MEAN = "mean"
SETS = ("T2_SPACE, middle slice", "T2w, other patients", "real_lumbar, discs")
SPACE, T2, REAL = SETS
FEWEST_PIXELS = 20
"""Of a structure in the label. In fewer, a pixel more or less decides the score."""
COMPARED = {"Dice, mean of structures": f"dice {MEAN}", "AUROC of 1 - p_max": "auroc 1 - p_max"}
WEIGHTS = np.linspace(0, 1, 11)
POWER = 0.8


@dataclass(frozen=True)
class Case:
    """A slice to score.

    Attributes:
        name, patient: of the slice.
        group: one of `SETS`.
    """

    name: str
    patient: str
    group: str


def cases_of(raw: Path, names: Sequence[str]) -> list[Case]:
    """Sort the validation cases of a fold into the three sets; other slices are not scored."""
    table = pd.read_csv(raw / "cases.csv", dtype={"patient": str}).set_index("case")
    found = []
    for name in names:
        if name.startswith("real_"):
            found.append(Case(name, name, REAL))
            continue
        row = table.loc[name]
        if parse_case(name).sequence != "t2_SPACE":
            found.append(Case(name, row.patient, T2))
        elif row.slice_index == int(row["size"].split("x")[0]) // 2:
            found.append(Case(name, row.patient, SPACE))
    return found


class Probabilities:
    """What every arm says of a case, and the means of arms that the study describes."""

    def __init__(self, study: Study):
        self.study = study
        self.weights: dict[tuple[str, int, int], float] = {}
        """Of the second arm of a weighted mean, by its name, seed and fold; see `fit_weights`."""
        self.cells = {
            (cell.arm.name, cell.seed, cell.fold): cell
            for seed in range(study.seeds)
            for cells in study.rounds(seed)
            for cell in cells
            if cell.finished
        }

    def seeds(self, system: str, fold: int) -> list[int]:
        """Seeds for which the system can be scored in a fold."""
        weighted = self.study.weighted.get(system)
        parts = weighted or self.study.means.get(system, [system])
        # A weight is fitted in the other folds, so all of them are needed.
        folds = range(self.study.folds) if weighted else [fold]
        return [
            seed
            for seed in range(self.study.seeds)
            if all((arm, number, n) in self.cells for arm, number in self._parts(parts, seed) for n in folds)
        ]

    def of(self, system: str, seed: int, fold: int, case: str) -> np.ndarray:
        """(K, 1, Y, X), float32."""
        if system in self.study.weighted:
            first, second = self.pair(system, seed, fold, case)
            return mixed(first, second, self.weights[system, seed, fold])
        parts = self._parts(self.study.means.get(system, [system]), seed)
        return np.mean([self._read(self.cells[arm, number, fold], case) for arm, number in parts], axis=0)

    def pair(self, system: str, seed: int, fold: int, case: str) -> list[np.ndarray]:
        """Both arms of a weighted mean, each (K, 1, Y, X)."""
        return [self._read(self.cells[arm, seed, fold], case) for arm in self.study.weighted[system]]

    def _parts(self, names: Sequence[str], seed: int) -> Iterator[tuple[str, int]]:
        """An arm that is named again is that of the next seed."""
        for index, name in enumerate(names):
            yield name, (seed + names[:index].count(name)) % self.study.seeds

    def _read(self, cell: Cell, case: str) -> np.ndarray:
        path = cell.folder / "validation" / f"{case}.npz"
        return np.load(path)["probabilities"].astype(np.float32)


def mixed(first: np.ndarray, second: np.ndarray, weight: float) -> np.ndarray:
    return (1 - weight) * first + weight * second


def fit_weights(known: Probabilities, raw: Path, cases: Mapping[int, Sequence[Case]]) -> None:
    """For every fold choose the weight of the best Dice in the T2_SPACE slices of the other folds."""
    study = known.study
    for system in study.weighted:
        for seed in known.seeds(system, 0):
            found = []
            for fold in range(study.folds):
                for case in (case for case in cases[fold] if case.group == SPACE):
                    truth, spacing = read_label(raw, case)
                    pair = known.pair(system, seed, fold, case.name)
                    dice = [
                        scores_of(case, truth, mixed(*pair, weight), spacing)[f"dice {MEAN}"]
                        for weight in WEIGHTS
                    ]
                    found.append((fold, dice))
            for fold in range(study.folds):
                means = np.mean([dice for other, dice in found if other != fold], axis=0)
                known.weights[system, seed, fold] = float(WEIGHTS[means.argmax()])


def read_label(raw: Path, case: Case) -> tuple[np.ndarray, Sequence[float]]:
    """Label map (1, Y, X) and spacing (z, y, x) in mm."""
    label = sitk.ReadImage(str(raw / "labelsTr" / f"{case.name}.nii.gz"))
    return sitk.GetArrayFromImage(label), label.GetSpacing()[::-1]


def scores_of(case: Case, truth: np.ndarray, probabilities: np.ndarray, spacing: Sequence[float]) -> dict:
    """Dice and HD95 of every structure, calibration, and how well two maps rank the errors of the mask."""
    mask = probabilities.argmax(0)
    scores: dict[str, float] = {}
    for row in score_case(truth, mask, spacing, STRUCTURES, IGNORE):
        name = row["structure"]
        labeled = (truth == STRUCTURES[name]).sum() >= FEWEST_PIXELS
        if labeled and (case.group != REAL or name == "ivd"):
            scores[f"dice {name}"], scores[f"hd95 {name}"] = row["dice"], row["hd95_mm"]
    scores[f"dice {MEAN}"] = float(
        np.mean([value for key, value in scores.items() if key.startswith("dice")])
    )
    near = near_foreground(np.isin(truth, list(STRUCTURES.values())), mask > 0) & (truth != IGNORE)
    wrong = (mask != truth)[near]
    confidence = probabilities.max(0)[near]
    scores["ece"] = reliability(confidence.clip(0, 1), ~wrong).expected_calibration_error
    if 0 < wrong.sum() < wrong.size:
        scores["auroc 1 - p_max"] = roc_auc_score(wrong, 1 - confidence)
        scores["auroc eq. 4"] = roc_auc_score(wrong, entropy(probabilities[1:]).sum(0)[near])
    return scores


def score(study: Study, raw: Path, splits: Sequence[Mapping[str, list[str]]]) -> pd.DataFrame:
    """One row for every system, seed, fold and case."""
    known = Probabilities(study)
    rows = []
    cases = {fold: cases_of(raw, splits[fold]["val"]) for fold in range(study.folds)}
    fit_weights(known, raw, cases)
    for fold in range(study.folds):
        for case in tqdm(cases[fold], desc=f"fold {fold}"):
            truth, spacing = read_label(raw, case)
            for system in (*study.arms, *study.means, *study.weighted):
                for seed in known.seeds(system, fold):
                    probabilities = known.of(system, seed, fold, case.name)
                    scored = scores_of(case, truth, probabilities, spacing)
                    rows.append(
                        {"system": system, "set": case.group, "patient": case.patient, "case": case.name}
                        | {"fold": fold, "seed": seed, "weight": known.weights.get((system, seed, fold))}
                        | {name: round(value, 5) for name, value in scored.items()}
                    )
    return pd.DataFrame(rows)


def costs(study: Study) -> pd.DataFrame:
    """Seconds of training by arm, mean over folds and seeds, with those of the arms it is made from."""
    own: dict[str, list[float]] = {}
    for seed in range(study.seeds):
        for cell in (cell for cells in study.rounds(seed) for cell in cells):
            path = cell.folder / "cost.json"
            if path.exists():
                own.setdefault(cell.arm.name, []).append(json.loads(path.read_text())["seconds"])
    mean = {name: float(np.mean(seconds)) for name, seconds in own.items()}
    total = {
        name: mean[name] + sum(mean[part] for part in (arm.stage1, arm.after) if part)
        for name, arm in study.arms.items()
        if name in mean
    }
    for name, parts in (study.means | study.weighted).items():
        # An arm that is named again is one of another seed.
        seeds = [{part for part in parts if parts.count(part) > n} for n in range(len(parts))]
        needed = [_with_those_before(study, arms) for arms in seeds]
        if all(arm in mean for arms in needed for arm in arms):
            total[name] = sum(mean[arm] for arms in needed for arm in arms)
    return pd.DataFrame({"own": pd.Series(mean), "seconds": pd.Series(total)})


def _with_those_before(study: Study, arms: Iterable[str]) -> set[str]:
    before = {part for arm in arms for part in (study.arms[arm].stage1, study.arms[arm].after) if part}
    return {*arms, *before}


def by_patient(scores: pd.DataFrame, system: str, group: str, metric: str) -> pd.Series:
    rows = scores[(scores.system == system) & (scores.set == group)]
    return rows.groupby("patient")[metric].mean().dropna()


def paired(scores: pd.DataFrame, system: str, control: str, group: str, metric: str) -> pd.DataFrame:
    """Mean scores of both by patient, over the slices, folds and seeds that both have."""
    of_set = scores[scores.set == group]
    wide = of_set.pivot(index=["patient", "case", "fold", "seed"], columns="system", values=metric)
    return wide[[system, control]].dropna().groupby("patient").mean()


def difference(values: pd.Series) -> str:
    """Mean of patients' differences with its interval."""
    if len(values) < FEWEST:
        return f"{values.mean():+.3f}" if len(values) else "-"
    low, high = mean_interval(values.to_numpy())
    return f"{values.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def detectable(values: pd.Series) -> str:
    """Smallest true difference that a paired t-test of these patients finds with a power of 80 %."""
    if len(values) < FEWEST:
        return "-"
    freedom = len(values) - 1
    quantiles = stats.t.ppf(1 - 0.05 / 2, freedom) + stats.t.ppf(POWER, freedom)
    return f"{quantiles * values.std(ddof=1) / np.sqrt(len(values)):.3f}"


def comparison(scores: pd.DataFrame, system: str, controls: Sequence[str], metric: str) -> str:
    rows = []
    for group in SETS:
        for control in controls:
            means = paired(scores, system, control, group, metric)
            both = means[system] - means[control]
            if len(both):
                # By the mean of both: those in which one is low by chance would favor the other.
                lowest = means.sum(axis=1).nsmallest(-(-len(both) // 3))
                cells = [difference(both), difference(both[lowest.index]), detectable(both)]
                rows.append([group, len(both), control, *cells])
    return markdown_table(
        ["set", "patients", "against", "difference", "third with the lowest scores", "detectable"], rows
    )


def overview(scores: pd.DataFrame, group: str, metrics: Sequence[str], spent: pd.DataFrame) -> str:
    rows = []
    base = spent.seconds.get("stage 1")
    for system in scores.system.unique():
        of_system = scores[(scores.system == system) & (scores.set == group)]
        cost = spent.seconds.get(system)
        means = [by_patient(scores, system, group, metric).mean() for metric in metrics]
        cells = ["-" if np.isnan(mean) else f"{mean:.3f}" for mean in means]
        relative = "-" if cost is None or base is None else f"{cost / base:.2f}"
        rows.append([system, of_system.seed.nunique(), relative, *cells])
    return markdown_table(["system", "seeds", "cost in stage 1", *metrics], rows)


def report(scores: pd.DataFrame, spent: pd.DataFrame) -> str:
    """The tables in Markdown."""
    lines = ["# Arms of the study", "", *__doc__.splitlines()[2:5], ""]
    metrics = [*(f"dice {name}" for name in (MEAN, *STRUCTURES)), *(f"hd95 {name}" for name in STRUCTURES)]
    metrics += ["ece", "auroc 1 - p_max", "auroc eq. 4"]
    for group in SETS:
        shown = [metric for metric in metrics if scores[scores.set == group][metric].notna().any()]
        lines += [f"## {group}", "", overview(scores, group, shown, spent), ""]
    names = list(scores.system.unique())
    seconds = markdown_table(
        ["arm", "seconds of its own", "with the arms before it"],
        [[name, f"{row.own:.0f}", f"{row.seconds:.0f}"] for name, row in spent.dropna().iterrows()],
    )
    lines += ["## Seconds of training, one CPU thread", "", seconds, ""]
    for system in names[1:]:
        others = [name for name in names if name != system]
        for title, metric in COMPARED.items():
            lines += [f"## {system}: differences in {title}", ""]
            lines += [comparison(scores, system, others, metric), ""]
    return "\n".join(lines)


def plot(scores: pd.DataFrame, system: str, path: Path) -> None:
    """Draw the differences of a system to every other one, with intervals, one panel per set."""
    others = [name for name in scores.system.unique() if name != system]
    figure, axes = plt.subplots(1, len(SETS), figsize=(12, 0.45 * len(others) + 1.2), sharey=True)
    for axis, group in zip(axes, SETS, strict=True):
        for row, other in enumerate(reversed(others)):
            means = paired(scores, system, other, group, f"dice {MEAN}")
            values = (means[system] - means[other]).to_numpy()
            if len(values) >= FEWEST:
                axis.plot(mean_interval(values), (row, row), color="tab:blue")
                axis.plot(values.mean(), row, "o", color="tab:blue")
        axis.axvline(0, color="gray", linewidth=1)
        axis.set_yticks(range(len(others)), reversed(others))
        axis.set_title(f"{group}\n({len(values)} patients)", fontsize=10)
        axis.locator_params(axis="x", nbins=4)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"Dice of the {system} minus Dice of another system, 95 % intervals", fontsize=11)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("-o", type=Path, required=True, help="folder for study.md and scores.csv")
    parser.add_argument("--plot", type=Path, help="also draw the differences of --system into this PNG file")
    parser.add_argument("--system", default="refiner")
    options = parser.parse_args()
    study = read_study(options.study)
    raw, preprocessed = (
        Path(os.environ[f"nnUNet_{kind}"]) / study.dataset for kind in ("raw", "preprocessed")
    )
    splits = json.loads((preprocessed / "splits_final.json").read_text(encoding="utf-8"))
    scores = score(study, raw, splits)
    options.o.mkdir(parents=True, exist_ok=True)
    scores.to_csv(options.o / "scores.csv", index=False, lineterminator="\n")
    text = report(scores, costs(study))
    (options.o / "study.md").write_text(text + "\n", encoding="utf-8")
    if options.plot is not None:
        plot(scores, options.system, options.plot)
    print(text)


if __name__ == "__main__":
    main()
