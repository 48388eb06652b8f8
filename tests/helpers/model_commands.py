"""nnU-Net's and our commands, in this process: starting one takes longer than a small command."""

from __future__ import annotations

import io
import multiprocessing
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import entry_points
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from filelock import FileLock
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
from nnunetv2.training.logging.nnunet_logger import LocalLogger

from nnunetv2_spinesegdiff.cli import main as spinesegdiff
from nnunetv2_spinesegdiff.environment import TRAINERS
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.inference import command as our_predict

DATASET = "501"
TRAINER = "nnUNetTrainerSpineSegDiff_2epochs_15iters"


@dataclass(frozen=True)
class Workspace:
    """nnU-Net's three folders, and commands that use them."""

    root: Path

    @property
    def raw(self) -> Path:
        return self.root / "raw" / "Dataset501_SPIDER"

    @property
    def preprocessed(self) -> Path:
        return self.root / "preprocessed" / "Dataset501_SPIDER"

    def results(self, trainer: str = TRAINER) -> Path:
        return self.root / "results" / "Dataset501_SPIDER" / f"{trainer}__nnUNetPlans__2d"

    def environment(self, **changes: str) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            **{f"nnUNet_{name}": str(self.root / name) for name in ("raw", "preprocessed", "results")},
            "nnUNet_def_n_proc": "1",
            "nnUNet_n_proc_DA": "0",
            **changes,
        }

    def run(self, line: str, *, fails: bool = False, **environment: str) -> str:
        """Run one command in this process; returns stdout, stderr and the text of a UserError."""
        words, output, status = shlex.split(line), io.StringIO(), None
        variables = self.environment(nnUNet_extTrainer=str(TRAINERS), **environment)
        with ExitStack() as stack:
            for patch in (
                mock.patch.dict(os.environ, variables),
                mock.patch.object(sys, "argv", words),
                mock.patch.object(sys, "excepthook", sys.excepthook),
                mock.patch.object(multiprocessing, "get_context", _threads_instead_of_spawned),
                mock.patch.object(torch, "set_num_threads"),
                mock.patch.object(DatasetFingerprintExtractor, COLLECT, staticmethod(_few_intensities)),
                mock.patch.object(LocalLogger, "plot_progress_png", _no_picture),
                redirect_stdout(output),
                redirect_stderr(output),
            ):
                stack.enter_context(patch)
            try:
                status = _entry_point(words)()
            except SystemExit as end:
                status = end.code
            except UserError as error:
                status = f"error: {error}"
        told = output.getvalue() + (f"\n{status}" if isinstance(status, str) else "")
        assert bool(status) == fails, f"{line} ended with status {status}:\n{told[-3000:]}"
        return told

    def shell(self, line: str, *, fails: bool = False, **environment: str) -> str:
        """Run a shell line after `eval "$(spinesegdiff env)"`; returns its output, stderr included."""
        done = subprocess.run(
            ["sh", "-c", f'eval "$(spinesegdiff env)" && {line}'],
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=1800,
            cwd=self.root,
        )
        output = done.stdout + done.stderr
        failed = done.returncode != 0
        assert failed == fails, f"{line} ended with status {done.returncode}:\n{output[-3000:]}"
        return output

    def predict(
        self, images: Path, output: Path, flags: str = "", trainer: str = TRAINER, fails: bool = False
    ) -> str:
        model = f"-d {DATASET} -c 2d -f 0 -tr {trainer} -device cpu -npp 0 -nps 0"
        return self.run(f"nnUNetv2_predict -i {images} -o {output} {model} {flags}", fails=fails)


COLLECT = "collect_foreground_intensities"
_collect = DatasetFingerprintExtractor.collect_foreground_intensities


def _few_intensities(segmentation: np.ndarray, images: np.ndarray, **options: Any) -> Any:
    """10 000 voxels per case, not 100 million in all, for statistics that nnU-Net uses for CT only."""
    return _collect(segmentation, images)


def _no_picture(logger: LocalLogger, folder: str) -> None:
    """An empty file in place of the large picture that nnU-Net draws after every epoch."""
    Path(folder, "progress.png").touch()


_get_context = multiprocessing.get_context


class _ThreadPools:
    """The context "spawn" with pools of threads: every spawned process would import torch."""

    Pool = staticmethod(ThreadPool)

    def __getattr__(self, name: str) -> Any:
        return getattr(_get_context("spawn"), name)


def _threads_instead_of_spawned(method: str | None = None) -> Any:
    return _ThreadPools() if method == "spawn" else _get_context(method)


def _entry_point(words: list[str]) -> Callable[[], Any]:
    if words[0] == "spinesegdiff":
        return lambda: spinesegdiff(words[1:])
    if words[0] == "nnUNetv2_predict":
        return our_predict.main
    (script,) = entry_points(group="console_scripts", name=words[0])
    return script.load()


def shared(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """A folder that is built once for all workers of a test run."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / name
    with FileLock(base / f"{name}.lock"):
        if not (base / f"{name}.done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            build(folder)
            (base / f"{name}.done").touch()
    return folder


def masks_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.nii.gz"))}


def log_of(fold: Path) -> str:
    return "".join(path.read_text() for path in sorted(fold.glob("training_log*.txt")))


def load(checkpoint: Path) -> dict:
    return torch.load(checkpoint, map_location="cpu", weights_only=False)
