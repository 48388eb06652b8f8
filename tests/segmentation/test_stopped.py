"""What a run that is killed or interrupted leaves."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from nnunetv2_spinesegdiff.segmentation import many
from nnunetv2_spinesegdiff.segmentation.settings import SegmentationSettings

from ..helpers.model_cohort import contents, run
from ..helpers.model_spine import spine, write

pytestmark = pytest.mark.usefixtures("quick_pictures")


@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has threads")
def test_a_kill_at_any_moment_leaves_no_wrong_file(tmp_path, stand_in_model):
    for number in range(12):
        write(spine(number), tmp_path / "scans" / f"scan{number}.mha")
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    run(tmp_path / "scans", undisturbed)
    expected, rng, killed = contents(undisturbed), random.Random(0), 0
    for attempt in range(5):
        child = os.fork()
        if child == 0:
            run(tmp_path / "scans", out)
            os._exit(0)
        wait_for_changes(out, rng.randint(1, 8) if attempt else 20)  # one or more are finished after so many
        time.sleep(rng.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        killed += os.waitpid(child, 0)[1] == signal.SIGKILL
        # Whatever lies there under its final name is what an undisturbed run makes.
        whole = {name: made for name, made in contents(out).items() if "/." not in f"/{name}"}
        assert all(expected[name] == made for name, made in whole.items() if name != "measurements.csv")
    assert killed == 5
    assert run(tmp_path / "scans", out).kept, "some were finished in between"
    assert contents(out) == expected


def wait_for_changes(folder: Path, count: int) -> None:
    """Until so many files have come or gone, half-written ones included."""
    seen, deadline = {str(path) for path in folder.rglob("*")}, time.monotonic() + 60
    while count > 0 and time.monotonic() < deadline:
        now = {str(path) for path in folder.rglob("*")}
        count -= len(now ^ seen)
        seen = now
        time.sleep(0.001)


def test_a_run_that_is_interrupted_tells_what_it_made(scans, tmp_path, stand_in_model, monkeypatch):
    out = tmp_path / "out"
    run(scans, out)
    segment, calls = many.segment_scan, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return segment(*arguments)

    monkeypatch.setattr(many, "segment_scan", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(scans, out, settings=SegmentationSettings(slices=2))
    told = json.loads((out / "run.json").read_text())
    assert told["interrupted"] is True
    rows = pd.read_csv(out / "measurements.csv")
    assert dict(zip(rows["scan"], rows["slice"], strict=True)) == {"scan0": 2, "scan1": 2, "scan2": 3}
    assert list(told["scans"]["scan2"]["made_with"]) == ["settings"]
