"""Where the package reads slices does not depend on the version of SimpleITK."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ..helpers.scan_files import scan, values, write_series

PLACES = """
import json, sys
from pathlib import Path
import SimpleITK as sitk
from nnunetv2_spinesegdiff.images.finding import find_scans
from nnunetv2_spinesegdiff.images.reading import read_scan

def places(image):
    first = sitk.GetArrayViewFromImage(image)[:, 0, 0].tolist()
    return {value: image.TransformIndexToPhysicalPoint((0, 0, k)) for k, value in enumerate(first)}

reader = sitk.ImageSeriesReader()
reader.SetFileNames(reader.GetGDCMSeriesFileNames(sys.argv[1]))
(source,) = find_scans(Path(sys.argv[1]))
ours = places(read_scan(source, Path(sys.argv[2])).image)
print(json.dumps({"version": sitk.Version.VersionString(), "ours": ours, "itk": places(reader.Execute())}))
"""
"""Positions of the slices, each known by the value of its first voxel."""


def environment(folder: Path, version: str) -> Path:
    """The Python of a virtual environment with this SimpleITK, and all other packages of the present one."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = next(folder.glob("bin/python")) if (folder / "bin").is_dir() else folder / "Scripts/python.exe"
    install = [str(python), "-m", "pip", "install", "-q", "--no-deps", f"SimpleITK=={version}"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"SimpleITK {version} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    (own,) = {path.parent for path in folder.rglob("SimpleITK") if path.is_dir()}
    # Behind the environment's own packages, and with the editable ones among them.
    paths = [path for path in sys.path if path.rstrip("/\\").endswith("site-packages")]
    (own / "others.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in paths))
    return python


@pytest.mark.slow
def test_a_stack_of_negative_spacing_is_read_alike_and_right_in_every_version(tmp_path):
    """SimpleITK 2.5.6 mirrors such a stack about its first slice, SimpleITK 2.5.7 does not."""
    image = scan()
    write_series(tmp_path / "exam", image, SpacingBetweenSlices=-image.GetSpacing()[2])
    firsts = values(image)[:, 0, 0].tolist()
    assert len(set(firsts)) == len(firsts)
    expected = [image.TransformIndexToPhysicalPoint((0, 0, k)) for k in range(len(firsts))]
    read: dict[str, dict[str, Any]] = {}
    for version in ("2.5.6", "2.5.7"):
        python = environment(tmp_path / version, version)
        command = [str(python), "-c", PLACES, str(tmp_path / "exam"), str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        read[version] = json.loads(done.stdout)
        assert read[version]["version"].startswith(version)
        found = [read[version]["ours"][str(value)] for value in firsts]
        assert np.allclose(found, expected, atol=1e-6)
    assert read["2.5.6"]["ours"] == read["2.5.7"]["ours"]
    by_itk = {version: [one["itk"][str(value)] for value in firsts] for version, one in read.items()}
    assert np.allclose(by_itk["2.5.7"], expected)
    assert np.allclose(by_itk["2.5.6"], 2 * np.array(expected[0]) - expected)
