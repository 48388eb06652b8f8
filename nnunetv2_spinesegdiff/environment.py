"""The environment variables through which nnU-Net finds its folders and the SpineSegDiff trainers."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .errors import UserError

PACKAGE = Path(__file__).resolve().parent
TRAINERS = PACKAGE / "ext_trainers"
COMMANDS = PACKAGE / "bin"


def external_trainers() -> str:
    """Value of nnUNet_extTrainer: what is already set, followed by the folder of this package."""
    folders = [f for f in os.environ.get("nnUNet_extTrainer", "").split(os.pathsep) if f]
    return os.pathsep.join([*folders, *([] if str(TRAINERS) in folders else [str(TRAINERS)])])


def make_trainers_known() -> None:
    """Let nnU-Net find the SpineSegDiff trainers in this process and in those it starts."""
    os.environ["nnUNet_extTrainer"] = external_trainers()


@contextlib.contextmanager
def search_unheard() -> Iterator[None]:
    """Nothing on the screen while nnU-Net searches for a trainer.

    It prints every folder that it searches and imports all of its trainers. Users cannot act on the warnings
    that torch prints about the libraries of these trainers.
    """
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def let_waiting_threads_sleep() -> None:
    """Keep torch's threads from spinning while they wait; to be called before torch is loaded.

    They keep the cores busy, so other threads and processes wait: next to another job on two cores, a run of
    40 s takes 83 s or more. A value that the user has set is kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@contextlib.contextmanager
def loading_modules() -> Iterator[None]:
    """Pause the garbage collector while large libraries are imported, and leave their objects out of it.

    Otherwise it visits all objects of torch many times: 0.3 s while loading and 0.5 s when the process ends.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def shell_lines() -> str:
    """Lines for `eval "$(spinesegdiff env)"` in sh, bash and zsh; running it twice changes nothing.

    On Windows they are for PowerShell: `spinesegdiff env | Out-String | Invoke-Expression`.
    """
    path = os.environ.get("PATH", "").split(os.pathsep)
    variables = {"nnUNet_extTrainer": external_trainers(), "spinesegdiff_python": sys.executable}
    commands = str(COMMANDS)
    if sys.platform == "win32":
        lines = [f"$env:{name} = {_quoted_for_powershell(value)}" for name, value in variables.items()]
        to_path = f"$env:PATH = {_quoted_for_powershell(commands + os.pathsep)} + $env:PATH"
    else:
        lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        to_path = f'export PATH={shlex.quote(commands)}:"$PATH"'
    return "".join(f"{line}\n" for line in [*lines, *([] if path[:1] == [commands] else [to_path])])


def _quoted_for_powershell(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def command_environment(**changes: str) -> dict[str, str]:
    """The environment in which a command started from here finds what `eval "$(spinesegdiff env)"` sets.

    The user's own `spinesegdiff_stage1` is left out: it belongs to another training.
    """
    path = [str(COMMANDS), str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    ours = {
        "nnUNet_extTrainer": external_trainers(),
        "spinesegdiff_python": sys.executable,
        "PATH": os.pathsep.join(path),
        **changes,
    }
    # Windows has all names in capitals and takes only one of two that differ in nothing else.
    replaced = {name.upper() for name in (*ours, "spinesegdiff_stage1")}
    return {**{name: v for name, v in os.environ.items() if name.upper() not in replaced}, **ours}


def found_command(words: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The words of a command with the path of its program, as a shell with this environment would find it.

    Windows searches the PATH of this process instead, and there for `.exe` only.
    """
    program = shutil.which(words[0], path=environment.get("PATH"))
    return [program or words[0], *words[1:]]


def folder_of(variable: str) -> Path:
    """The folder that one of nnU-Net's environment variables names.

    Raises:
        UserError: the variable is not set.
    """
    value = os.environ.get(variable)
    if not value:
        raise UserError(
            None, f"{variable} is not set", f"export {variable}=/a/folder (nnU-Net's data lives there)"
        )
    return Path(value)
