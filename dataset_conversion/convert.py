"""From a SPIDER folder to an nnU-Net raw dataset with folds by patient."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import SimpleITK as sitk
from tqdm import tqdm

from nnunetv2_spinesegdiff.errors import UserError

from . import defaults
from .cases import CaseFacts, CaseSettings, convert_case, finished_case, last_line
from .dataset_folder import (
    check_can_be_written,
    check_folder_is_ours,
    check_id_is_free,
    dataset_folder_name,
    recorded_cases,
    remove_if_empty,
    remove_leftovers,
    write_summaries,
)
from .folds import NUM_FOLDS, Splits, patient_folds, splits_by_patient, without_validation_of
from .geometry import DIMS, SLICES
from .label_rules import PARTIAL_VERTEBRAE
from .published_splits import (
    PublishedFold,
    apply_published_folds,
    names_without_series,
    read_published_folds,
    series_without_name,
)
from .series import CONTRASTS, T2_SOURCES, Series
from .spider import Listing, SpiderSeries, find_series


@dataclass(frozen=True)
class Failure:
    """Something that was left out, with the reason and what to do, in one line that names the file."""

    file: str
    reason: str

    def __str__(self) -> str:
        return self.reason


@dataclass
class ConversionReport:
    """What a conversion did.

    Attributes:
        dataset: folder of the raw dataset.
        splits_file: the splits_final.json that training reads.
        cases: the cases of the dataset, by patient; empty if there is no dataset.
        failures: what is missing from it. Not empty means exit status 1, though the dataset stands.
        notes: sentences for the log: everything that was decided about a case and is no failure.
        counts: numbers behind the notes: `converted`, `kept` (whole from an earlier run), `removed` (of an
            earlier run with other options), `oblique` (left out of validation), `not_in_splits`,
            `only_in_splits`, `ignored_files`.
    """

    dataset: Path
    splits_file: Path
    cases: list[CaseFacts] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def convert(
    spider: Path,
    dataset_id: int,
    *,
    dataset_name: str = defaults.DATASET_NAME,
    contrast: str = defaults.CONTRAST,
    t2_source: str = defaults.T2_SOURCE,
    partial_vertebrae: str = defaults.PARTIAL_VERTEBRAE,
    max_oblique_deg: float = defaults.MAX_OBLIQUE_DEG,
    splits: Path | None = None,
    slices: str = defaults.SLICES,
    dim: str = defaults.DIM,
    num_processes: int = defaults.NUM_PROCESSES,
    seed: int = defaults.SEED,
    nnunet_raw: Path,
    nnunet_preprocessed: Path,
    nnunet_results: Path | None = None,
) -> ConversionReport:
    """Convert SPIDER into an nnU-Net raw dataset, case by case, and write its folds.

    Cases that an earlier run finished with the same settings are kept. An unusable series is a failure of the
    report; the others are converted, and dataset.json, cases.csv and splits_final.json tell of these alone.
    While a conversion runs there is no dataset.json, so that an interrupted one is no dataset to nnU-Net.

    Args:
        spider: folder with `images` and `masks`.
        dataset_id: nnU-Net's number, 1..999.
        dataset_name: nnU-Net's name, letters, digits, _ and -.
        contrast: "t1", "t2" or "t1t2" (both as cases of their own), see `select_series`.
        t2_source: the T2w series to prefer, "t2" or "space"; the other stands in where it is missing.
        partial_vertebrae: what SPIDER's partially visible vertebrae become: "vertebra", "background" or
            "ignore" (nnU-Net's ignore label).
        max_oblique_deg: series whose slice normal is further from the left-right axis than this are in no
            validation list.
        splits: folds published elsewhere (see `published_splits`); by default five are drawn.
        slices: "middle", or "all" for every sagittal slice of a volume in one case.
        dim: "3d" writes 64 x 320 x 320 volumes of 1 mm instead, whatever `slices` says.
        num_processes: workers; 1 works in this process.
        seed: of the folds, which are dealt over all patients of the folder, whatever the contrast.
        nnunet_raw, nnunet_preprocessed: nnU-Net's folders; made if missing.
        nnunet_results: its third folder, where the id must not belong to another dataset, either.

    Returns:
        The report.

    Raises:
        UserError: the input, the target or an option is wrong as a whole, and nothing has been changed; or
            the work was cut short, by a worker that was killed or a disk that is full. Then there is no
            dataset.json, finished cases are kept, and the same call goes on from there.
    """
    _check_options(contrast, t2_source, partial_vertebrae, slices, dim, max_oblique_deg, num_processes)
    spider, nnunet_raw, nnunet_preprocessed = Path(spider), Path(nnunet_raw), Path(nnunet_preprocessed)
    folder = dataset_folder_name(dataset_id, dataset_name)
    results = [] if nnunet_results is None else [Path(nnunet_results)]
    check_id_is_free(folder, nnunet_raw, nnunet_preprocessed, *results)
    check_folder_is_ours(nnunet_raw / folder)
    listing = find_series(spider, contrast, t2_source)
    sources = listing.sources
    folds = _Folds.plan(listing, contrast, seed, splits)
    check_can_be_written(nnunet_raw / folder, nnunet_preprocessed / folder)

    report = ConversionReport(nnunet_raw / folder, nnunet_preprocessed / folder / "splits_final.json")
    _note_ignored(report, spider, listing.ignored)
    # Without dataset.json an earlier run was interrupted: what it changed, nobody knows any more.
    interrupted = not (report.dataset / "dataset.json").exists()
    before = recorded_cases(report.dataset)
    _note_removed(report, remove_leftovers(report.dataset, [source.series.case for source in sources]))
    settings = CaseSettings(partial_vertebrae, slices, dim)
    _convert_all(report, sources, settings, num_processes)
    lost = before - {case.case for case in report.cases}
    if interrupted or lost or report.counts["converted"]:
        _forget_fingerprint(report)
    if not report.cases:
        remove_if_empty(report.dataset)
        return report
    final = _final_splits(report, folds, max_oblique_deg)
    try:
        _keep_other_splits(report, final)
        write_summaries(report.dataset, report.splits_file.parent, report.cases, final, partial_vertebrae)
    except OSError as error:
        raise UserError(
            f"{report.dataset}: cannot be finished ({last_line(error)}): check the disk, then run again"
        ) from error
    return report


@dataclass(frozen=True)
class _Folds:
    """Folds over every patient of the cohort, before it is known which series are usable.

    Dealt over the whole cohort, they stay the same when a broken file is repaired and converted later, and
    whichever contrast is converted.
    """

    series: list[Series]
    drawn: list[list[str]] | None
    published: list[PublishedFold] | None
    file: Path | None

    @classmethod
    def plan(cls, listing: Listing, contrast: str, seed: int, file: Path | None) -> _Folds:
        series = [source.series for source in listing.sources]
        if file is not None:
            published = read_published_folds(Path(file))
            if not any(fold["train"] and fold["val"] for fold in apply_published_folds(published, series)):
                raise UserError(f"{file}: names none of the patients at hand: give the folds of this cohort")
            return cls(series, None, published, Path(file))
        if len(listing.contrasts) < NUM_FOLDS:
            raise UserError(
                f"{len(listing.contrasts)} patients are too few for {NUM_FOLDS} folds: add some, "
                "or name folds of your own with --splits"
            )
        drawn = patient_folds(listing.contrasts, seed, stratum=listing.stratum)
        at_hand = {s.patient for s in series}
        for number, fold in enumerate(drawn):
            if at_hand.isdisjoint(fold):
                raise UserError(
                    f"fold {number} holds no patient with a series of contrast {contrast}: choose another "
                    "--contrast, or name folds of your own with --splits"
                )
        return cls(series, drawn, None, None)

    def splits(self, patient_of: dict[str, str]) -> Splits:
        if self.published is None:
            return splits_by_patient(patient_of, self.drawn or [])
        return apply_published_folds(self.published, [s for s in self.series if s.case in patient_of])


def _check_options(
    contrast: str,
    t2_source: str,
    partial_vertebrae: str,
    slices: str,
    dim: str,
    max_oblique_deg: float,
    num_processes: int,
) -> None:
    for name, value, known in (
        ("contrast", contrast, CONTRASTS),
        ("t2_source", t2_source, T2_SOURCES),
        ("partial_vertebrae", partial_vertebrae, tuple(PARTIAL_VERTEBRAE)),
        ("slices", slices, SLICES),
        ("dim", dim, DIMS),
    ):
        if value not in known:
            raise UserError(f"{name} {value!r}: choose one of {', '.join(known)}")
    if not max_oblique_deg >= 0:
        raise UserError(f"max_oblique_deg {max_oblique_deg}: give an angle of at least 0 degrees")
    if num_processes < 1:
        raise UserError(f"num_processes {num_processes}: give at least 1")


def _convert_all(
    report: ConversionReport, sources: list[SpiderSeries], settings: CaseSettings, num_processes: int
) -> None:
    results: dict[str, CaseFacts] = {}
    failures: dict[str, Failure] = {}
    todo = []
    for source in sources:
        facts = finished_case(source, report.dataset, settings)
        if facts is None:
            todo.append(source)
        else:
            results[source.series.case] = facts
    report.counts["kept"] = len(results)
    jobs = _run(todo, report.dataset, settings, num_processes)
    bar = tqdm(jobs, total=len(sources), initial=len(results), desc="Converting", unit="series")
    for source, outcome in bar:
        if isinstance(outcome, Failure):
            failures[source.series.case] = outcome
        else:
            results[source.series.case] = outcome
            report.counts["converted"] += 1
    # In the order of the input, whichever worker was first.
    order = [source.series.case for source in sources]
    report.cases += [results[case] for case in order if case in results]
    report.failures += [failures[case] for case in order if case in failures]


def _run(
    sources: list[SpiderSeries], dataset: Path, settings: CaseSettings, num_processes: int
) -> Iterator[tuple[SpiderSeries, CaseFacts | Failure]]:
    if num_processes == 1 or len(sources) < 2:
        for source in sources:
            yield source, _attempt(source, dataset, settings)
        return
    workers = min(num_processes, len(sources))
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start_worker) as pool:
        try:
            jobs = {pool.submit(_attempt, source, dataset, settings): source for source in sources}
            for job in as_completed(jobs):
                yield jobs[job], job.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker was killed, most likely for want of memory: run again with a smaller "
                "-np; finished cases are kept"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    # One process a core is enough; threads on top of that only get in each other's way.
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _attempt(source: SpiderSeries, dataset: Path, settings: CaseSettings) -> CaseFacts | Failure:
    try:
        return convert_case(source, dataset, settings)
    except UserError as error:
        return Failure(source.series.file_name, str(error))
    except Exception as error:
        # Whatever it is, hours of other cases must not be lost over it.
        todo = "run again with a smaller -np" if isinstance(error, MemoryError) else "check it and its mask"
        reason = f"{source.image}: cannot be converted ({type(error).__name__}: {last_line(error)}): {todo}"
        return Failure(source.series.file_name, reason)


def _final_splits(report: ConversionReport, folds: _Folds, max_oblique_deg: float) -> Splits:
    splits = folds.splits({case.case: case.patient for case in report.cases})
    oblique = [case.case for case in report.cases if case.obliquity_deg > max_oblique_deg]
    splits = without_validation_of(splits, oblique)
    _note_oblique(report, oblique, max_oblique_deg)
    if folds.published is not None:
        _note_published(report, folds)
    for number, fold in enumerate(splits):
        for side in ("train", "val"):
            if not fold[side]:
                report.failures.append(
                    Failure(
                        str(report.splits_file),
                        f"{report.splits_file}: fold {number} has no {side} case left and cannot be trained: "
                        "repair the series that failed, raise --max_oblique_deg or choose other folds",
                    )
                )
    return splits


def _note_oblique(report: ConversionReport, oblique: list[str], max_oblique_deg: float) -> None:
    report.counts["oblique"] = len(oblique)
    report.notes.append(
        f"{len(oblique)} of {len(report.cases)} series are more than {max_oblique_deg:g} degrees oblique: "
        "they are trained on and in no validation list" + (f" ({', '.join(oblique)})" if oblique else "")
    )


def _note_published(report: ConversionReport, folds: _Folds) -> None:
    published = folds.published or []
    only_in_file = names_without_series(published, folds.series)
    not_in_file = series_without_name(published, folds.series)
    report.counts["only_in_splits"] = len(only_in_file)
    report.counts["not_in_splits"] = len(not_in_file)
    if only_in_file:
        report.notes.append(f"{folds.file}: {len(only_in_file)} of its names have no series here: dropped")
    if not_in_file:
        report.notes.append(
            f"{folds.file}: does not name {len(not_in_file)} of the cases, which are in no fold, neither "
            f"trained nor validated on ({', '.join(not_in_file)})"
        )


def _note_ignored(report: ConversionReport, spider: Path, ignored: list[str]) -> None:
    report.counts["ignored_files"] = len(ignored)
    if ignored:
        report.notes.append(
            f"{spider}: {len(ignored)} files are not named like a series of SPIDER and were "
            f"passed over ({', '.join(ignored)})"
        )


def _note_removed(report: ConversionReport, removed: list[str]) -> None:
    report.counts["removed"] = len(removed)
    if removed:
        report.notes.append(
            f"{report.dataset}: {len(removed)} cases of an earlier run with other options were removed"
        )


def _forget_fingerprint(report: ConversionReport) -> None:
    """Remove what nnU-Net would plan from again, though it was measured on other cases."""
    fingerprint = report.splits_file.parent / "dataset_fingerprint.json"
    if fingerprint.exists():
        fingerprint.unlink()
        report.notes.append(
            f"{fingerprint}: was out of date and has been removed: run nnU-Net's planning and "
            "preprocessing again"
        )


def _keep_other_splits(report: ConversionReport, splits: Splits) -> None:
    """Move differing folds of an earlier run, or edited by hand, out of the way of the new ones."""
    try:
        same = json.loads(report.splits_file.read_text(encoding="utf-8")) == splits
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        same = False
    if not same:
        kept = report.splits_file.with_name("splits_final.previous.json")
        report.splits_file.replace(kept)
        report.notes.append(
            f"{report.splits_file}: held other folds, which are replaced and kept as {kept.name}: to train "
            "with folds of your own, name their file with --splits"
        )
