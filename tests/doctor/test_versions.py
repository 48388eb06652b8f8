"""Versions that work, those that do not, and installations beside each other."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from nnunetv2_spinesegdiff import __version__
from nnunetv2_spinesegdiff.doctor import versions
from nnunetv2_spinesegdiff.doctor.versions import (
    OURS,
    SUPPORTED,
    check_installed_once,
    check_leftovers,
    check_ours,
    check_package,
    check_python,
)


def told(monkeypatch, version: str | None) -> None:
    """Let importlib.metadata tell this version of everything, or of nothing that it is installed."""

    def version_of(name: str) -> str:
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "version", version_of)


@pytest.mark.parametrize("name", SUPPORTED)
def test_the_limits_are_those_of_the_package(name):
    """What pip resolves by, and what is told here, is one thing."""
    declared = {r.name: r.specifier for r in map(Requirement, metadata.requires(OURS) or []) if not r.marker}
    assert SpecifierSet(versions._specifier(name)) == declared[name]


def test_python_is_that_of_the_package(monkeypatch):
    declared = SpecifierSet(metadata.metadata(OURS)["Requires-Python"])
    for minor in range(8, 17):
        monkeypatch.setattr(sys, "version_info", (3, minor, 1, "final", 0))
        finding = check_python()
        assert (finding.level == "ok") == (f"3.{minor}.1" in declared)
        assert finding.seen == f"Python 3.{minor}.1"
        assert finding.level in ("ok", "problem")


@pytest.mark.parametrize(
    "version", ["2.5", "2.6.0", "2.7.0", "2.8.0", "2.8.1rc1", "2.8.10", "2.9.0", "2.10", "3", "10.0+cu1"]
)
@pytest.mark.parametrize("name", ["nnunetv2", "torch", "numpy"])
def test_versions_are_judged_as_pip_does(name, version, monkeypatch):
    told(monkeypatch, version)
    finding = check_package(name)
    fits = SpecifierSet(versions._specifier(name)).contains(version, prereleases=True)
    assert finding.level == ("ok" if fits else "problem")
    assert finding.seen == f"{name} {version}"
    assert fits or f'pip install "{name}>=' in finding.advice


def test_a_package_that_is_missing(monkeypatch):
    told(monkeypatch, None)
    finding = check_package("nnunetv2")
    assert (finding.level, finding.seen) == ("problem", "nnunetv2 is not installed")
    assert finding.advice == 'pip install "nnunetv2>=2.8,<2.9"'
    assert check_package("numpy").advice == 'pip install "numpy"'
    assert check_ours().level == "warning"


def test_ours_is_what_runs(monkeypatch):
    told(monkeypatch, __version__)
    assert check_ours().level == "ok"
    told(monkeypatch, "0.0.7")
    finding = check_ours()
    assert finding.level == "warning"
    assert __version__ in finding.seen
    assert "0.0.7 is installed" in finding.seen


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


def installed(folder, editable=None, form="dist-info") -> None:
    """Write pip's record of `made_up` into a folder; with `editable`, as of a clone there."""
    record = folder / f"made_up-1.0.{form}"
    record.mkdir()
    (record / ("METADATA" if form == "dist-info" else "PKG-INFO")).write_text("Name: made_up\nVersion: 1.0\n")
    if editable is not None:
        url = {"url": editable.as_uri(), "dir_info": {"editable": True}}
        (record / "direct_url.json").write_text(json.dumps(url))


def test_installed_once(site):
    assert check_installed_once("made_up") == []
    installed(site.one)
    assert check_installed_once("made_up") == []
    assert check_installed_once("nothing_of_that_name") == []


def test_a_clone_is_installed_once(site):
    """The record of an editable installation lies elsewhere, and its clone has an egg-info."""
    installed(site.one, form="egg-info")
    installed(site.two, editable=site.one)
    assert check_installed_once("made_up") == []


def test_installed_twice(site):
    installed(site.one)
    installed(site.two)
    (finding,) = check_installed_once("made_up")
    assert finding.level == "warning"
    assert finding.seen == f"made_up is used from {site.one} and was installed in {site.two}, too"
    assert "pip uninstall made_up" in finding.advice


def test_installed_from_another_clone(site):
    installed(site.two, editable=site.two)
    assert [finding.level for finding in check_installed_once("made_up")] == ["warning"]


def test_leftovers(site):
    before = check_leftovers()
    (site.two / "~nunetv2-2.5.dist-info").mkdir()
    (site.two / "~umpy").mkdir()
    (finding,) = [finding for finding in check_leftovers() if finding not in before]
    assert finding.level == "warning"
    assert str(site.two / "~nunetv2-2.5.dist-info") in finding.seen
