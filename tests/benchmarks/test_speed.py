"""The speed benchmark at a size at which it takes seconds; it refuses to time two different algorithms."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "speed.py"


@pytest.mark.slow
def test_it_writes_its_tables(tmp_path):
    words = "--size 128 --widths 50 --presets fast --repeats 1 --num_samples 2 --samples 2"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "-o", str(tmp_path / "speed.md"), *words.split()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = (tmp_path / "speed.md").read_text()
    assert re.search(r"\| stage 1 alone, as stock does it, mirrored \| \d+\.\d+ \| 1\.00 \|", told)
    assert re.search(r"\| fast, float32 \| \d+\.\d+ \| \d+\.\d+ \|", told)
    assert re.search(r"\| plain Algorithm 1, float32 \| \d+\.\d+ \| 1\.00 \|", told)
    assert re.search(r"\| this sampler, float32 \| \d+\.\d+ \| \d+\.\d+ \|", told)
    assert re.search(r"\| 2 \| \d+ \| \d+ \|", told)
