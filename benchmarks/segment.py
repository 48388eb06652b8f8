r"""What a user of `spinesegdiff segment` waits for: from the start of the command to the files.

One scan, and the same scan with others behind it, each in a fresh process, turn by turn; peaks of memory are
those of the processes.

    spinesegdiff phantom -o cohort --patients 8 --seed 3
    spinesegdiff convert -i cohort -d 501 --contrast t2
    nnUNetv2_plan_and_preprocess -d 501 -c 2d
    python benchmarks/segment.py --enlarge $nnUNet_preprocessed/Dataset501_SPIDER/nnUNetPlans.json
    spinesegdiff train -d 501 -f 0 -p nnUNetPlans320 -tr nnUNetTrainerSpineSegDiff_1epochs_2iters -device cpu
    spinesegdiff export -d 501 -p nnUNetPlans320 -tr nnUNetTrainerSpineSegDiff_1epochs_2iters -o model.zip
    python benchmarks/segment.py -i cohort/images -m model.zip -o benchmarks/segment.md

`--against PYTHON` measures the package of another environment in the same run, turn by turn with this one,
such as that of an earlier commit:

    python benchmarks/segment.py -i cohort/images -m model.zip -o benchmarks/segment.md --repeats 5 \
        --against before/bin/python --name "commit de3390b"

How well the model is trained changes nothing of the time, as long as it finds a vertebra. Phantoms have dark
margins, which nnU-Net crops: enlarged, their plans are those of slices of 320 x 320, of seven stages.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from training_step import plans

from nnunetv2_spinesegdiff.images.finding import find_scans

LIMITS = {"first": 12.0, "next": 1.5, "memory": 2.5}
"""Seconds, seconds and GB that it is held to."""


def enlarge(plans_file: Path) -> Path:
    """Beside nnU-Net's plans write some with the patch and the network of 320 x 320 slices."""
    own = json.loads(plans_file.read_text(encoding="utf-8"))
    large = plans(2, 320)["configurations"]["2d"]
    own["configurations"]["2d"].update(patch_size=large["patch_size"], architecture=large["architecture"])
    own["plans_name"] = "nnUNetPlans320"
    made = plans_file.with_name("nnUNetPlans320.json")
    made.write_text(json.dumps(own), encoding="utf-8")
    return made


def run(
    scans: Path, model: Path, flags: Sequence[str], scratch: Path, python: str = sys.executable
) -> tuple[float, float]:
    """Seconds and peak in GB of one command in a process of its own."""
    out = scratch / "out"
    words = ["segment", "-i", str(scans), "-o", str(out), "-m", str(model), *flags]
    started = time.perf_counter()
    process = subprocess.Popen(
        [python, "-m", "nnunetv2_spinesegdiff", *words],
        cwd=scratch,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    said = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status != 0:
        raise SystemExit(f"the command failed: {said.decode()[-1000:]}")
    shutil.rmtree(out)
    scale = 1024 if sys.platform == "linux" else 1
    return seconds, usage.ru_maxrss * scale / 1e9


def table(one: list[tuple[float, float]], all_: list[tuple[float, float]], count: int) -> list[str]:
    first = statistics.median(seconds for seconds, _ in one)
    more = (statistics.median(seconds for seconds, _ in all_) - first) / (count - 1)
    peak = max(memory for _, memory in (*one, *all_))
    rows = (
        ("one scan, from the start of the command to its files", first, "s", LIMITS["first"]),
        (f"each of {count - 1} further scans", more, "s", LIMITS["next"]),
        ("peak memory", peak, "GB", LIMITS["memory"]),
    )
    return [
        "| what | measured | aim |",
        "| --- | --- | --- |",
        *(f"| {what} | {value:.2f} {unit} | < {limit:g} {unit} |" for what, value, unit, limit in rows),
    ]


def comparison(one: list[tuple[float, float]], before: list[tuple[float, float]], name: str) -> list[str]:
    """Medians of seconds and of peaks of memory of one scan, here and there."""
    rows = []
    for index, (what, unit) in enumerate((("one scan", "s"), ("peak memory, one scan", "GB"))):
        here, there = (statistics.median(run[index] for run in runs) for runs in (one, before))
        rows.append(f"| {what} | {here:.2f} {unit} | {there:.2f} {unit} | {here / there:.2f} |")
    return ["", f"| what | measured | {name}, in the same run | ratio |", "| --- | --- | --- | --- |", *rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--enlarge", type=Path, metavar="PLANS", help="write nnUNetPlans320.json beside them")
    parser.add_argument("-i", type=Path, help="folder of scans")
    parser.add_argument("-m", type=Path, help="model")
    parser.add_argument("-o", type=Path, help="table to write")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--against", metavar="PYTHON", help="of an environment with another version")
    parser.add_argument("--name", default="before", help="of that version, for the table")
    parser.add_argument("--flags", nargs="*", default=["--preset", "fast", "-device", "cpu"])
    options = parser.parse_args()
    if options.enlarge is not None:
        print(enlarge(options.enlarge))
        return
    if None in (options.i, options.m, options.o):
        parser.error("-i, -m and -o are needed")
    sources = find_scans(options.i)
    scan, scans, model = (path.resolve() for path in (sources[0].path, options.i, options.m))
    one, all_, before = [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(options.repeats):
            one.append(run(scan, model, options.flags, Path(scratch)))
            if options.against:
                before.append(run(scan, model, options.flags, Path(scratch), options.against))
            all_.append(run(scans, model, options.flags, Path(scratch)))
    size = options.m.stat().st_size / 1e6
    lines = [
        f"`spinesegdiff segment {' '.join(options.flags)}`, a model of {size:.0f} MB, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}, median of "
        f"{options.repeats}.",
        "",
        *table(one, all_, len(sources)),
        *(comparison(one, before, options.name) if before else []),
        "",
    ]
    options.o.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
