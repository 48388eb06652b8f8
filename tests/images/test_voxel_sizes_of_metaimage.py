"""MetaImage headers without voxel sizes, for which ITK takes 1 mm."""

from __future__ import annotations

import re

import pytest

from .made_up import scan, write

SIZES = (2.0, 1.8, 4.0)


def test_without_voxel_sizes_it_is_rejected(tmp_path, refused):
    """In spite of a field of view that would do with 1 mm."""
    path = write(scan(size=(120, 110, 7), spacing=(1, 1, 4)), tmp_path / "a.mha")
    content = path.read_bytes()
    assert refused(written(path, re.sub(rb"ElementSpacing = .*\n", b"", content)))
    assert refused(written(path, re.sub(rb"ElementSpacing = .*\n", b"ElementSpacing =\n", content)))


@pytest.mark.parametrize("fields", ["ElementSize = 2 1.8 4", "ElementSpacing = 2 1.8 4\nElementSize = 9 9 9"])
def test_element_size_stands_in_for_element_spacing(fields, tmp_path, read):
    path = write(scan(spacing=SIZES), tmp_path / "a.mha")
    content = re.sub(rb"ElementSpacing = .*\n", fields.encode() + b"\n", path.read_bytes())
    assert read(written(path, content)).image.GetSpacing() == SIZES


def written(path, content):
    path.write_bytes(content)
    return path
