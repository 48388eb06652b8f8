"""From logits to the files of one case, in nnU-Net's export workers: each whole or absent, the mask last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import save_pickle
from nnunetv2.configuration import default_num_processes

from ..files import save_json, written_whole
from ..images.orientation import view_of
from ..measures import ENTROPY, ERROR, Measure
from ..uncertainty.confidence import LOW_AGREEMENT, error_probability, structure_rows
from ..uncertainty.conformal import area_bounds
from ..uncertainty.stored import Calibration
from ..uncertainty.temperature import temperature_scaled
from .finished import Outputs, check_whole
from .maps import direction_of, write_map, write_maps
from .scan_grid import ScanGrid
from .structures import Structures

if TYPE_CHECKING:
    from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

CASE = "spinesegdiff"
"""Under this name `CaseMaps` travel in nnU-Net's properties of a case, from the predictor to the export."""


@dataclass
class CaseMaps:
    """What the export needs of a case in addition to its logits.

    Attributes:
        inputs: the image files, one a channel; none for an array in memory, which gets no overlay.
        calibration: of the model, where it fits.
        uncertainty: eq. 5 a head (K, *spatial), float32, in the network's grid; None: no maps are wanted.
        stage1: stage 1's logits (K, *spatial), float32, in the network's grid; None without a stage 1.
        measure: what the map of a case shows.
        agreement_limit: Dice of stage 1 and the mask below which they disagree.
    """

    inputs: list[str] = field(default_factory=list)
    calibration: Calibration | None = None
    uncertainty: np.ndarray | None = None
    stage1: np.ndarray | None = None
    measure: Measure = ENTROPY
    agreement_limit: float = LOW_AGREEMENT

    def segmentation(self, logits: np.ndarray, grid: ScanGrid) -> tuple[np.ndarray, np.ndarray]:
        """Mask (Z, Y, X) and probabilities (K, Z, Y, X) on the scan's grid, calibrated where the model is."""
        mask, probabilities = grid.segmentation(logits, return_probabilities=True)
        assert probabilities is not None
        if self.calibration is not None:
            temperatures = np.array(self.calibration.temperatures)
            probabilities = temperature_scaled(probabilities, temperatures, grid.labels.has_regions)
        return mask, probabilities

    def heatmap(self, entropy: np.ndarray, probabilities: np.ndarray, grid: ScanGrid) -> np.ndarray:
        """The map of a case (Z, Y, X), what `measure` states.

        Args:
            entropy: `uncertainty` of the structures on the scan's grid (F, Z, Y, X).
            probabilities: of `segmentation`.
        """
        if self.measure == ERROR:
            return error_probability(probabilities, grid.labels.has_regions)
        return entropy.max(0)


@dataclass(frozen=True)
class PredictedCase:
    """Arguments that nnU-Net passes to the export of a case.

    Attributes:
        logits: (K, *spatial), in the network's grid.
        maps: further results of the case.
        grid: of network and scan.
        truncated: output folder and case.
        save_probabilities: whether they are wanted.
    """

    logits: np.ndarray
    maps: CaseMaps
    grid: ScanGrid
    truncated: Path
    save_probabilities: bool


def export_with(
    export: Callable[[PredictedCase], None],
    logits: np.ndarray,
    properties: dict[str, Any],
    configuration: ConfigurationManager,
    plans: PlansManager,
    dataset_json: dict[str, Any],
    truncated: str,
    save_probabilities: bool = False,
    num_threads_torch: int = default_num_processes,
) -> None:
    """nnU-Net's `export_prediction_from_logits`, done by `export`."""
    maps = properties.pop(CASE)
    grid = ScanGrid(plans, configuration, dataset_json, properties, num_threads_torch)
    export(PredictedCase(logits, maps, grid, Path(truncated), save_probabilities))


def export_case(case: PredictedCase) -> None:
    """Write nnU-Net's files, the same mask in the same file, with our extras."""
    maps, grid = case.maps, case.grid
    ending = grid.dataset_json["file_ending"]
    outputs = Outputs(case.truncated, ending, case.save_probabilities, maps.uncertainty is not None)
    if maps.uncertainty is None and not case.save_probabilities:
        mask, probabilities = grid.segmentation(case.logits)
    else:
        mask, probabilities = maps.segmentation(case.logits, grid)
    if case.save_probabilities and probabilities is not None:
        with written_whole(outputs.npz) as temporary:
            np.savez_compressed(temporary, probabilities=probabilities)
        with written_whole(outputs.pkl) as temporary:
            save_pickle(grid.properties, str(temporary))
    if maps.uncertainty is not None and probabilities is not None:
        entropy = grid.placed_structures(maps.uncertainty)
        _export_uncertainty(maps, entropy, maps.heatmap(entropy, probabilities, grid), mask, grid, outputs)
    with written_whole(outputs.mask) as temporary:
        grid.plans.image_reader_writer_class().write_seg(mask, str(temporary), grid.properties)
        check_whole(temporary, outputs.mask)
    outputs.remove(unwanted_only=True)


def _export_uncertainty(
    maps: CaseMaps,
    entropy: np.ndarray,
    heatmap: np.ndarray,
    mask: np.ndarray,
    grid: ScanGrid,
    outputs: Outputs,
) -> None:
    structures = grid.structures
    write_map(heatmap, outputs.uncertainty_map, grid.properties, maps.measure)
    write_maps(entropy, outputs.uncertainty_per_class, grid.properties)
    stage1 = None if maps.stage1 is None else grid.segmentation(maps.stage1)[0]
    rows = structure_rows(mask, entropy, grid.properties["spacing"], structures, stage1, maps.agreement_limit)
    name = outputs.truncated.name
    save_json([{"case": name, **row, **_bounds(row, maps.calibration, grid)} for row in rows], outputs.rows)
    if not maps.inputs:
        return
    images, _ = grid.plans.image_reader_writer_class().read_images(maps.inputs)
    draw_scan(name, images[0], mask, heatmap, grid.properties, structures, outputs.overlay, maps.measure)


def draw_scan(
    name: str,
    image: np.ndarray,
    mask: np.ndarray,
    heatmap: np.ndarray,
    properties: dict[str, Any],
    structures: Structures,
    path: Path,
    measure: Measure = ENTROPY,
) -> None:
    """Draw the slice that shows most: image, mask and heatmap are (Z, Y, X) in the reader's order."""
    from ..plots.overlay import draw_overlay  # matplotlib takes a second to load

    view = view_of(mask, direction_of(properties), properties["spacing"])
    slices = view.of(np.stack([image, mask, heatmap]))
    draw_overlay(
        name,
        slices[0],
        slices[1],
        slices[2],
        view.spacing,
        view.letters,
        structures,
        path,
        measure=measure.name,
        highest=measure.highest,
    )


def _bounds(row: dict[str, Any], calibration: Calibration | None, grid: ScanGrid) -> dict[str, float]:
    """Compute bounds on the true area or volume, in the row's unit; empty if the model is not calibrated."""
    if calibration is None:
        return {}
    size = row["volume_mm3"] if np.isnan(row["area_mm2"]) else row["area_mm2"]
    low, high = area_bounds(size, calibration.area_quantiles[row["structure"]], grid.voxel_size())
    return {"area_low": float(low), "area_high": float(high)}
