"""A scan or a folder of scans, segmented into an output folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from tqdm import tqdm

from .. import __version__
from ..errors import UserError, writing
from ..images.bids import DERIVATIVES, is_dataset, plane_of
from ..images.finding import FoundScans, contents_of, look_for_scans
from ..images.scan import ScanSource
from ..sharing.bundled import provenance
from ..sharing.opening import open_model
from ..text import listed
from .bids import check_layout, describe_dataset
from .many import Failure, segment_each
from .model import SliceModel
from .outputs import RECORDS, Formats, ScanOutputs, made_in
from .overview import OVERVIEW, is_foreign
from .participants import participants_of
from .result import Segmentation
from .scratch import scratch_folder
from .settings import SegmentationSettings
from .summary import remove_summary, scans_beside, write_summary

_SHOWN = 5


@dataclass(frozen=True)
class ModelChoice:
    """A trained model: results folder or exported zip, the folds to average, and where to run it."""

    path: Path
    folds: Sequence[str] | None = None
    checkpoint: str | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass
class Done:
    """Result of a cohort.

    Attributes:
        segmented, kept: names of the scans that are new, and of those that were finished already.
        notes: of the model.
        warnings: lines by the name of their scan.
        failures: scans without a result.
        passed_over: files among the scans that may be scans in formats that are not read.
        records: of the scans segmented and kept, by name; see `ScanOutputs.write`.
    """

    segmented: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: dict[str, list[str]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)

    def note(self, name: str, record: dict[str, Any] | Failure) -> None:
        """Add a scan by the record of its outputs, or its failure."""
        if isinstance(record, Failure):
            self.failures.append(record)
        else:
            self.segmented.append(name)
            self.records[name] = record
            self.warnings.update({name: record["warnings"]} if record["warnings"] else {})


def segment_cohort(
    scans: Path,
    out: Path,
    choice: ModelChoice,
    settings: SegmentationSettings,
    formats: Formats = Formats(),  # noqa: B008 - frozen
    *,
    part: tuple[int, int] = (0, 1),
    command: Sequence[str] = (),
    progress: bool = False,
) -> Done:
    """Segment every scan of a path that is not finished already, and write what is known of all of them.

    Args:
        scans: what `look_for_scans` takes. Of a BIDS dataset, the results are a derivative dataset.
        out: folder for the results; it may hold earlier ones.
        part: (number from 0, how many): every how-manieth scan is this part's.
        command: words for run.json.

    Raises:
        UserError: no scan or no usable model was found, or one folder is inside the other.
    """
    started = time.time()
    bids = scans.is_dir() and is_dataset(scans)
    _check_apart(scans, out, bids)
    check_layout(out, bids, used=any((out / RECORDS).glob("[!.]*.json")))
    with _reported(out):
        out.mkdir(parents=True, exist_ok=True)
    found = look_for_scans(scans, made_in)
    done = Done(passed_over=found.passed_over)
    if bids and not settings.any_plane:
        found = _sagittal(found, scans, done)
    sources = found.scans[part[0] :: part[1]]
    Thread(target=_load_ahead).start()
    with scratch_folder() as scratch:
        opened = open_model(choice.path, scratch, folds=choice.folds, checkpoint=choice.checkpoint)
        made_by = {
            "model": opened.sha256,
            "settings": settings.as_record(),
            "formats": vars(formats),
            "version": __version__,
        }
        made_from: dict[str, dict[str, Any]] = {}

        def look(source: ScanSource) -> dict[str, Any]:
            """What decides the results of a scan; its files are looked at once."""
            if source.name not in made_from:
                made_from[source.name] = {"scan": contents_of(source), **made_by}
            return made_from[source.name]

        def outputs_of(source: ScanSource) -> ScanOutputs:
            return ScanOutputs(out, source.name, bids)

        begun = [source for source in sources if outputs_of(source).record.path.exists()]
        for source in tqdm(begun, "Comparing", unit="scan", disable=not (progress and begun)):
            if kept := outputs_of(source).record.content_if_current(look(source)):
                done.kept.append(source.name)
                done.records[source.name] = kept
        todo = [source for source in sources if source.name not in done.kept]
        run = {
            "command": list(command),
            "model": {
                "name": opened.label,
                "sha256": opened.sha256,
                "folds": list(opened.folds),
                **provenance(choice.path),
            },
            "notes": done.notes,
            "passed_over": done.passed_over,
            "settings": settings.as_record(),
            "device": str(choice.device),
        }
        names = [source.name for source in found.scans]
        participants: dict[str, dict[str, str]] = {}
        if bids:
            participants, notes = participants_of(scans, names)
            done.notes.extend(notes)
            with _reported(out):
                describe_dataset(out, scans)
        with _summed_up(out, run, started, names, done, participants):
            if others := scans_beside(out, names):
                done.notes.append(_said_of_others(out, others))
            if is_foreign(out / OVERVIEW):
                done.notes.append(f"{out / OVERVIEW}: was not created by spinesegdiff and is not replaced")
            if not todo:
                return done
            with _reported(out):
                remove_summary(out)
            model = SliceModel(opened, settings, choice.device)
            done.notes.extend(model.notes)

            def write(segmentation: Segmentation) -> dict[str, Any]:
                source = segmentation.scan.source
                return outputs_of(source).write(segmentation, formats, made_from[source.name])

            results = segment_each(todo, model, settings, scratch, write, look)
            for source, record in tqdm(results, "Segmenting", len(todo), unit="scan", disable=not progress):
                done.note(source.name, record)
                if isinstance(record, Failure):
                    with _reported(out):
                        outputs_of(source).write_failure(record.reason, made_from.get(source.name))
    return done


def _load_ahead() -> None:
    """Load what numbers and draws a result while the model is unpacked, which mostly waits for the disk."""
    import skimage.feature
    import skimage.segmentation  # noqa: F401

    import nnunetv2_spinesegdiff.plots.overlay  # noqa: F401


def _said_of_others(out: Path, others: Sequence[str]) -> str:
    some = listed(others, _SHOWN)
    count = "1 scan" if len(others) == 1 else f"{len(others)} scans"
    return f"{out}: measurements.csv also holds {count} of earlier runs ({some})"


@contextmanager
def _summed_up(
    out: Path,
    run: Mapping[str, Any],
    started: float,
    names: Sequence[str],
    done: Done,
    participants: Mapping[str, Mapping[str, str]],
) -> Iterator[None]:
    """Afterwards write what is known of all scans, also where something ends the run before its time."""

    def sum_up(**more: Any) -> None:
        when = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(started))
        told = {**run, "started": when, "seconds": round(time.time() - started, 1), **more}
        with _reported(out):
            failures = {failed.source.name: failed.reason for failed in done.failures}
            write_summary(out, told, names, failures, done.records, participants)

    try:
        yield
    except BaseException:
        with suppress(UserError):
            sum_up(interrupted=True)
        raise
    sum_up()


def _reported(out: Path) -> AbstractContextManager[None]:
    todo = "make room, or choose another with -o; run again, finished scans are kept"
    return writing(out, todo)


def _check_apart(scans: Path, out: Path, bids: bool) -> None:
    """Results among the scans would be taken for scans the next time."""
    derivatives = scans / DERIVATIVES
    if bids and derivatives.resolve() in out.resolve().parents:
        return
    if scans.is_dir() and (out.resolve() == scans.resolve() or scans.resolve() in out.resolve().parents):
        advice = f"choose another with -o, such as {derivatives / 'spinesegdiff'}" if bids else ""
        raise UserError(out, f"is in the folder of the scans, {scans}", advice or "choose another with -o")


def _sagittal(found: FoundScans, dataset: Path, done: Done) -> FoundScans:
    """The scans of a BIDS dataset without axial and coronal ones, which are noted."""
    planes = {source.name: plane_of(source.path) for source in found.scans}
    others = [name for name, plane in planes.items() if plane not in (None, "sagittal")]
    if len(others) == len(planes):
        raise UserError(dataset, "holds only axial and coronal images", "accept them with --any_plane")
    if others:
        skipped = f"axial or coronal, {len(others)} skipped ({listed(others, _SHOWN)})"
        done.notes.append(f"{dataset}: {skipped}; --any_plane accepts them")
    return found._replace(scans=[source for source in found.scans if source.name not in others])
