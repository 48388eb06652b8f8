"""Output folders that are BIDS derivative datasets: places of files, and what describes them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .. import __version__
from ..errors import UserError
from ..files import json_object, save_json, written_whole
from ..images.bids import DESCRIPTION, BidsName
from ..labels import CLASSES
from ..text import spelled
from .level_files import STRUCTURE_COLORS, level_segments

if TYPE_CHECKING:
    from .result import Segmentation

BIDS_VERSION = "1.10.0"
SEGMENTATION, UNCERTAINTY, LEVELS, OVERLAY = "seg", "uncertainty", "levels", "overlay"
"""What the files of a scan show."""

_TOOL = "spinesegdiff"
_SOURCE = "raw"  # name of the source dataset in BIDS URIs
_ENTITIES = {
    SEGMENTATION: "desc-structures_dseg",
    UNCERTAINTY: "desc-uncertainty_probseg",
    LEVELS: "desc-levels_dseg",
    OVERLAY: "desc-overlay_dseg",
}
_STRUCTURES = "desc-structures_dseg"
_NOT_BIDS = (
    *("index.html", "measurements.csv", "run.json", "level_names.json", "level_colors.ctbl"),
    *("sub-*/figures", "*.seg.nrrd"),
)
_README = """\
# Lumbar spine segmentations

Masks, vertebral levels and uncertainty maps of `spinesegdiff segment`, on the grids of the images.
Research use only.

- `*_desc-structures_dseg.nii.gz`: spinal canal, vertebrae and intervertebral discs, see
  `desc-structures_dseg.tsv`.
- `*_desc-levels_dseg.nii.gz`: numbered vertebrae and discs, see the `.tsv` file next to each. The `.seg.nrrd`
  file is the same for 3D Slicer.
- `*_desc-uncertainty_probseg.nii.gz`: uncertainty map; the `.json` file states what it shows.
- `sub-*/figures`: pictures of the measured slices. `index.html` shows all of them.
- `measurements.csv`: sizes and signals. `run.json`: the command, versions, the model, settings and warnings.

`space-T2w` names the image of the same subject, session and further entities on whose grid a file is.
"""


def place_of(scan: str, content: str) -> PurePosixPath:
    """Return the path of a scan's file in the dataset, without its ending.

    The suffix of the image becomes the space of the file, so that results of `T1w` and `T2w` differ.

    Args:
        scan: file name of the image without its ending.
        content: what the file shows, such as `LEVELS`.
    """
    name = _parsed(scan)
    last = [entity for entity in name.entities if entity.startswith("chunk-")]  # BIDS orders the entities
    first = [entity for entity in name.entities if entity not in last]
    parts = [name.subject, name.session, *first, f"space-{name.suffix}", *last, _ENTITIES[content]]
    # Pictures of all sessions are in one folder, as those of fMRIPrep are.
    folder = PurePosixPath(name.subject, "figures") if content == OVERLAY else name.folder / "anat"
    return folder / "_".join(part for part in parts if part)


def sidecars(done: Segmentation) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each image of a scan shows, and the content of the JSON file next to it."""
    image = f"bids:{_SOURCE}:{_parsed(done.name).folder / 'anat' / done.scan.source.path.name}"
    common = {"Sources": [image], "SpatialReference": image}
    yield SEGMENTATION, {**common, "Manual": False}
    shown = f"Uncertainty of desc-structures: {done.shown.measure}"
    yield UNCERTAINTY, {"Description": shown, **common, "Manual": False}
    levels = f"Vertebrae and discs. Confidence of their names: {done.levels.confidence} ({done.levels.basis})"
    yield LEVELS, {"Description": levels, **common, "Manual": False}


def level_table(names: Mapping[int, str]) -> str:
    """Content of the table of a scan's numbered levels, see `level_segments`."""
    return _table((segment.number, segment.name, segment.color) for segment in level_segments(names))


def participant_of(scan: str) -> str:
    """Return the `participant_id` of a scan's subject."""
    return _parsed(scan).subject


def is_derivative(folder: Path) -> bool:
    """Whether an output folder is a derivative dataset of this program."""
    made_by = json_object(folder / DESCRIPTION).get("GeneratedBy")
    first = made_by[0] if isinstance(made_by, list) and made_by else None
    return isinstance(first, dict) and first.get("Name") == _TOOL


def check_layout(folder: Path, dataset: bool, used: bool) -> None:
    """Check that an output folder has the layout that a run needs; one folder does not hold both.

    Args:
        dataset: whether the scans are those of a BIDS dataset.
        used: whether the folder has results.

    Raises:
        UserError: it has not.
    """
    other = "choose another folder with -o"
    if is_derivative(folder):
        if not dataset:
            cause = "holds results of a BIDS dataset, and the scan is not given as a part of one"
            raise UserError(folder, cause, other)
    elif dataset:
        if os.path.lexists(folder / DESCRIPTION):
            cause = "already exists and was not created by spinesegdiff"
            raise UserError(folder / DESCRIPTION, cause, other)
        if used:
            raise UserError(folder, "holds results that are not in the layout of BIDS", other)


def describe_dataset(folder: Path, source: Path) -> None:
    """Write what describes a derivative dataset. README.md and .bidsignore are not replaced.

    Args:
        folder: output folder, see `check_layout`.
        source: root of the BIDS dataset that holds the scans.
    """
    origin = json_object(source / DESCRIPTION)
    save_json(
        {
            "Name": f"SpineSegDiff segmentations: {origin.get('Name', source.resolve().name)}",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": _TOOL, "Version": __version__}],
            **({"SourceDatasets": [{"DOI": origin["DatasetDOI"]}]} if "DatasetDOI" in origin else {}),
            "DatasetLinks": {_SOURCE: _link(folder.resolve(), source.resolve())},
        },
        folder / DESCRIPTION,
    )
    colors = {CLASSES[structure]: color for structure, color in STRUCTURE_COLORS.items()}
    rows = ((number, spelled(name), colors[number]) for name, number in CLASSES.items() if number in colors)
    _write(_table(rows), folder / f"{_STRUCTURES}.tsv")
    save_json(
        {"Description": "Spinal canal, vertebrae and intervertebral discs"}, folder / f"{_STRUCTURES}.json"
    )
    for name, text in (("README.md", _README), (".bidsignore", "\n".join(_NOT_BIDS) + "\n")):
        if not os.path.lexists(folder / name):
            _write(text, folder / name)


def _parsed(scan: str) -> BidsName:
    name = BidsName.of(scan)
    if name is None:
        raise ValueError(f"{scan}: not a name of BIDS")
    return name


def _table(rows: Iterator[tuple[int, str, tuple[int, int, int]]]) -> str:
    lines = ["index\tname\tcolor", "0\tbackground\t#000000"]
    lines += [f"{number}\t{name}\t#{bytes(color).hex()}" for number, name, color in rows]
    return "\n".join(lines) + "\n"


def _write(text: str, path: Path) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _link(folder: Path, source: Path) -> str:
    """The address of the source dataset, from the root of the derivative one."""
    try:
        return quote(Path(os.path.relpath(source, folder)).as_posix())
    except ValueError:  # on another drive
        return source.as_uri()
