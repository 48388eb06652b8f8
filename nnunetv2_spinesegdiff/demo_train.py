"""Every step once, training included, on a synthetic cohort, through the commands that a user types."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from pathlib import Path

from .environment import command_environment, found_command
from .errors import UserError
from .preflight import check_new_folder

DATASET, UNSEEN = 501, 502
PATIENTS, UNSEEN_PATIENTS = 12, 10
TRAINER = "nnUNetTrainerSpineSegDiff_16epochs_40iters_width25"
PLANS = "nnUNetPlans2mm"
"""At 2 mm a slice has a quarter of the pixels: what two CPU cores can learn from in three minutes."""


class DemoFolders:
    """Where the parts of a demo are, below its output folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.raw = root, root / "nnUNet_raw"
        self.unseen = self.raw / f"Dataset{UNSEEN}_Unseen"
        self.model = root / "model.zip"
        self.segmented = root / "segmented"
        self.report = root / "report.html"
        self.evaluation = root / "report_files"

    def predictions(self, how: str) -> Path:
        return self.root / "predictions" / how


def run_demo_train(output: Path, *, device: str = "cpu", seed: int = 0) -> None:
    """Make a cohort, convert, plan, train briefly, predict unseen patients refined and unrefined, report.

    Prints every command before it runs; ends with the table of both and the paths of report and picture.

    Args:
        output: new or empty folder for all of it.
        device: "cpu", "cuda" or "mps".
        seed: of the cohort.

    Raises:
        UserError: the folder is not empty, or a command failed (the message names its log).
    """
    check_new_folder(output)
    started = time.time()
    folders = DemoFolders(output.resolve())
    for command in _commands(folders, device, seed):
        _run(command, folders)
    _show(folders)
    print(
        f"\nThe demo took {time.time() - started:.0f} s. A training this short only shows that every step\n"
        "works. To judge refinement, train to the end and compare on five folds."
    )


def _commands(folders: DemoFolders, device: str, seed: int) -> list[str]:
    cohort, unseen = _q(folders.root / "cohort"), _q(folders.root / "unseen_patients")
    training = f"{DATASET} 2d 0 -tr {TRAINER} -p {PLANS} -device {device}"
    model = f"-d {DATASET} -c 2d -f 0 -tr {TRAINER} -p {PLANS} -device {device}"
    commands = [
        f"spinesegdiff phantom -o {cohort} --patients {PATIENTS} --seed {seed}",
        f"spinesegdiff phantom -o {unseen} --patients {UNSEEN_PATIENTS} --seed {seed + 1}",
        f"spinesegdiff convert -i {cohort} -d {DATASET} --contrast t1t2",
        f"spinesegdiff convert -i {unseen} -d {UNSEEN} --name Unseen --contrast t1t2 --max_oblique_deg 90",
        f"nnUNetv2_plan_and_preprocess -d {DATASET} -c 2d --verify_dataset_integrity -npfp 2 -np 2 "
        f"-overwrite_target_spacing 4 2 2 -overwrite_plans_name {PLANS}",
        f"nnUNetv2_train {training}",
    ]
    for how in ("no_refine", "refine"):
        target, save = _q(folders.predictions(how)), " --save_uncertainty" if how == "refine" else ""
        images = _q(folders.unseen / "imagesTr")
        commands.append(f"nnUNetv2_predict -i {images} -o {target} {model} -npp 1 -nps 1 --{how}{save}")
    commands += [
        f"spinesegdiff export -o {_q(folders.model)} -d {DATASET} -tr {TRAINER} -p {PLANS}",
        f"spinesegdiff segment -i {_q(folders.root / 'unseen_patients' / 'images')} "
        f"-o {_q(folders.segmented)} -m {_q(folders.model)} --preset fast -device {device}",
    ]
    systems = {"Stage 1": "no_refine", "Refined": "refine"}
    named = " ".join(shlex.quote(f"{name}={folders.predictions(how)}") for name, how in systems.items())
    files = {"instances": "masks", "gradings": "radiological_gradings.csv", "overview": "overview.csv"}
    patients = folders.root / "unseen_patients"
    tables = " ".join(f"--{name} {_q(patients / file)}" for name, file in files.items())
    labels = _q(folders.unseen / "labelsTr")
    commands.append(f"spinesegdiff report -o {_q(folders.report)} -s {named} -l {labels} {tables}")
    return commands


def _run(command: str, folders: DemoFolders) -> None:
    """Run one command as a shell with our environment would, its output into a log of its own."""
    logs = folders.root / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{len(list(logs.iterdir())):02d}_{command.split()[0]}.txt"
    shown = command.replace(str(folders.root) + os.sep, "")
    print(f"$ {shown}", flush=True)
    started = time.time()
    environment = _environment(folders)
    with log.open("w", encoding="utf-8") as stream:
        status = subprocess.run(
            found_command(shlex.split(command), environment),
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if status != 0:
        tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] or ["no output"]
        raise UserError(log, f"`{shown}` ended with status {status} ({tail[0]})")
    print(f"  {time.time() - started:.0f} s", flush=True)


def _environment(folders: DemoFolders) -> dict[str, str]:
    """That of our commands, with the demo's own three folders, and a worker a core."""
    cores = str(os.cpu_count() or 1)
    return {
        "nnUNet_def_n_proc": cores,
        "nnUNet_n_proc_DA": cores,
        **command_environment(
            nnUNet_raw=str(folders.raw),
            nnUNet_preprocessed=str(folders.root / "nnUNet_preprocessed"),
            nnUNet_results=str(folders.root / "nnUNet_results"),
        ),
    }


def _show(folders: DemoFolders) -> None:
    print(f"\n{(folders.evaluation / 'tables' / 'dice.md').read_text(encoding='utf-8')}")
    print(f"Report: {folders.report}")
    print(f"Picture: {folders.evaluation / 'figures' / 'cases.png'}")
    print(f"Scans segmented with {folders.model.name}, pictures and numbers: {folders.segmented}")
    print(f"Uncertainty maps: {folders.predictions('refine') / 'uncertainty'}")


def _q(path: Path) -> str:
    return shlex.quote(str(path))
