"""`eval "$(spinesegdiff env)"`: what the shell has afterwards."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff.environment import (
    COMMANDS,
    TRAINERS,
    external_trainers,
    folder_of,
    let_waiting_threads_sleep,
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


def test_the_folder_for_nnunet_holds_one_module():
    """nnU-Net imports every module that it finds there."""
    assert [p.name for p in sorted(TRAINERS.glob("*.py"))] == ["__init__.py", "spinesegdiff_trainers.py"]


def test_lines_for_the_path_end_when_it_is_set(monkeypatch):
    assert "PATH=" in shell_lines()
    monkeypatch.setenv("PATH", f"{COMMANDS}{os.pathsep}/bin")
    assert "PATH=" not in shell_lines()


def test_evaluating_twice_is_evaluating_once():
    show = 'printf "%s\\n" "$PATH" "$nnUNet_extTrainer" "$spinesegdiff_python"\n'
    once = 'eval "$(spinesegdiff env)"\n'
    output = in_sh(once + show + once + show, nnUNet_extTrainer=FOREIGN).splitlines()
    assert output[:3] == output[3:]
    path, trainers, python = output[:3]
    assert path == os.pathsep.join([str(COMMANDS), os.environ["PATH"]])
    assert trainers == f"{FOREIGN}{os.pathsep}{TRAINERS}"
    assert python == sys.executable


def test_predict_is_ours_and_keeps_the_stock_options():
    output = in_sh('eval "$(spinesegdiff env)"\ncommand -v nnUNetv2_predict\nnnUNetv2_predict -h')
    first, _, usage = output.partition("\n")
    assert Path(first) == COMMANDS / "nnUNetv2_predict"
    for option in (
        "--refine",
        "--no_refine",
        "-npp",
        "--save_probabilities",
        "--continue_prediction",
        "-device",
    ):
        assert option in usage


def test_predict_imports_nothing_from_the_current_folder(tmp_path):
    """As an installed command does: a folder called nnunetv2 there, a clone perhaps, is not the package."""
    (tmp_path / "nnunetv2").mkdir()
    (tmp_path / "nnunetv2" / "__init__.py").write_text("raise SystemExit('imported from here')")
    output = in_sh(f'eval "$(spinesegdiff env)"\ncd {tmp_path}\nnnUNetv2_predict -h')
    assert "--refine" in output
    assert "imported from here" not in output


def test_folders_of_nnunet_must_be_set(monkeypatch):
    monkeypatch.setenv("nnUNet_raw", "/data/raw")
    assert folder_of("nnUNet_raw") == Path("/data/raw")
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv("nnUNet_raw")
        else:
            monkeypatch.setenv("nnUNet_raw", unset)
        with pytest.raises(UserError, match="nnUNet_raw is not set"):
            folder_of("nnUNet_raw")


def test_threads_wait_quietly_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setitem(os.environ, "OMP_WAIT_POLICY", "active")
    let_waiting_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    let_waiting_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "passive"


def test_a_search_is_not_heard_and_what_comes_after_it_is(capsys):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with search_unheard():
            print("looking into a folder")
            warnings.warn("torch will change", FutureWarning, stacklevel=1)
            warnings.warn("the disk is nearly full", UserWarning, stacklevel=1)
        print("found")
        warnings.warn("ours will change", FutureWarning, stacklevel=1)
    assert capsys.readouterr().out == "found\n"
    assert [str(one.message) for one in told] == ["the disk is nearly full", "ours will change"]
