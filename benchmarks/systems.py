"""All systems of the paper at equal iterations, with the controls that a gain must be held against.

Every training is nnU-Net's own command on one fold: of phantoms (T1w, T2w and both) and, where its folder is
given, of real slices. What is there already in the working folder is not done again.

    python benchmarks/systems.py -w /tmp/systems --real /data/real_lumbar -o benchmarks/systems.md
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_spinesegdiff.environment import COMMANDS, external_trainers
from nnunetv2_spinesegdiff.redaction import redacted
from nnunetv2_spinesegdiff.text import markdown_table

CONTROLS = Path(__file__).resolve().parent / "control_trainers"
EPOCHS, ITERS = 8, 40
LENGTH = f"{EPOCHS}epochs_{ITERS}iters"
STAGE1 = f"nnUNetTrainerStage1_{LENGTH}"
REFINER = f"nnUNetTrainerSpineSegDiff_{LENGTH}"
PLANS, SCALE = "nnUNetPlansQuarter", 0.25
"""Of the features that nnU-Net plans: what two CPU cores can train 32 times."""


@dataclass(frozen=True)
class System:
    """A row of the table: its name and trainer; `refined` have a frozen stage 1, that of the first row."""

    name: str
    trainer: str
    refined: bool = False


SYSTEMS = (
    System("nnU-Net (stage 1)", STAGE1),
    System("SpineSegDiff", REFINER, refined=True),
    System("SpineSegDiff from noise", f"nnUNetTrainerSpineSegDiffFromNoise_{LENGTH}_S4"),
    System("SpineSegDiff w/o IE", f"nnUNetTrainerSpineSegDiffNoIE_{LENGTH}_S4"),
    System("Diff-UNet", f"nnUNetTrainerDiffUNet_{LENGTH}"),
    System("IISDM", f"nnUNetTrainerIISDM_{LENGTH}_n50_S4"),
    System("control: no presegmentation", f"nnUNetTrainerWithoutPresegmentation_{LENGTH}", True),
    System("control: stage 1, twice as long", f"nnUNetTrainerStage1_{2 * EPOCHS}epochs_{ITERS}iters"),
)
MEAN = "control: mean of stage 1 and SpineSegDiff"


@dataclass(frozen=True)
class Data:
    """A dataset of the benchmark: what it is called in the table, its nnU-Net name and planning options."""

    title: str
    name: str
    planning: str = ""

    @property
    def number(self) -> str:
        return self.name[len("Dataset") :].split("_")[0]


PHANTOM_PLANNING = "-overwrite_target_spacing 4 2 2"
PHANTOMS = {
    "t1": Data("Phantoms, T1w", "Dataset631_SystemsT1", PHANTOM_PLANNING),
    "t2": Data("Phantoms, T2w", "Dataset632_SystemsT2", PHANTOM_PLANNING),
    "t1t2": Data("Phantoms, T1w and T2w", "Dataset633_SystemsBoth", PHANTOM_PLANNING),
}
REAL = Data("Real slices", "Dataset634_SystemsReal")


# --- what must be there, and the commands that make it ---------------------------------------------------


def commands(patients: int, real: Path | None) -> list[tuple[str, str]]:
    made = [("cohort/images", f"spinesegdiff phantom -o cohort --patients {patients} --seed 21")]
    for contrast, data in PHANTOMS.items():
        convert = f"spinesegdiff convert -i cohort -d {data.number} --name {data.name.split('_')[1]}"
        made.append(
            (f"raw/{data.name}/dataset.json", f"{convert} --contrast {contrast} --max_oblique_deg 90")
        )
    if real is not None:
        made += [("raw", "mkdir raw"), (f"raw/{REAL.name}", f"ln -s {real.resolve()} raw/{REAL.name}")]
    for data in datasets(real):
        plan = f"nnUNetv2_plan_and_preprocess -d {data.number} -c 2d -npfp 2 -np 2 {data.planning}"
        made.append((f"pre/{data.name}/nnUNetPlans_2d", plan))
        scale = f"{sys.executable} {__file__} -w . --scale {data.name}"
        made.append((f"pre/{data.name}/{PLANS}.json", scale))
        for system in SYSTEMS:
            train = f"nnUNetv2_train {data.number} 2d 0 -tr {system.trainer} -p {PLANS} -device cpu --npz"
            made.append((f"{fold_of(data, system)}/validation/summary.json", train))
    return made


def datasets(real: Path | None) -> list[Data]:
    return [*PHANTOMS.values(), *([REAL] if real is not None else [])]


def fold_of(data: Data, system: System) -> str:
    return f"res/{data.name}/{system.trainer}__{PLANS}__2d/fold_0"


def scale_plans(folder: Path) -> None:
    """Narrower plans beside those of a preprocessed dataset."""
    from nnunetv2_spinesegdiff.training.diffusion_trainer import scale_features

    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    architecture = plans["configurations"]["2d"]["architecture"]
    architecture["arch_kwargs"] = scale_features(architecture["arch_kwargs"], SCALE)
    (folder / f"{PLANS}.json").write_text(json.dumps({**plans, "plans_name": PLANS}))


def environment(folder: Path, command: str = "") -> dict[str, str]:
    refined = any(system.refined and f" {system.trainer} " in command for system in SYSTEMS)
    return {
        "nnUNet_n_proc_DA": "1",
        "nnUNet_def_n_proc": "2",
        **os.environ,
        "nnUNet_raw": str(folder / "raw"),
        "nnUNet_preprocessed": str(folder / "pre"),
        "nnUNet_results": str(folder / "res"),
        "nnUNet_extTrainer": os.pathsep.join([external_trainers(), str(CONTROLS)]),
        "spinesegdiff_stage1": STAGE1 if refined else "",
        "spinesegdiff_python": sys.executable,
        "PATH": os.pathsep.join([str(COMMANDS), str(Path(sys.executable).parent), os.environ["PATH"]]),
    }


# --- what it costs ---------------------------------------------------------------------------------------


def measure_times(data: Data, rounds: int) -> dict[str, dict[str, float]]:
    """Of every trainer, seconds of an iteration and of a case, medians; all of them take turns.

    For a process with the working folder's environment.
    """
    import torch

    from nnunetv2_spinesegdiff.inference.memory import keep_freed_memory

    keep_freed_memory()
    steps = {system.name: training_step(data, system) for system in SYSTEMS}
    predictions = {system.name: prediction(data, system) for system in SYSTEMS}
    with torch.inference_mode(False):
        iteration = medians(steps, rounds)
    return {"iteration": iteration, "case": medians(predictions, max(1, rounds // 4))}


def medians(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if number > 0 or rounds == 1:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def training_step(data: Data, system: System) -> Callable[[], object]:
    import torch
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    folder = Path(os.environ["nnUNet_preprocessed"]) / data.name
    plans = json.loads((folder / f"{PLANS}.json").read_text())
    dataset_json = json.loads((folder / "dataset.json").read_text())
    os.environ["spinesegdiff_stage1"] = STAGE1 if system.refined else ""
    kind: Any = recursive_find_trainer_class_by_name(system.trainer)
    trainer = kind({**plans, "continue_training": False}, "2d", 0, dataset_json, torch.device("cpu"))
    trainer.disable_checkpointing = True
    trainer.initialize()
    trainer.set_deep_supervision_enabled(True)
    trainer.network.train()
    configuration = trainer.configuration_manager
    size, patch = configuration.batch_size, list(configuration.patch_size)
    classes = trainer.label_manager.num_segmentation_heads
    targets = [
        torch.randint(classes, (size, 1, *(round(n * s) for n, s in zip(patch, scale, strict=True))))
        for scale in trainer._get_deep_supervision_scales()
    ]
    batch = {"data": torch.randn(size, 1, *patch), "target": targets}
    return lambda: trainer.train_step(batch)


def prediction(data: Data, system: System) -> Callable[[], object]:
    """The first validation case, mirrored as nnU-Net does, without reading and writing."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    preprocessed = Path(os.environ["nnUNet_preprocessed"]) / data.name
    case = json.loads((preprocessed / "splits_final.json").read_text())[0]["val"][0]
    folder = str(preprocessed / "nnUNetPlans_2d")
    image = infer_dataset_class(folder)(folder, [case]).load_case(case)[0]
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    model = Path(os.environ["nnUNet_results"]).parent / fold_of(data, system)
    predictor.initialize_from_trained_model_folder(str(model.parent), (0,))
    array = torch.from_numpy(np.asarray(image[:]))
    return lambda: predictor.predict_logits_from_preprocessed_data(array)


# --- the table -------------------------------------------------------------------------------------------


def parameters(fold: Path) -> float:
    """Millions, stage 1 included."""
    import torch

    weights = torch.load(fold / "checkpoint_final.pth", map_location="cpu", weights_only=False)
    return sum(value.numel() for value in weights["network_weights"].values()) / 1e6


def dice_of_summary(path: Path, labels: dict[str, int]) -> list[float]:
    mean = json.loads(path.read_text())["mean"]
    return [mean[str(label)]["Dice"] for label in labels.values()]


def dice_of_means(folder: Path, data: Data, labels: dict[str, int]) -> list[float]:
    """Mean of the cases' Dice where the probabilities of stage 1 and of the refined result are averaged."""
    fold = folder / fold_of(data, SYSTEMS[1])
    scores = []
    for path in sorted((fold / "validation").glob("*.npz")):
        both = [np.load(p / path.name)["probabilities"] for p in (fold / "stage1/validation", path.parent)]
        mask = np.mean(both, axis=0).argmax(0)
        file = folder / "raw" / data.name / "labelsTr" / f"{path.stem}.nii.gz"
        truth = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
        scores.append([_dice(mask == label, truth == label) for label in labels.values()])
    return np.nanmean(scores, axis=0).tolist()


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    total = a.sum() + b.sum()
    return 2 * (a & b).sum() / total if total else float("nan")


def table(folder: Path, data: Data, times: dict[str, dict[str, float]]) -> str:
    described = json.loads((folder / "raw" / data.name / "dataset.json").read_text())["labels"]
    labels = {name: value for name, value in described.items() if value > 0}
    splits = json.loads((folder / "pre" / data.name / "splits_final.json").read_text())[0]
    rows = []
    for system in SYSTEMS:
        fold = folder / fold_of(data, system)
        scores = dice_of_summary(fold / "validation/summary.json", labels)
        costs = [parameters(fold), *(times[kind][system.name] for kind in ("iteration", "case"))]
        rows.append(_row(system.name, [f"{costs[0]:.1f}", *(f"{c:.2f}" for c in costs[1:])], scores))
    rows.append(_row(MEAN, ["", "", ""], dice_of_means(folder, data, labels)))
    headings = ["system", "million parameters", "s per iteration", "s per case", *labels, "mean"]
    cases = f"{len(splits['train'])} cases to train on, {len(splits['val'])} to validate on."
    return "\n\n".join([f"## {data.title}", cases, markdown_table(headings, rows)])


def _row(name: str, costs: list[str], scores: list[float]) -> list[str]:
    return [name, *costs, *(f"{score:.3f}" for score in [*scores, float(np.mean(scores))])]


NOTE = f"""Fold 0, {EPOCHS * ITERS} iterations (the control of stage 1: {2 * EPOCHS * ITERS}), all networks
with a quarter of the planned features. SpineSegDiff and its control have stage 1 of the first row,
frozen: their {EPOCHS * ITERS} iterations come on top of its own. From noise: four chains of ten steps;
IISDM: four of fifty. Seconds on two CPU cores, medians, all systems taking turns; of a case with
mirroring, without reading and writing.

What it shows: that every system trains, samples and validates through the same commands, and what each
costs. What it does not: which one is better. One fold, a few cases, and trainings some hundred times
shorter than the paper's; networks that start from noise, and above all one that predicts noise, need
far more iterations than one that starts from a mask. Where a control is as good as a system, the
system has not earned its cost here. The control without presegmentation carries a stage 1 that only its
training runs. IISDM learns next to nothing in so few iterations; that it can learn
is what `tests/end_to_end/test_overfit.py` shows, with five times as many on four slices."""


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-w", type=Path, required=True, help="working folder")
    p.add_argument("-o", type=Path, help="the table, Markdown")
    p.add_argument("--patients", type=int, default=20, help="made-up patients")
    p.add_argument("--real", type=Path, help="folder of real slices, an nnU-Net raw dataset")
    p.add_argument("--rounds", type=int, default=8, help="timed iterations of each trainer")
    p.add_argument("--train_only", action="store_true", help="leave times and table for later")
    p.add_argument("--time", help=argparse.SUPPRESS)
    p.add_argument("--scale", help=argparse.SUPPRESS)
    options = p.parse_args()
    folder = options.w.resolve()
    if options.time:
        data = next(d for d in datasets(folder) if d.name == options.time)
        times = measure_times(data, options.rounds)
        (folder / f"times_{data.name}.json").write_text(json.dumps(times))
        return
    if options.scale:
        scale_plans(folder / "pre" / options.scale)
        return
    folder.mkdir(parents=True, exist_ok=True)
    for result, command in commands(options.patients, options.real):
        if not (folder / result).exists():
            print(f"$ {command}", flush=True)
            subprocess.run(command.split(), cwd=folder, env=environment(folder, command + " "), check=True)
    if options.train_only:
        return
    parts = []
    for data in datasets(options.real):
        words = [sys.executable, __file__, "-w", str(folder), "--time", data.name]
        subprocess.run([*words, "--rounds", str(options.rounds)], env=environment(folder), check=True)
        parts.append(table(folder, data, json.loads((folder / f"times_{data.name}.json").read_text())))
    told = "`python benchmarks/systems.py " + " ".join(redacted(w) for w in sys.argv[1:]) + "`"
    text = "\n\n".join(["# Every system at equal iterations", told, NOTE, *parts]) + "\n"
    if options.o:
        options.o.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
