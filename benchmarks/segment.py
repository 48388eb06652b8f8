"""What a user of `spinesegdiff segment` waits for: from the start of the command to the files.

One scan, and the same scan with others behind it, each in a fresh process, turn by turn; peaks of memory are
those of the processes.

    spinesegdiff phantom -o cohort --patients 8 --seed 3
    spinesegdiff convert -i cohort -d 501 --contrast t2
    nnUNetv2_plan_and_preprocess -d 501 -c 2d
    spinesegdiff train -d 501 -f 0 -tr nnUNetTrainerSpineSegDiff_1epochs_2iters -device cpu
    spinesegdiff export -d 501 -tr nnUNetTrainerSpineSegDiff_1epochs_2iters -o model.zip
    python benchmarks/segment.py -i cohort/images -m model.zip -o benchmarks/segment.md

How well the model is trained changes nothing of the time, as long as it finds a vertebra.
"""

from __future__ import annotations

import argparse
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

from nnunetv2_spinesegdiff.scans.finding import find_scans

LIMITS = {"first": 12.0, "next": 1.5, "memory": 2.5}
"""Seconds, seconds and GB that it is held to."""


def run(scans: Path, model: Path, flags: Sequence[str], scratch: Path) -> tuple[float, float]:
    """Seconds and peak in GB of one command in a process of its own."""
    out = scratch / "out"
    words = ["segment", "-i", str(scans), "-o", str(out), "-m", str(model), *flags]
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "nnunetv2_spinesegdiff", *words],
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-i", type=Path, required=True, help="folder of scans")
    parser.add_argument("-m", type=Path, required=True, help="model")
    parser.add_argument("-o", type=Path, required=True, help="table to write")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--flags", nargs="*", default=["--preset", "fast", "-device", "cpu"])
    options = parser.parse_args()
    sources = find_scans(options.i)
    one, all_ = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(options.repeats):
            one.append(run(sources[0].path, options.m, options.flags, Path(scratch)))
            all_.append(run(options.i, options.m, options.flags, Path(scratch)))
    size = options.m.stat().st_size / 1e6
    lines = [
        f"`spinesegdiff segment {' '.join(options.flags)}`, a model of {size:.0f} MB, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}, median of "
        f"{options.repeats}.",
        "",
        *table(one, all_, len(sources)),
        "",
    ]
    options.o.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
