"""From a SPIDER folder to an nnU-Net raw dataset with folds by patient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.text import reason_of
from nnunetv2_spinesegdiff.workers import done_by_workers

from . import defaults
from .cases import (
    EACH,
    SLICES,
    CaseFacts,
    CaseFiles,
    CaseSettings,
    NothingLabeledError,
    convert_case,
    finished_case,
    read_labeled_volume,
)
from .cohort_folds import CohortFolds, final_splits, keep_other_splits
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
from .geometry import DIMS
from .label_rules import PARTIAL_VERTEBRAE, check_ignore_label
from .report import ConversionReport, Failure
from .series import CONTRASTS, T2_SOURCES
from .spider import SpiderSeries, each_slice, find_series

CHOICES = {
    "contrast": CONTRASTS,
    "t2_source": T2_SOURCES,
    "partial_vertebrae": tuple(PARTIAL_VERTEBRAE),
    "slices": SLICES,
    "dim": DIMS,
}


def convert(
    spider: Path | Sequence[Path],
    dataset_id: int,
    *,
    dataset_name: str = defaults.DATASET_NAME,
    contrast: str = defaults.CONTRAST,
    t2_source: str = defaults.T2_SOURCE,
    partial_vertebrae: str = defaults.PARTIAL_VERTEBRAE,
    ignore_label: int | None = None,
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
    report; the others are converted, and dataset.json, cases.csv and splits_final.json list these alone.
    dataset.json is written last, so nnU-Net does not find an interrupted one.

    Args:
        spider: folder with `images` and `masks`, or several with different series.
        dataset_id: nnU-Net's number, 1..999.
        dataset_name: nnU-Net's name, letters, digits, _ and -.
        contrast: "t1", "t2" or "t1t2" (both as cases of their own), see `select_series`.
        t2_source: the T2w series to prefer, "t2" or "space"; the other stands in where it is missing. "both"
            takes both as cases of their own.
        partial_vertebrae: what SPIDER's partially visible vertebrae become: "vertebra", "background" or
            "ignore" (nnU-Net's ignore label).
        ignore_label: number in the masks of pixels that nobody annotated; they become nnU-Net's ignore label.
        max_oblique_deg: series whose slice normal is further from the left-right axis than this are in no
            validation list.
        splits: folds published elsewhere (see `published_splits`); by default five are drawn.
        slices: "middle"; "each" for every labeled sagittal slice as a case of its own; or "all" for every
            sagittal slice of a volume in one case.
        dim: "3d" writes 64 x 320 x 320 volumes of 1 mm instead, whatever `slices` is.
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
    chosen = (contrast, t2_source, partial_vertebrae, slices, dim)
    for value, (name, known) in zip(chosen, CHOICES.items(), strict=True):
        if value not in known:
            raise UserError(f"{name} {value!r}", "unknown", f"choose one of {', '.join(known)}")
    if not max_oblique_deg >= 0:
        raise UserError(f"max_oblique_deg {max_oblique_deg}", "must be an angle of at least 0 degrees")
    if num_processes < 1:
        raise UserError(f"num_processes {num_processes}", "must be at least 1")
    check_ignore_label(ignore_label)
    nnunet_raw, nnunet_preprocessed = Path(nnunet_raw), Path(nnunet_preprocessed)
    folder = dataset_folder_name(dataset_id, dataset_name)
    results = [] if nnunet_results is None else [Path(nnunet_results)]
    check_id_is_free(folder, nnunet_raw, nnunet_preprocessed, *results)
    check_folder_is_ours(nnunet_raw / folder)
    settings = CaseSettings(partial_vertebrae, slices, dim, ignore_label)
    listing = find_series(spider, contrast, t2_source)
    if settings.slices == EACH:
        listing = replace(listing, sources=[cut for source in listing.sources for cut in each_slice(source)])
        _check_unique(listing.sources)
    sources = listing.sources
    folds = CohortFolds.plan(listing, contrast, seed, splits)
    check_can_be_written(nnunet_raw / folder, nnunet_preprocessed / folder)

    report = ConversionReport(nnunet_raw / folder, nnunet_preprocessed / folder / "splits_final.json")
    ignored = listing.ignored
    report.note(
        "ignored_files",
        ignored,
        f"{len(ignored)} files are not named like a series of SPIDER and were skipped ({', '.join(ignored)})",
    )
    # Without dataset.json an earlier run was interrupted: what it changed, nobody knows any more.
    interrupted = not (report.dataset / "dataset.json").exists()
    before = recorded_cases(report.dataset)
    removed = remove_leftovers(report.dataset, [source.series.case for source in sources])
    report.note(
        "removed",
        removed,
        f"{report.dataset}: {len(removed)} cases of an earlier run with other options were removed",
    )
    _convert_all(report, sources, settings, num_processes)
    lost = before - {case.case for case in report.cases}
    if interrupted or lost or report.counts["converted"]:
        _forget_fingerprint(report)
    if not report.cases:
        remove_if_empty(report.dataset)
        return report
    final = final_splits(report, folds, max_oblique_deg)
    try:
        keep_other_splits(report, final)
        write_summaries(report.dataset, report.splits_file.parent, report.cases, final, settings)
    except OSError as error:
        cause = f"cannot be finished ({reason_of(error)})"
        raise UserError(report.dataset, cause, "check the disk, then run again") from error
    return report


def _check_unique(sources: list[SpiderSeries]) -> None:
    files: dict[str, Path] = {}
    for source in sources:
        other = files.setdefault(source.series.case, source.image)
        if other != source.image:
            raise UserError(
                source.image, f"holds the same slice {source.series.case} as {other}", "remove one"
            )


def _convert_all(
    report: ConversionReport, sources: list[SpiderSeries], settings: CaseSettings, num_processes: int
) -> None:
    finished = {source.series.case: finished_case(source, report.dataset, settings) for source in sources}
    results = {case: facts for case, facts in finished.items() if facts is not None}
    failures: dict[str, Failure] = {}
    unlabelled = []
    report.counts["kept"] = len(results)
    todo = [source for source in sources if source.series.case not in results]
    jobs = _run(todo, report.dataset, settings, num_processes)
    bar = tqdm(jobs, total=len(sources), initial=len(results), desc="Converting", unit="series")
    for source, outcome in bar:
        if outcome is None:
            unlabelled.append(source)
        elif isinstance(outcome, Failure):
            failures[source.series.case] = outcome
        else:
            results[source.series.case] = outcome
            report.counts["converted"] += 1
    # In the order of the input, whichever worker was first.
    order = [source.series.case for source in sources]
    report.cases += [results[case] for case in order if case in results]
    # All slices of an unreadable file fail with the same message.
    report.failures += {str(failures[case]): failures[case] for case in order if case in failures}.values()
    _report_unlabelled(report, unlabelled, {case.source for case in report.cases})


def _report_unlabelled(report: ConversionReport, unlabelled: list[SpiderSeries], converted: set[str]) -> None:
    """Note slices without labels; a file in which no slice has one is a failure."""
    for mask, name in {source.mask: source.series.file_name for source in unlabelled}.items():
        if name not in converted:
            error = UserError(mask, "no slice holds a labeled structure", "annotate it or remove the series")
            report.failures.append(Failure(name, str(error)))
    cases = [s.series.case for s in unlabelled if s.series.file_name in converted]
    report.note("unlabelled", cases, f"skipped slices without labels: {len(cases)} ({', '.join(cases)})")


Outcome = CaseFacts | Failure | None
"""Of converting a case; None for a slice without labels, which is skipped."""


def _run(
    sources: list[SpiderSeries], dataset: Path, settings: CaseSettings, num_processes: int
) -> Iterator[tuple[SpiderSeries, Outcome]]:
    # All slices of a file go to one worker, which reads it once.
    files = [list(group) for _, group in groupby(sources, key=lambda source: source.image)]
    work = partial(_convert_file, dataset=dataset, settings=settings)
    for _, outcomes in done_by_workers(work, files, num_processes, "finished cases"):
        yield from outcomes


def _convert_file(
    sources: list[SpiderSeries], dataset: Path, settings: CaseSettings
) -> list[tuple[SpiderSeries, Outcome]]:
    """Convert the cases of one image and its mask."""
    volume = _attempt(sources[0], lambda: read_labeled_volume(sources[0], settings))
    if isinstance(volume, Failure):
        for source in sources:  # of an earlier run, when the file was whole
            CaseFiles(dataset, source.series.case).remove()
        return [(source, volume) for source in sources]
    return [
        (source, _attempt(source, partial(convert_case, source, volume, dataset, settings)))
        for source in sources
    ]


def _attempt(source: SpiderSeries, work: Callable[[], Any]) -> Any:
    """The result of `work`; a `Failure` if it raises, and None if a single slice holds no label."""
    try:
        return work()
    except UserError as error:
        if isinstance(error, NothingLabeledError) and source.cut is not None:
            return None
        return Failure(source.series.file_name, str(error))
    except Exception as error:
        # Whatever it is, hours of other cases must not be lost over it.
        todo = "run again with a smaller -np" if isinstance(error, MemoryError) else "check it and its mask"
        cause = f"cannot be converted ({reason_of(error, with_type=True)})"
        return Failure(source.series.file_name, str(UserError(source.image, cause, todo)))


def _forget_fingerprint(report: ConversionReport) -> None:
    """Remove what nnU-Net would plan from again, though it was measured on other cases."""
    fingerprint = report.splits_file.parent / "dataset_fingerprint.json"
    if fingerprint.exists():
        fingerprint.unlink()
        report.notes.append(f"{fingerprint}: was out of date and has been removed; plan and preprocess again")
