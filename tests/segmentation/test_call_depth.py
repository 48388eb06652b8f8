"""How far it is from the command to the network."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
import SimpleITK as sitk
from torch.nn.modules.module import register_module_forward_pre_hook

import nnunetv2_spinesegdiff
from nnunetv2_spinesegdiff import dataset_conversion, example_scans
from nnunetv2_spinesegdiff.cli import main

OURS = tuple(
    str(Path(str(package.__file__)).parent) for package in (nnunetv2_spinesegdiff, dataset_conversion)
)
MOST = 10


def our_functions() -> list[str]:
    """The functions of the package that are being called, the command first."""
    frame: FrameType | None = sys._getframe()
    names = []
    while frame is not None:
        if frame.f_code.co_filename.startswith(OURS):
            names.append(f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}")
        frame = frame.f_back
    return names[::-1]


@pytest.mark.parametrize("slices", [1, 5])
def test_the_command_reaches_the_network_in_a_few_calls(slices, tmp_path, capsys):
    """Of several slices, the first one that the network sees is one in search of the midsagittal one."""
    seen = []

    def stop(module, arguments):
        seen.append(our_functions())
        raise KeyboardInterrupt

    image = sitk.ReadImage(str(example_scans()[1]))
    values = np.repeat(sitk.GetArrayFromImage(image), slices, 2 - int(np.argmin(image.GetSize())))
    several = sitk.GetImageFromArray(values)
    several.SetSpacing(image.GetSpacing())
    several.SetDirection(image.GetDirection())
    sitk.WriteImage(several, str(tmp_path / "scan.mha"))
    hook = register_module_forward_pre_hook(stop)
    try:
        words = ["segment", "-i", str(tmp_path / "scan.mha"), "-o", str(tmp_path / "out"), "-device", "cpu"]
        assert main(words) == 130
    finally:
        hook.remove()
    assert seen[0][0] == "__init__.main"
    assert len(seen[0]) <= MOST, seen[0]
