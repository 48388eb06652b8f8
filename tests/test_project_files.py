"""Files that describe the project to others agree with the package."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nnunetv2_spinesegdiff import __version__

ROOT = Path(__file__).resolve().parents[1]
YAML = [
    ROOT / "CITATION.cff",
    ROOT / ".pre-commit-config.yaml",
    *sorted((ROOT / ".github").rglob("*.yml")),
]


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_yaml_is_valid(path):
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_citation_is_of_this_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in citation
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{__version__}]" in changelog


def test_python_versions_agree():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    classifiers = re.findall(r"Python :: (3\.\d+)", setup["metadata"]["classifiers"])
    tested = re.search(
        r"python: \[(.+)\]", (ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8")
    )
    assert tested is not None
    assert re.findall(r"3\.\d+", tested[1]) == classifiers
    first, last = classifiers[0], int(classifiers[-1].partition(".")[2])
    assert setup["options"]["python_requires"] == f">={first},<3.{last + 1}"
    for page in ("README.md", "docs/get-started.md"):
        assert f"Python {first} to {classifiers[-1]}" in (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_tested_versions_are_allowed_by_setup_cfg(version):
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = setup["options"]["install_requires"] + setup["options.extras_require"]["test"]
    pinned = {}
    for line in (ROOT / ".github" / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]:
        found = Requirement(line)
        if found.marker is None or found.marker.evaluate({"python_version": version}):
            assert found.name not in pinned, "one version each"
            pinned[found.name] = str(found.specifier).removeprefix("==")
    wanted = [Requirement(line) for line in lines.splitlines() if line]
    wanted = [one for one in wanted if one.marker is None or one.marker.evaluate({"python_version": version})]
    outside = [
        str(one) for one in wanted if pinned.get(canonicalize_name(one.name), "0") not in one.specifier
    ]
    assert [name for name in outside if not name.startswith("setuptools")] == []
