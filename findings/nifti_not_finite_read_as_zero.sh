#!/bin/sh
# SimpleITK 2.5.7 reads every NaN and infinite voxel of a NIfTI file of floats as 0, without a warning. ITK's copy of
# niftilib replaces them while it reads. So code that reads with SimpleITK, such as nnU-Net's SimpleITKIO, cannot find
# damaged voxels in NIfTI files by np.isfinite. The same values are kept in NRRD and MetaImage files, and nibabel keeps
# them in NIfTI files.
#
# Seen: of 1, NaN, inf, -inf in a NIfTI file, SimpleITK reads 1, 0, 0, 0; nibabel, .nrrd and .mha keep all four.
# The script fails if that changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 nibabel==5.3.2 numpy==2.3.5
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

folder = Path(sys.argv[1])
values = np.array([1, np.nan, np.inf, -np.inf], dtype=np.float32).reshape(1, 2, 2)

nib.Nifti1Image(values.T, np.eye(4)).to_filename(folder / "scan.nii.gz")
for ending in (".nrrd", ".mha"):
    sitk.WriteImage(sitk.GetImageFromArray(values), str(folder / f"scan{ending}"))

read = {
    f"SimpleITK, {ending}": sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"scan{ending}")))
    for ending in (".nii.gz", ".nrrd", ".mha")
}
read["nibabel, .nii.gz"] = np.asarray(nib.load(folder / "scan.nii.gz").dataobj).T
for reader, found in read.items():
    print(f"{reader}: {found.ravel().tolist()}")

lost = read.pop("SimpleITK, .nii.gz")
assert lost.ravel().tolist() == [1, 0, 0, 0]
assert all(np.array_equal(found, values, equal_nan=True) for found in read.values())
PYTHON
