"""`eval "$(spinesegdiff env)"`: what the shell has afterwards."""

from __future__ import annotations

import gc
import os
import shlex
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff.environment import (
    COMMANDS,
    TRAINERS,
    external_trainers,
    folder_of,
    let_waiting_threads_sleep,
    loading_modules,
    make_trainers_known,
    search_unheard,
    shell_lines,
)
from nnunetv2_spinesegdiff.errors import UserError

FOREIGN = "/some/one's trainers"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for variable in ("nnUNet_extTrainer", "spinesegdiff_python"):
        monkeypatch.delenv(variable, raising=False)


def in_sh(script: str, **environment: str) -> str:
    """Run a script in sh in which our `spinesegdiff` is the module of this interpreter."""
    prelude = f'spinesegdiff() {{ {shlex.quote(sys.executable)} -m nnunetv2_spinesegdiff "$@"; }}\n'
    done = subprocess.run(
        ["sh", "-eu", "-c", prelude + script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_our_folder_comes_behind_what_is_set(monkeypatch):
    assert external_trainers() == str(TRAINERS)
    monkeypatch.setenv("nnUNet_extTrainer", FOREIGN)
    assert external_trainers() == f"{FOREIGN}{os.pathsep}{TRAINERS}"
    make_trainers_known()
    make_trainers_known()
    assert os.environ["nnUNet_extTrainer"] == f"{FOREIGN}{os.pathsep}{TRAINERS}"


def test_lines_for_the_path_end_when_it_is_set(monkeypatch):
    assert "PATH=" in shell_lines()
    monkeypatch.setenv("PATH", f"{COMMANDS}{os.pathsep}/bin")
    assert "PATH=" not in shell_lines()


def test_the_shell_after_evaluating_once_and_twice(tmp_path):
    """A folder called nnunetv2 in the current one, a clone perhaps, is not imported."""
    (tmp_path / "nnunetv2").mkdir()
    (tmp_path / "nnunetv2" / "__init__.py").write_text("raise SystemExit('imported from here')")
    show = 'printf "%s\\n" "$PATH" "$nnUNet_extTrainer" "$spinesegdiff_python"\n'
    once = 'eval "$(spinesegdiff env)"\n'
    predict = f"cd {tmp_path}\ncommand -v nnUNetv2_predict\nnnUNetv2_predict -h"
    lines = in_sh(once + show + once + show + predict, nnUNet_extTrainer=FOREIGN).splitlines()
    assert lines[:3] == lines[3:6]
    path, trainers, python = lines[:3]
    assert path == os.pathsep.join([str(COMMANDS), os.environ["PATH"]])
    assert trainers == f"{FOREIGN}{os.pathsep}{TRAINERS}"
    assert python == sys.executable
    assert Path(lines[6]) == COMMANDS / "nnUNetv2_predict"
    usage = "\n".join(lines[7:])
    assert "imported from here" not in usage
    for option in ("--refine", "--no_refine", "-npp", "--save_probabilities", "--continue_prediction"):
        assert option in usage


def test_folders_of_nnunet_must_be_set(monkeypatch):
    monkeypatch.setenv("nnUNet_raw", "/data/raw")
    assert folder_of("nnUNet_raw") == Path("/data/raw")
    for unset in (lambda: monkeypatch.setenv("nnUNet_raw", ""), lambda: monkeypatch.delenv("nnUNet_raw")):
        unset()
        with pytest.raises(UserError, match=r"^nnUNet_raw"):
            folder_of("nnUNet_raw")


def test_threads_wait_quietly_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setitem(os.environ, "OMP_WAIT_POLICY", "active")
    let_waiting_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    let_waiting_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "passive"


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_as_before_after_loading(enabled):
    (gc.enable if enabled else gc.disable)()
    try:
        with suppress(ImportError), loading_modules():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


def test_a_search_is_not_heard_and_what_comes_after_it_is(capsys):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with search_unheard():
            print("looking into a folder")
            warnings.warn("torch will change", FutureWarning, stacklevel=1)
            warnings.warn("the disk is nearly full", UserWarning, stacklevel=1)
        print("found")
        warnings.warn("ours will change", FutureWarning, stacklevel=1)
    assert capsys.readouterr().out == "found\n"
    assert [str(one.message) for one in caught] == ["the disk is nearly full", "ours will change"]
