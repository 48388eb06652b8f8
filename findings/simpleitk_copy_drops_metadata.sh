#!/bin/sh
# SimpleITK 2.5.7 drops all metadata of a copied image at the first change of the copy (direction, spacing, a voxel, or
# another metadata field), if the original still exists. If nothing refers to the original any more, the metadata is
# kept. So the same lines keep or lose them by the Python version: a temporary image that is passed to a function still
# exists during the call in Python 3.10, and not from 3.11 on. A `.seg.nrrd` for 3D Slicer, whose segments are metadata
# fields, loses all names of its segments.
#
# Seen: after `copy = sitk.Image(original)`, copy.GetMetaDataKeys() is ('k',); after copy.SetDirection(...) it is () with
# the original and ('k',) without it. The script fails if that changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7
"$folder/venv/bin/python" - <<'PYTHON'
import SimpleITK as sitk


def copied():
    original = sitk.Image(4, 4, sitk.sitkUInt8)
    original.SetMetaData("k", "v")
    copy = sitk.Image(original)
    assert copy.GetMetaDataKeys() == ("k",)
    return original, copy


changes = {
    "SetDirection": lambda image: image.SetDirection((1, 0, 0, 1)),
    "SetSpacing": lambda image: image.SetSpacing((2, 2)),
    "SetPixel": lambda image: image.SetPixel(0, 0, 1),
    "SetMetaData": lambda image: image.SetMetaData("l", "w"),
}
for name, change in changes.items():
    original, copy = copied()
    change(copy)
    with_original = copy.GetMetaDataKeys()
    original, copy = copied()
    del original
    change(copy)
    print(f"{name}: with the original {with_original}, without it {copy.GetMetaDataKeys()}")
    assert "k" not in with_original
    assert "k" in copy.GetMetaDataKeys()
PYTHON
