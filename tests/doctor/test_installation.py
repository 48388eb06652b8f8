"""Findings on versions, environment variables, commands and trainers."""

from __future__ import annotations

import json
import os
import re
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.specifiers import SpecifierSet

from nnunetv2_spinesegdiff import __version__
from nnunetv2_spinesegdiff.doctor import Finding, installation
from nnunetv2_spinesegdiff.doctor.findings import OURS
from nnunetv2_spinesegdiff.doctor.installation import EVAL, PREDICT
from nnunetv2_spinesegdiff.environment import COMMANDS, TRAINERS

from ..helpers.doctor_findings import found, levels


def installed_version(monkeypatch, version: str | None) -> None:
    """Let every package have this version, or none be installed."""

    def version_of(name: str) -> str:
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "version", version_of)


def finding_of(name: str) -> Finding:
    (finding,) = [f for f in found(installation.check_versions) if re.match(rf"{name}\b", f.seen)]
    return finding


@pytest.mark.parametrize("minor", range(8, 17))
def test_python_is_judged_as_pip_does(minor, monkeypatch):
    supported = SpecifierSet(metadata.metadata(OURS)["Requires-Python"])
    monkeypatch.setattr(sys, "version_info", (3, minor, 1, "final", 0))
    finding = finding_of("Python")
    assert finding.seen == f"Python 3.{minor}.1"
    assert finding.level == ("ok" if f"3.{minor}.1" in supported else "problem")


@pytest.mark.parametrize(
    ("name", "works", "fails"),
    [
        ("nnunetv2", ["2.8.0", "2.8.1rc1", "2.8.10"], ["2.5", "2.7.0", "2.9.0", "2.10", "3"]),
        ("torch", ["2.6.0", "2.10", "10.0+cu1"], ["2.5", "2.5.9+cu1"]),
        ("numpy", ["1.26", "3"], ["1.25.2"]),
    ],
)
def test_versions_are_judged_as_pip_does(name, works, fails, monkeypatch):
    for version in [*works, *fails]:
        installed_version(monkeypatch, version)
        finding = finding_of(name)
        assert finding.seen == f"{name} {version}"
        assert finding.level == ("ok" if version in works else "problem")
        assert version in works or f'pip install "{name}' in finding.advice


def test_packages_that_are_missing(monkeypatch):
    installed_version(monkeypatch, None)
    assert (finding_of("nnunetv2").level, finding_of("numpy").level) == ("problem", "problem")
    ours = finding_of(OURS)
    assert ours.level == "warning"
    assert "not installed" in ours.seen


@pytest.mark.parametrize(("version", "level"), [(__version__, "ok"), ("0.0.7", "warning")])
def test_this_package_runs_as_it_is_installed(version, level, monkeypatch):
    installed_version(monkeypatch, version)
    ours = finding_of(OURS)
    assert ours.level == level
    assert version in ours.seen


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Two folders on the path; the package `made_up` is importable from the first."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    (folders[0] / "made_up").mkdir()
    (folders[0] / "made_up" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [*map(str, folders), *sys.path])
    return SimpleNamespace(one=folders[0], two=folders[1])


def install(folder: Path, editable: Path | None = None, form: str = "dist-info") -> None:
    """Write pip's record of `made_up` into a folder; with `editable`, as of a clone there."""
    record = folder / f"made_up-1.0.{form}"
    record.mkdir()
    (record / ("METADATA" if form == "dist-info" else "PKG-INFO")).write_text("Name: made_up\nVersion: 1.0\n")
    if editable is not None:
        url = {"url": editable.as_uri(), "dir_info": {"editable": True}}
        (record / "direct_url.json").write_text(json.dumps(url))


def test_packages_that_are_installed_once(site):
    assert levels(installation.check_installed_once, "made_up") == []
    assert levels(installation.check_installed_once, "nothing_of_that_name") == []
    install(site.one, form="egg-info")  # as clones have one, and the record of `pip install -e` elsewhere
    install(site.two, editable=site.one)
    assert levels(installation.check_installed_once, "made_up") == []


@pytest.mark.parametrize("clone", [True, False])
def test_packages_that_are_installed_twice(site, clone):
    install(site.one)
    install(site.two, editable=site.two if clone else None)
    (finding,) = found(installation.check_installed_once, "made_up")
    assert finding.level == "warning"
    assert str(site.one) in finding.seen
    assert str(site.two) in finding.seen
    assert "pip uninstall made_up" in finding.advice


def test_leftovers_of_pip(site):
    before = found(installation.check_leftovers)
    (site.two / "~nunetv2-2.5.dist-info").mkdir()
    (site.two / "~umpy").mkdir()
    (finding,) = [finding for finding in found(installation.check_leftovers) if finding not in before]
    assert finding.level == "warning"
    assert str(site.two / "~nunetv2-2.5.dist-info") in finding.seen


@pytest.mark.parametrize("variable", ["nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"])
@pytest.mark.parametrize(
    ("value", "level", "cause"),
    [
        (".", "ok", ""),
        (None, "warning", "not set"),
        ("", "warning", "not set"),
        ("gone", "problem", "does not exist"),
        ("file", "problem", "a file"),
        ("read_only", "warning", "not written"),
    ],
)
def test_folders_of_nnunet(variable, value, level, cause, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "read_only").mkdir()
    usual = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "read_only" not in str(path) and usual(path, mode))
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(tmp_path))
    if value:
        monkeypatch.setenv(variable, str(tmp_path / value))
    elif value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, "")
    (finding,) = [
        finding for finding in found(installation.check_folders) if finding.seen.startswith(variable)
    ]
    assert finding.level == level
    assert cause in finding.seen


def test_folders_of_trainers(tmp_path, monkeypatch):
    def level_of(*folders: object) -> dict[str, str]:
        monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join(map(str, folders)))
        return {finding.seen: finding.level for finding in found(installation.check_external_trainers)}

    link, copy, gone = tmp_path / "link", tmp_path / "copy", tmp_path / "gone"
    link.symlink_to(TRAINERS)
    copy.mkdir()
    (copy / "spinesegdiff_trainers.py").touch()
    ours = level_of(TRAINERS)
    assert list(ours.values()) == ["ok"]
    assert level_of(tmp_path, TRAINERS) == level_of(f"{link}/") == ours
    assert list(level_of().values()) == list(level_of(tmp_path).values()) == ["warning"]
    (other,) = other_copy = level_of(copy)
    assert str(copy) in other
    assert "another copy" in other
    several = level_of(gone, copy, TRAINERS)
    assert other_copy.items() | ours.items() <= several.items()
    (missing,) = several.keys() - other_copy.keys() - ours.keys()
    assert (str(gone) in missing, several[missing]) == (True, "warning")


STOCK = "import sys\nfrom nnunetv2.inference.predict_from_raw_data import predict_entry_point\n"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder that is on the PATH before the system's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("spinesegdiff_python", raising=False)
    return folder


def script(path: Path, text: str = "#!/bin/sh\necho /somewhere/else\n") -> Path:
    """By default, a Python of another environment."""
    path.write_text(text)
    path.chmod(0o755)
    return path


def prediction() -> tuple[str, str]:
    (finding,) = found(installation.check_predict_command)
    return finding.level, finding.seen


def test_our_command_and_its_python(folder, monkeypatch):
    monkeypatch.setenv("PATH", f"{COMMANDS}:{folder}:/usr/bin:/bin")
    monkeypatch.setenv("spinesegdiff_python", sys.executable)
    assert prediction()[0] == "ok"
    monkeypatch.setenv("spinesegdiff_python", str(folder / "gone"))
    assert prediction()[0] == "warning"
    other = script(folder / "python3")
    for variable in (str(other), None):  # of the variable, or the first one on the PATH
        if variable:
            monkeypatch.setenv("spinesegdiff_python", variable)
        else:
            monkeypatch.delenv("spinesegdiff_python")
        level, seen = prediction()
        assert level == "warning"
        assert f"{other} of another environment" in seen


@pytest.mark.parametrize("first", ["#!{}\n", "#!/bin/sh\n'''exec' \"{}\" \"$0\" \"$@\"\n' '''\n"])
@pytest.mark.parametrize("here", [True, False])
def test_the_stock_command_and_its_python(folder, first, here):
    python = sys.executable if here else script(folder / "python3")
    script(folder / PREDICT, first.format(python) + STOCK)
    level, seen = prediction()
    assert level == "warning"
    assert ("this" if here else "another") + " environment" in seen


def test_other_commands_and_none(folder, monkeypatch):
    script(folder / PREDICT, (COMMANDS / PREDICT).read_text())
    assert "another copy" in prediction()[1]
    (folder / PREDICT).write_bytes(b"\x7fELF\xff\xfe")
    assert "another environment" in prediction()[1]
    monkeypatch.setenv("PATH", str(folder.parent))
    level, seen = prediction()
    assert level == "warning"
    assert f"no {PREDICT}" in seen


def test_the_trainer_is_found_after_env_but_not_now(monkeypatch, capfd):
    """nnU-Net is really asked; it prints where it looks, and none of that is shown."""
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    (finding,) = found(installation.check_trainers, seconds=600)
    assert finding.level == "warning"
    assert "after" in finding.seen
    assert capfd.readouterr() == ("", "")


ANSWER = "print('printed by others'); print('{}')"


@pytest.mark.parametrize(
    ("code", "level", "cause"),
    [
        (ANSWER.format('["", ""]'), "ok", ""),
        (ANSWER.format('["UserError: not found", ""]'), "warning", EVAL),
        (ANSWER.format('["", "ImportError: no torch"]'), "problem", "ImportError: no torch"),
        ("raise SystemExit(7)", "problem", "exit status 7"),
        ("import sys; print('a', file=sys.stderr); raise ValueError('b')", "problem", "ValueError: b"),
        ("import time; time.sleep(600)", "warning", "within 0.9 s"),  # which may be due to a busy machine
    ],
)
def test_answers_of_the_process_that_asks_nnunet(code, level, cause, monkeypatch):
    monkeypatch.setattr(installation, "ASK", code)
    (finding,) = found(installation.check_trainers, seconds=0.9 if "sleep" in code else 60)
    assert finding.level == level
    assert cause in finding.seen


def test_the_first_answer_is_about_the_environment_as_it_is(monkeypatch):
    """The question with a check that answers by the variable."""
    quick = installation.ASK.replace(
        "from nnunetv2_spinesegdiff.preflight import check_trainer",
        "import os\n"
        "def check_trainer(name):\n"
        f"    assert {str(TRAINERS)!r} in os.environ.get('nnUNet_extTrainer', ''), name",
    )
    assert quick != installation.ASK
    monkeypatch.setattr(installation, "ASK", quick)
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    assert levels(installation.check_trainers) == ["warning"]
    monkeypatch.setenv("nnUNet_extTrainer", str(TRAINERS))
    assert levels(installation.check_trainers) == ["ok"]
