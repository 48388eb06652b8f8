"""Cases that a model has not seen in training: predicted with it, and measured against their labels."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from ..files import written_whole
from ..inference.export import CaseMaps, PredictedCase
from ..inference.predictor import SpineSegDiffPredictor
from ..uncertainty.confidence import structure_mask
from ..uncertainty.ranking import near_foreground
from ..uncertainty.stored import Calibration

if TYPE_CHECKING:
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

MOST_PIXELS = 50_000
"""Pixels per case. More pixels add little, because neighboring ones are similar."""


@dataclass(frozen=True)
class Measured:
    """Measurements of one held-out case.

    Its pixels are drawn from those within 10 pixels of any structure, in the truth, of stage 1 or refined.
    Elsewhere nearly every pixel is correct, which would hide the errors.

    Attributes:
        case: its name.
        probabilities, stage1: of N pixels (K, N), float32; `stage1` is None where there is no stage 1.
        uncertainty: eq. 5 of these pixels, its maximum over the structures (N,).
        truth: class (N,), or of region heads (K, N) of 0 or 1.
        true, predicted: mm2 or mm3 of every structure (F,); NaN where the truth has ignored pixels.
        unit: mm2 of a pixel or mm3 of a voxel.
    """

    case: str
    probabilities: np.ndarray
    stage1: np.ndarray | None
    uncertainty: np.ndarray
    truth: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    unit: float


@dataclass
class HeldOutMaps(CaseMaps):
    """As its base; `label` is the file of the true segmentation."""

    label: str = ""


def measure_case(case: PredictedCase) -> None:
    """Write `Measured` of a case instead of its mask."""
    maps, grid, labels = case.maps, case.grid, case.grid.labels
    assert isinstance(maps, HeldOutMaps)
    assert maps.uncertainty is not None
    truth = grid.plans.image_reader_writer_class().read_seg(maps.label)[0][0]
    refined, probabilities = grid.segmentation(case.logits, return_probabilities=True)
    uncertainty = grid.placed_structures(maps.uncertainty).max(0)
    ignored = truth == labels.ignore_label if labels.has_ignore_label else np.zeros(truth.shape, bool)
    masks, stage1_probabilities = [truth, refined], None
    if maps.stage1 is not None:
        stage1, stage1_probabilities = grid.segmentation(maps.stage1, return_probabilities=True)
        masks.append(stage1)
    structures_near = near_foreground(*[np.where(ignored, 0, mask) > 0 for mask in masks])
    pixels = _drawn(structures_near & ~ignored, case.truncated.name)
    of_stage1: dict[str, Any] = {}
    if stage1_probabilities is not None:
        of_stage1["stage1"] = _at_pixels(stage1_probabilities, pixels)
    with written_whole(_file_of(str(case.truncated))) as temporary:
        np.savez(
            temporary,
            probabilities=_at_pixels(probabilities, pixels),
            **of_stage1,
            uncertainty=uncertainty.ravel()[pixels],
            truth=_truth_of_heads(truth.ravel()[pixels], labels),
            true=_sizes(truth, grid.structures, grid.voxel_size(), ignored),
            predicted=_sizes(refined, grid.structures, grid.voxel_size(), ignored),
            unit=grid.voxel_size(),
        )


class HeldOutPredictor(SpineSegDiffPredictor):
    """Measures cases instead of writing their masks.

    Attributes:
        labels: case to the file of its true segmentation.
    """

    export = staticmethod(measure_case)
    wants_maps = True
    labels: Mapping[str, str]

    def _stored_calibration(self) -> Calibration | None:
        return None

    def _maps_of(self, output: str) -> HeldOutMaps:
        return HeldOutMaps(self._inputs[output], label=self.labels[Path(output).name])

    def measure(
        self, images: Mapping[str, Sequence[str]], labels: Mapping[str, str], num_processes: int = 1
    ) -> list[Measured]:
        """Predict and measure cases; unfit ones are in `failures`.

        Args:
            images: case to its image files, one a channel.
            labels: case to the file of its true segmentation.
            num_processes: for preprocessing, and as many for measuring.
        """
        self.labels = labels
        with tempfile.TemporaryDirectory(prefix="spinesegdiff_") as folder:
            outputs = [str(Path(folder) / case) for case in images]
            self.predict_from_files(
                [list(files) for files in images.values()],
                outputs,
                num_processes_preprocessing=num_processes,
                num_processes_segmentation_export=num_processes,
            )
            return [_read(path) for path in map(_file_of, outputs) if path.is_file()]


def _file_of(truncated: str) -> Path:
    return Path(f"{truncated}.npz")


def _read(path: Path) -> Measured:
    with np.load(path, allow_pickle=False) as arrays:
        kept = dict(arrays)
    return Measured(path.name.removesuffix(".npz"), **{"stage1": None, **kept, "unit": float(kept["unit"])})


def _drawn(where: np.ndarray, name: str) -> np.ndarray:
    """Flat indices of at most `MOST_PIXELS` of the true pixels, the same ones whenever a case is measured."""
    indices = np.flatnonzero(where)
    if len(indices) <= MOST_PIXELS:
        return indices
    return np.sort(np.random.default_rng(crc32(name.encode())).choice(indices, MOST_PIXELS, replace=False))


def _at_pixels(maps: Any, pixels: np.ndarray) -> np.ndarray:
    """Pixels of maps (K, Z, Y, X) as float32 (K, N)."""
    return np.asarray(maps, np.float32).reshape(len(maps), -1)[:, pixels]


def _truth_of_heads(truth: np.ndarray, labels: LabelManager) -> np.ndarray:
    if not labels.has_regions:
        return truth.astype(np.uint8)
    return np.stack([structure_mask(truth, region) for region in labels.foreground_regions]).astype(np.uint8)


def _sizes(mask: np.ndarray, structures: Mapping[str, Any], unit: float, ignored: np.ndarray) -> np.ndarray:
    """Compute the size of every structure; unknown if a part of the scan was not labeled."""
    if ignored.any():
        return np.full(len(structures), np.nan)
    return np.array([structure_mask(mask, values).sum() * unit for values in structures.values()])
