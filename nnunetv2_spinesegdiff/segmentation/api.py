"""Segmentation from Python: `from nnunetv2_spinesegdiff import SpineSegmenter`."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, SupportsIndex
from weakref import WeakSet

import SimpleITK as sitk
import torch

from ..errors import UserError
from ..images.finding import MOST_BYTES, find_scans, unique_names
from ..images.reading import read_scan, scan_of
from ..images.scan import Scan, ScanSource
from ..inference.settings import PredictionSettings
from ..sharing.opening import open_model
from .arguments import device_of, folds_of, no_scan, path_of, series_of, slices_of
from .folders import FoldersOfCalls
from .many import Failure, Given, ImageInMemory, segment_each
from .model import SliceModel
from .outputs import made_in
from .result import Segmentation
from .scratch import scratch_folder
from .segment import segment_scan
from .settings import SegmentationSettings


class SpineSegmenter:
    """A trained model that is loaded once and segments any number of scans.

    Nothing is printed. Do not use the same object in two threads at the same time.

    Examples:
        >>> from nnunetv2_spinesegdiff import SpineSegmenter, example_scans
        >>> t1w, t2w = example_scans()
        >>> with SpineSegmenter(preset="fast", device="cpu") as segmenter:
        ...     result = segmenter.segment(t2w)
        >>> result.mask.GetSize()
        (512, 649, 1)
        >>> int((result.table.structure == "ivd").sum()) > 5  # the structure itself, and its discs
        True
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        device: str | torch.device | None = None,
        folds: str | SupportsIndex | Iterable[str | SupportsIndex] | None = None,
        checkpoint: str | None = None,
        slices: str | SupportsIndex = "auto",
        series: str | SupportsIndex | None = None,
        any_plane: bool = False,
        lowest_disc: str | None = None,
        mirroring: bool = True,
        refine: bool = True,
        preset: str | None = None,
        precision: str = "auto",
        uncertainty_map: str = "error",
        **sampler: Any,
    ):
        """
        Args:
            model: name of a bundled model, zip written by `spinesegdiff export`, or folder of a trained model
                in nnUNet_results. The default is the bundled model "spider_lumbar". If a file has the name of
                a bundled model, write "./NAME" or give a `Path`.
            device: "cpu", "cuda", "cuda:1" or "mps". The default is a CUDA device if there is one, otherwise
                the CPU.
            folds: one fold (0, "0" or "all") or several. The default is every trained fold.
            checkpoint: file name of the checkpoint in each fold. The default is the final checkpoint.
            slices: sagittal slices to segment: "auto" (the midsagittal slice, found by its spinal canal),
                "middle", "all", or the number of a slice, counted from 0 at the patient's left.
            series: number, UID or description of a series in a DICOM exam, or number (from 1) of a volume in
                a NIfTI file. Needed only if several can be segmented.
            any_plane: also accept axial and coronal scans, whose sagittal slices are interpolated.
            lowest_disc: name of the lowest disc in the scans, such as "L5-S1", from which vertebrae and discs
                are named upward. The default infers it from the mask.
            mirroring: average the predictions of mirrored copies; False is faster and slightly less accurate.
            refine: refine stage 1 by diffusion; False returns stage 1 alone.
            preset: "fast", "balanced" or "paper", see `--preset`. The default is stored with the model.
            precision: "auto" (float16 on CUDA, float32 elsewhere), "float32" or "bfloat16".
            uncertainty_map: "error" (the probability that the label is wrong) or "paper" (equation 5, the
                largest entropy of the structures).
            sampler: single settings: `num_samples`, `t_start`, `ddim_steps`, `fusion_steps`, `eta`, `seed`
                and `stage1_weight`, see `SamplerSettings`.

        Raises:
            UserError: the model is missing, damaged or not trusted, or does not support an argument.
        """
        with ExitStack() as stack:
            self.settings = SegmentationSettings(
                slices=slices_of(slices),
                series=series_of(series),
                any_plane=any_plane,
                lowest_disc=lowest_disc,
                mirroring=mirroring,
                prediction=PredictionSettings(refine, preset, sampler, precision, True, uncertainty_map),
            )
            where = device_of(device)
            scratch = stack.enter_context(scratch_folder())
            opened = open_model(path_of(model), scratch, folds=folds_of(folds), checkpoint=checkpoint)
            self._model = SliceModel(opened, self.settings, where)
            self._folders = FoldersOfCalls(scratch)
            self._running = WeakSet[Generator[Segmentation | Failure]]()
            self._closed = False
            self._stack = stack.pop_all()

    def segment(self, scan: str | Path | sitk.Image, *, name: str | None = None) -> Segmentation:
        """Segment one scan.

        Args:
            scan: path of a file, of a DICOM folder or of a zip of one, or a 3D SimpleITK image. If it is a
                zip, save a DICOM segmentation before the next call, which removes the unpacked slices.
            name: name of the result, its files and its rows. The default is the name of the file or folder,
                or "scan" for an image.

        Returns:
            The mask and the uncertainty map on the scan's grid, and measurements in mm.

        Raises:
            UserError: the scan cannot be read, cannot be segmented, or the path holds several scans.

        Examples:
            >>> from nnunetv2_spinesegdiff import SpineSegmenter, example_scans
            >>> with SpineSegmenter(preset="fast", device="cpu") as segmenter:
            ...     result = segmenter.segment(example_scans()[1], name="patient_81")
            >>> result.name
            'patient_81'
        """
        self._check_open()
        if name is not None:
            _check_name(name)
        with self._folders.one() as folder:
            read = self._read(scan, folder, name)
            return segment_scan(read, self.settings.slices, self._model, self.settings.lowest_disc)

    def segment_each(
        self, scans: str | Path | sitk.Image | Iterable[str | Path | sitk.Image]
    ) -> Iterator[Segmentation | Failure]:
        """Segment many scans in order; the next scan is read while one is segmented.

        Scans from different paths may have the same name. Save their results into different folders. If a
        scan is a zip, save a DICOM segmentation before you ask for the next result.

        Args:
            scans: a folder, or any mixture of paths and images as for `segment`. Images are named scan_0,
                scan_1, ... by their position. They are copied, so you can change them afterwards.

        Returns:
            An iterator over the results. A scan that fails yields a `Failure`, and the next scan follows.

        Raises:
            UserError: the object was closed, or `scans` has another type.

        Examples:
            >>> from nnunetv2_spinesegdiff import SpineSegmenter, example_scans
            >>> with SpineSegmenter(device="cpu", refine=False) as segmenter:
            ...     for result in segmenter.segment_each([example_scans()[0], "missing.nii.gz"]):
            ...         print(type(result).__name__)
            Segmentation
            Failure
        """
        self._check_open()
        if isinstance(scans, str | os.PathLike | sitk.Image):
            scans = [scans]
        elif not isinstance(scans, Iterable):
            raise UserError(None, no_scan(scans))
        results = self._each(one for place, given in enumerate(scans) for one in _scans_of(given, place))
        self._running.add(results)
        return self._while_open(results)

    def close(self) -> None:
        """Remove temporary files; the end of a `with` block calls this. Later calls raise `UserError`."""
        self._closed = True
        try:
            for results in self._running:
                results.close()  # it reads the next scans into what is removed here
        finally:
            self._stack.close()

    def __enter__(self) -> SpineSegmenter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self, scan: str | Path | sitk.Image, folder: Path, name: str | None) -> Scan:
        if isinstance(scan, sitk.Image):
            return scan_of(scan, name or "scan", any_plane=self.settings.any_plane)
        if not isinstance(scan, str | os.PathLike):
            raise UserError(None, no_scan(scan))
        sources = find_scans(Path(scan), made_in)
        if len(sources) > 1:
            raise UserError(scan, f"holds {len(sources)} scans", "give one of them, or use segment_each")
        source = replace(sources[0], name=name or sources[0].name)
        return read_scan(source, folder, series=self.settings.series, any_plane=self.settings.any_plane)

    def _each(self, sources: Iterable[Given]) -> Generator[Segmentation | Failure]:
        with self._folders.one() as folder:
            for _, result in segment_each(sources, self._model, self.settings, folder, lambda done: done):
                yield result

    def _while_open(self, results: Iterable[Segmentation | Failure]) -> Iterator[Segmentation | Failure]:
        self._check_open()
        for result in results:
            yield result
            self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise UserError(None, "this SpineSegmenter was closed", "make a new one")


def _check_name(name: str) -> None:
    """Raise `UserError` for a name that no scan file could have."""
    if not isinstance(name, str) or not name.isprintable() or unique_names([PurePath(name)]) != [name]:
        raise UserError(
            f"name {name!r}",
            "cannot be a name of files",
            f"leave out slashes, endings and dots in front, and keep it below {MOST_BYTES} bytes",
        )


def _scans_of(given: str | Path | sitk.Image, place: int) -> Sequence[Given]:
    called = ScanSource(f"scan_{place}", Path(f"scan_{place}"), "file")
    if isinstance(given, sitk.Image):
        return [ImageInMemory(called, sitk.Image(given))]  # it is read later, and the caller may change it
    if not isinstance(given, str | os.PathLike):
        return [Failure(called, f"{called.path}: {no_scan(given)}")]
    path = Path(given)
    try:
        return find_scans(path, made_in)
    except UserError as error:
        return [Failure(ScanSource(path.name, path, "dicom" if path.is_dir() else "file"), str(error))]
