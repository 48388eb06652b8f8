"""The package as pip installs it, without -e."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = (
    "nnunetv2_spinesegdiff",
    "dataset_conversion",
    "setup.cfg",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "NOTICE",
)


def test_installed_package_is_complete_and_takes_no_generic_name(tmp_path: Path) -> None:
    copy, target = tmp_path / "source", tmp_path / "site-packages"
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            copy.mkdir(exist_ok=True)
            shutil.copy(source, copy / name)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(copy)], check=True)

    modules = {
        str(p.relative_to(copy)) for p in copy.rglob("*.py") if "build" not in p.relative_to(copy).parts[:1]
    }
    moved = {m if m.startswith("nnunetv2_spinesegdiff") else f"nnunetv2_spinesegdiff/{m}" for m in modules}
    assert moved == {str(p.relative_to(target)) for p in target.rglob("*.py")}
    assert not (target / "dataset_conversion").exists()
    assert os.access(target / "nnunetv2_spinesegdiff" / "bin" / "nnUNetv2_predict", os.X_OK)
    assert (target / "nnunetv2_spinesegdiff" / "bin" / "nnUNetv2_predict.cmd").is_file()
    assert (target / "nnunetv2_spinesegdiff" / "experiments" / "table1.yaml").is_file()
    for name in ("81_t1.mha", "81_t2.mha", "README.txt"):
        assert (target / "nnunetv2_spinesegdiff" / "examples" / name).is_file()
    assert (target / "nnunetv2_spinesegdiff" / "sharing" / "models" / "spider_lumbar.zip").is_file()
    assert list(target.glob("*.dist-info/**/NOTICE"))
    code = (
        "import nnunetv2_spinesegdiff.cli\n"
        "import nnunetv2_spinesegdiff.dataset_conversion.convert as c\n"
        "print(c.__file__)"
    )
    # -S leaves out the editable install of the environment that runs the tests, -P the working folder.
    site = os.pathsep.join([str(target), *[p for p in sys.path if p.endswith("site-packages")]])
    # In the clone, where the docs install the package, Python finds the package of the clone first.
    for folder, found in ((tmp_path, target), (copy, copy)):
        done = subprocess.run(
            [sys.executable, "-S", "-c", code],
            env={**os.environ, "PYTHONPATH": site},
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.startswith(str(found))
