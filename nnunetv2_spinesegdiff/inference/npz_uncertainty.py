"""Uncertainty maps of finished nnU-Net predictions, from the probabilities saved with the masks.

The geometry comes from the masks: the `.pkl` files that nnU-Net writes, too, are never opened, since
unpickling a stranger's file runs what is in it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from ..errors import UserError
from ..measures import ERROR, Measure
from ..text import reason_of
from ..uncertainty.confidence import error_probability, structure_rows, write_confidence
from .finished import UNCERTAINTY, is_whole
from .maps import check_supported, write_map, write_maps
from .pool import each_case
from .probabilities import read_probabilities
from .structures import channels_of, structures_of

_AGAIN = "predict this case again with --save_probabilities"


@dataclass(frozen=True)
class Prediction:
    """An output folder of `nnUNetv2_predict --save_probabilities`, and where its maps go.

    Attributes:
        folder: holds `<case>.npz`, the masks, `plans.json` and `dataset.json`.
        out: for maps, pictures and table.
        images: holds the scans, for pictures; None draws none.
        measure: what the map of a case shows.
        plans, dataset_json: the content of the two files.
    """

    folder: Path
    out: Path
    images: Path | None
    measure: Measure
    plans: dict[str, Any]
    dataset_json: dict[str, Any]

    @property
    def ending(self) -> str:
        return self.dataset_json["file_ending"]

    def cases(self) -> list[str]:
        """All cases that have probabilities or a mask, in order."""
        endings = (".npz", self.ending)
        return sorted({p.name.removesuffix(e) for e in endings for p in self.folder.glob(f"[!.]*{e}")})

    def outputs(self, case: str) -> tuple[Path, Path, Path]:
        """Map over all structures, maps a structure, picture."""
        endings = ("_uncertainty.nii.gz", "_uncertainty_per_class.nii.gz", "_overlay.png")
        one, per_class, overlay = (self.out / f"{case}{ending}" for ending in endings)
        return one, per_class, overlay


@dataclass
class Done:
    """Result of a folder.

    Attributes:
        out: the folder that was written to.
        rows: of confidence.csv, a case and structure each.
        failures: one line for every case without maps, with file and reason.
    """

    out: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def uncertainty_of_folder(
    folder: Path,
    out: Path | None = None,
    images: Path | None = None,
    num_processes: int = 1,
    measure: Measure = ERROR,
) -> Done:
    """Write maps, and confidence.csv over all cases; with `images` also one picture per case.

    A case that cannot be done is a failure, its outputs of an earlier run are removed, the others are done.

    Args:
        folder: output folder of `nnUNetv2_predict --save_probabilities`.
        out: default: the folder "uncertainty" in `folder`.
        images: folder of the scans, `<case>_0000` with the dataset's file ending.
        measure: what the map of a case shows: `ERROR`, or `ENTROPY`, the largest one of the structures.

    Raises:
        UserError: there are no probabilities, plans or dataset.json, the reader of the scans does not
            report their position, or `out` already exists.
    """
    prediction = _opened(folder, out or folder / UNCERTAINTY, images, measure)
    done = Done(prediction.out)
    work = partial(_attempt, prediction)
    results = dict(each_case(work, prediction.cases(), num_processes, "Uncertainty"))
    for case in sorted(results):
        rows, failure = results[case]
        done.rows += rows
        done.failures += [failure] if failure else []
    table = prediction.out / "confidence.csv"
    if done.rows:
        write_confidence(done.rows, table)
    else:
        table.unlink(missing_ok=True)
    return done


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """-p log p in nats, [0, 1/e], float32, of the shape of `probabilities`; 0 log 0 counts as 0."""
    p = np.clip(probabilities.astype(np.float32, copy=False), np.finfo(np.float32).tiny, 1)
    return np.abs(p * np.log(p))


# --- folder ----------------------------------------------------------------------------------------------


def _opened(folder: Path, out: Path, images: Path | None, measure: Measure) -> Prediction:
    if not folder.is_dir():
        raise UserError(folder, "no such folder", "name the output folder of nnUNetv2_predict")
    if not any(folder.glob("*.npz")):
        raise UserError(folder, "holds no probabilities (.npz)", "predict with --save_probabilities")
    if out.resolve() == folder.resolve():
        raise UserError(
            out, "holds the masks, and maps next to them would be taken for masks", "choose another -o"
        )
    if (out / ".rows").exists():
        raise UserError(out, "holds the maps of a prediction with --save_uncertainty", "choose another -o")
    if images is not None and not images.is_dir():
        raise UserError(images, "no such folder", "name the one that holds the scans")
    plans = _read(folder / "plans.json", "image_reader_writer")
    check_supported(plans["image_reader_writer"])
    dataset_json = _read(folder / "dataset.json", "labels", "file_ending")
    return Prediction(folder, out, images, measure, plans, dataset_json)


def _read(path: Path, *keys: str) -> dict[str, Any]:
    todo = "copy it from the folder of the trained model"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(path, "is missing", todo) from None
    except ValueError as error:
        raise UserError(path, f"not valid JSON ({error})", todo) from error
    for key in keys:
        if not isinstance(content, dict) or key not in content:
            raise UserError(path, f"has no {key!r}", todo)
    return content


Result = tuple[list[dict[str, Any]], str | None]
"""Rows of a case, or none and its failure."""


# --- case ------------------------------------------------------------------------------------------------


def _attempt(prediction: Prediction, case: str) -> Result:
    try:
        return _write_case(prediction, case), None
    except UserError as error:
        failure = str(error)
    except Exception as error:
        # Whatever it is, the other cases must not be lost over it.
        todo = "run again with a smaller -np" if isinstance(error, MemoryError) else _AGAIN
        failure = f"{prediction.folder / case}: {reason_of(error, with_type=True)}; {todo}"
    for path in prediction.outputs(case):
        path.unlink(missing_ok=True)
    return [], failure


def _write_case(prediction: Prediction, case: str) -> list[dict[str, Any]]:
    plans = PlansManager(prediction.plans)
    labels = plans.get_label_manager(prediction.dataset_json)
    structures = structures_of(labels, prediction.dataset_json)
    reader = plans.image_reader_writer_class()
    mask, properties = _read_mask(prediction.folder / f"{case}{prediction.ending}", reader)
    shape = (labels.num_segmentation_heads, *mask.shape)
    probabilities = read_probabilities(prediction.folder / f"{case}.npz", shape, _AGAIN)
    maps = entropy(probabilities[channels_of(labels)])
    if prediction.measure == ERROR:
        heatmap = error_probability(probabilities, labels.has_regions)
    else:
        heatmap = maps.max(0)
    one, per_class, overlay = prediction.outputs(case)
    if prediction.images is None:
        overlay.unlink(missing_ok=True)
    else:
        from .export import draw_scan  # for pictures alone

        image = _read_scan(prediction.images / f"{case}_0000{prediction.ending}", reader, mask.shape)
        draw_scan(case, image, mask, heatmap, properties, structures, overlay, prediction.measure)
    write_map(heatmap, one, properties, prediction.measure)
    write_maps(maps, per_class, properties)
    return [{"case": case, **row} for row in structure_rows(mask, maps, properties["spacing"], structures)]


def _read_mask(path: Path, reader: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Label map (Z, Y, X) and properties in the reader's order, which is that of the probabilities."""
    if not path.is_file():
        raise UserError(path, "there is no mask", f"{_AGAIN}")
    if not is_whole(path):
        raise UserError(path, f"cannot be read, is it truncated? {_AGAIN}")
    array, properties = reader.read_seg(str(path))
    return array[0].round().astype(np.int64), properties


def _read_scan(path: Path, reader: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Voxels (Z, Y, X), which must have the shape of the mask."""
    if not path.is_file():
        raise UserError(path, "there is no scan of this name", "check --images, or leave it out")
    if not is_whole(path):
        raise UserError(path, "cannot be read, is it truncated? Check --images, or leave it out")
    image = reader.read_images([str(path)])[0][0]
    if image.shape != shape:
        raise UserError(path, f"has shape {image.shape}, its mask {shape}", "check --images")
    return image
