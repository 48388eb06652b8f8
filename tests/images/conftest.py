"""Reading a path as the commands do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images.finding import find_scans
from nnunetv2_spinesegdiff.images.reading import read_scan
from nnunetv2_spinesegdiff.images.scan import Scan


@pytest.fixture
def read(tmp_path_factory) -> Callable[..., Scan]:
    """Read the only scan at a path."""

    def read_it(path: Path, **options) -> Scan:
        (source,) = find_scans(path)
        return read_scan(source, tmp_path_factory.mktemp("scratch"), **options)

    return read_it


@pytest.fixture
def refused(read) -> Callable[..., str]:
    """Why the only scan at a path is refused: one line that begins with the path."""

    def refuse(path: Path, **options) -> str:
        with pytest.raises(UserError) as error:
            read(path, **options)
        said = str(error.value)
        assert said.startswith(f"{path}: ")
        assert "\n" not in said
        return said.removeprefix(f"{path}: ")

    return refuse
