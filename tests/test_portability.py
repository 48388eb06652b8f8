"""What would fail on Windows or macOS, as far as it shows on Linux."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff import workers
from nnunetv2_spinesegdiff.cli import main
from nnunetv2_spinesegdiff.environment import COMMANDS, command_environment, found_command, shell_lines

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path for name in ("nnunetv2_spinesegdiff", "dataset_conversion") for path in (ROOT / name).rglob("*.py")
)
POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
POSIX_FUNCTIONS = {"chown", "fork", "forkpty", "geteuid", "getuid", "mkfifo", "uname"}
TEXT = {"read_text", "write_text"}


def findings(source: str) -> list[str]:
    """What a module uses that is not everywhere, and text files whose encoding is the system's."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name in POSIX_MODULES]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found += [node.module] if node.module in POSIX_MODULES else []
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            found += [f"os.{node.attr}"] if node.attr in POSIX_FUNCTIONS else []
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in TEXT:
            # A package's metadata has a `read_text`, too, which takes a name and reads UTF-8.
            of_metadata = node.func.attr == "read_text" and node.args
            if not of_metadata and not any(keyword.arg == "encoding" for keyword in node.keywords):
                found.append(f"{node.func.attr} without encoding")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("get_context"):
            found += [ast.unparse(node)] if ast.unparse(node.args[0]) != "'spawn'" else []
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_use_what_every_system_has(path):
    assert findings(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import fcntl",
        "from resource import getrusage",
        "import os\nos.fork()",
        "Path('a').read_text()",
        "multiprocessing.get_context('fork')",
    ],
)
def test_a_planted_use_is_found(source):
    assert findings(source)


@pytest.fixture
def windows(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")


def test_powershell_gets_lines_of_its_own(windows, monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", "C:\\one's trainers")
    trainers, python, path = shell_lines().splitlines()
    assert trainers.startswith("$env:nnUNet_extTrainer = 'C:\\one''s trainers")
    assert python == f"$env:spinesegdiff_python = '{sys.executable}'"
    assert path == f"$env:PATH = '{COMMANDS}{os.pathsep}' + $env:PATH"


def test_variables_in_capitals_are_replaced_not_doubled(monkeypatch):
    monkeypatch.setenv("NNUNET_RAW", "of the user")
    monkeypatch.setenv("SPINESEGDIFF_STAGE1", "of the user")
    made = command_environment(nnUNet_raw="ours")
    assert {name: value for name, value in made.items() if name.upper() == "NNUNET_RAW"} == {
        "nnUNet_raw": "ours"
    }
    assert not [name for name in made if name.upper() == "SPINESEGDIFF_STAGE1"]


def test_our_prediction_command_is_found_before_the_stock_one():
    words = found_command(["nnUNetv2_predict", "-h"], command_environment())
    assert words == [str(COMMANDS / "nnUNetv2_predict"), "-h"]
    assert found_command(["no-such-program"], command_environment()) == ["no-such-program"]


def test_windows_waits_for_no_more_processes_than_it_can(windows, monkeypatch):
    asked = []

    class Pool:
        def __init__(self, count, *_, **__):
            asked.append(count)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def shutdown(self, **_):
            pass

    monkeypatch.setattr(workers, "ProcessPoolExecutor", Pool)
    with workers.worker_processes(128), workers.worker_processes(2):
        pass
    assert asked == [61, 2]


def test_signs_that_a_terminal_lacks_do_not_end_a_command(tmp_path, monkeypatch):
    missing = tmp_path / "\N{MINUS SIGN}.mha"
    with (tmp_path / "log").open("w", encoding="cp1252") as log:
        monkeypatch.setattr(sys, "stderr", log)
        monkeypatch.setattr(sys, "stdout", log)
        main(["segment", "-i", str(missing), "-o", str(tmp_path / "out")])
        print("\N{MINUS SIGN}")
    assert "\\u2212" in (tmp_path / "log").read_text(encoding="cp1252")
