"""The tests of findings in words and as a page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ...text import listed, markdown_table, mean_and_spread, number, p_value, with_interval
from ..findings import Gradings
from ..group_tests import ALPHA, CONVERGED, MIXED, WELCH
from ..pathology import small_groups


def notes_of(
    table: pd.DataFrame,
    levels: pd.DataFrame,
    scores: pd.DataFrame,
    level_scores: pd.DataFrame,
    gradings: Gradings,
    settings: Mapping[str, Any],
    left_out: Sequence[str],
) -> list[str]:
    """What was tested, how, and everything that was left out, a sentence each.

    Args:
        table, levels: of `evaluation.pathology`.
        scores, level_scores: of the systems that were tested.
        settings: of `report.pathology.Pathology`.
        left_out: of the evaluation.
    """
    return [
        *_method(table, scores, settings),
        *_levels(levels, level_scores, gradings, settings),
        *_left_out(settings, left_out),
        *_ungraded(gradings),
    ]


def as_markdown(table: pd.DataFrame, levels: pd.DataFrame, notes: Sequence[str]) -> str:
    """A page: the tables of all systems, what is significant in sentences, and the notes."""
    parts = ["# Findings and segmentation\n", *_sections(table, "structure", "Patients")]
    if not levels.empty:
        parts += _sections(levels.assign(structure="disc"), "structure", "Discs")
    parts += ["## Notes\n", "".join(f"- {note}\n" for note in notes)]
    return "\n".join(parts)


def _method(table: pd.DataFrame, scores: pd.DataFrame, settings: Mapping[str, Any]) -> list[str]:
    cases = len(scores[["system", "data", "case"]].drop_duplicates())
    findings, structures = table["finding"].nunique(), table["structure"].nunique()
    notes = [
        f"The family has {settings['tests']} tests ({findings} findings, {structures} structures, "
        f"{len(settings['systems'])} systems); {settings['not_made']} more could not be made, with the "
        f"reason in their row. All p-values are corrected together (Benjamini and Hochberg, {ALPHA:g}), "
        "which holds for tests that are independent or depend on each other positively.",
        f"{scores['patient'].nunique()} patients with {cases} predicted cases. "
        + (
            "A linear mixed model takes every case, with an intercept of its own for every patient and "
            "the contrast where there are several; means, spreads and g are those of the patients' means."
            if settings["mixed"]
            else "The cases of a patient are averaged first; then Welch's t-test, with the finding "
            "against without."
        ),
        f"Degeneration is a highest Pfirrmann grade of {settings['pfirrmann']} or more; every other "
        "finding counts at any level. g is Hedges' g with its 95 % interval, below 0 where Dice is lower "
        "with the finding.",
    ]
    if settings["mixed"]:
        fits = table.loc[table["p"].notna() & (table["test"] == WELCH), "fit"]
        counts = "; ".join(f"{n} times {fit.split(';')[0]}" for fit, n in fits.value_counts().items())
        made = int((table["test"] == MIXED).sum())
        notes.append(
            f"{made} mixed models converged" + (f", else Welch's t-test: {counts}." if counts else ".")
        )
    if few := small_groups(table):
        sizes = ", ".join(f"{finding} ({size})" for finding, size in few.items())
        notes.append(
            f"Fewer than 10 patients in the smaller group: {sizes}. Welch's p-values are too small then, "
            "above all where Dice is skewed: read them as a hint."
        )
    dims = scores.groupby(["system", "data"], sort=False)["dim"].nunique()
    for (name, data), n in dims.items():
        if n > 1:
            notes.append(
                f"{name}{f' ({data})' if data else ''} has single slices and volumes, averaged together."
            )
    return notes


def _levels(
    levels: pd.DataFrame, level_scores: pd.DataFrame, gradings: Gradings, settings: Mapping[str, Any]
) -> list[str]:
    if levels.empty:
        return ["Discs have no scores of their own in this evaluation, so nothing is tested level by level."]
    graded = set(gradings.by_level.index)
    scored = set(zip(level_scores["patient"], level_scores["level"], strict=True))
    relied = int((levels["fit"] == CONVERGED).sum())
    return [
        f"Discs are a family of their own with {settings['level_tests']} tests "
        f"({settings['levels_not_made']} could not be made). Discs of a patient are not independent "
        f"observations, so the patient is a random effect of a linear mixed model ({relied} converged; "
        "else least squares with errors clustered by patient, as `fit` states). A disc's Dice is the mean "
        "over the patient's cases. Nothing is adjusted for the level.",
        f"{len(scored & graded)} discs have both scores and gradings, {len(scored - graded)} only scores, "
        f"{len(graded - scored)} only gradings; Dice was in {int(level_scores['dice'].isna().sum())} rows "
        "of scores not defined and skipped.",
    ]


def _left_out(settings: Mapping[str, Any], left_out: Sequence[str]) -> list[str]:
    notes = []
    for key, what in (
        ("without_gradings", "have scores but no gradings"),
        ("without_scores", "have gradings but no scores"),
    ):
        patients = settings[key]
        notes.append(f"{len(patients)} patients {what}" + (f": {listed(patients)}." if patients else "."))
    skipped = {name: n for name, n in settings["skipped_dice"].items() if n}
    notes.append(
        "Dice was not defined (structure neither in label nor in prediction) and skipped "
        f"{sum(skipped.values())} times"
        + (f": {', '.join(f'{name} {n}' for name, n in skipped.items())}." if skipped else ".")
    )
    if missing := settings["missing_columns"]:
        notes.append(f"The gradings have no {', '.join(missing)}: what needs it is left out.")
    if left_out:
        notes.append(f"The evaluation itself left out {len(left_out)} cases: {listed(left_out, 3)}.")
    return notes


def _ungraded(gradings: Gradings) -> list[str]:
    return [
        f"{finding}: {row['discs']} discs have no grade; {row['unknown']} patients are unknown and in "
        f"neither group, {row['absent']} count as absent by the discs that were graded."
        for finding, row in gradings.incomplete().iterrows()
    ]


def _sections(table: pd.DataFrame, unit: str, what: str) -> list[str]:
    parts = []
    for (name, data), rows in table.groupby(["system", "data"], sort=False):
        shown = _readable(rows, unit)
        parts.append(f"## {what}: {name}{f' ({data})' if data else ''}\n")
        parts.append(f"{markdown_table(shown, zip(*shown.values(), strict=True))}\n")
        parts.append("".join(f"- {sentence}\n" for sentence in _sentences(rows, unit)))
    return parts


def _readable(rows: pd.DataFrame, unit: str) -> dict[str, list]:
    groups = {
        title: [
            f"{mean_and_spread(r[f'mean_{group}'], r[f'sd_{group}'], 3)} ({r[group]})"
            for _, r in rows.iterrows()
        ]
        for title, group in (("with", "present"), ("without", "absent"))
    }
    return {
        "Finding": rows["finding"].tolist(),
        "Structure": rows[unit].tolist(),
        **groups,
        "unknown": rows["unknown"].tolist(),
        **_effect(rows),
        "p": [p_value(p) for p in rows["p"]],
        "corrected p": [
            reason or (f"**{p_value(p)}**" if yes else p_value(p))
            for p, yes, reason in zip(rows["p_corrected"], rows["significant"], rows["reason"], strict=True)
        ],
        **({"fit": rows["fit"].tolist()} if rows["fit"].any() else {}),
    }


def _effect(rows: pd.DataFrame) -> dict[str, list[str]]:
    if "hedges_g" in rows:
        title, columns, digits = "g [95 %]", ("hedges_g", "g_low", "g_high"), 2
    else:
        title, columns, digits = "difference [95 %]", ("difference", "difference_low", "difference_high"), 3
    values = zip(*(rows[name] for name in columns), strict=True)
    return {title: [with_interval(mean, low, high, digits) for mean, low, high in values]}


def _sentences(rows: pd.DataFrame, unit: str) -> list[str]:
    found = rows[rows["significant"].astype(bool)]
    tested = int(rows["p"].notna().sum())
    sentences = [f"{len(found)} of {tested} tests are significant after correction."]
    for _, row in found.sort_values("p_corrected").iterrows():
        patients = "discs" if "patients_present" in rows else "patients"
        sentences.append(
            f"{row['finding']}: Dice of {row[unit]} is {'lower' if row['difference'] < 0 else 'higher'} by "
            f"{number(abs(row['difference']), 3)} ({number(row['difference_low'], 3)} to "
            f"{number(row['difference_high'], 3)}) in {row['present']} {patients} with it than in "
            f"{row['absent']} without it (corrected p {p_value(row['p_corrected'])})."
        )
    return sentences
