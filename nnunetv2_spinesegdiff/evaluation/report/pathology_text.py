"""The tests of findings in words and as a page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ...pages.cells import mean_and_spread, p_value, with_brackets, with_digits, with_interval, yes_or_no
from ...text import MISSING, listed, markdown_table, number, p_statement, spelled
from ..columns import label_of
from ..findings import Gradings
from ..group_tests import ALPHA, CONVERGED, MIXED, WELCH
from ..pathology import SYSTEM, small_groups

EFFECTS = {
    "Hedges' g": (("hedges_g", "g_low", "g_high"), 2),
    "Difference": (("difference", "difference_low", "difference_high"), 3),
}
"""Heading to columns and digits; the first one that a table has is shown."""


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
        scores, level_scores: of the tested systems.
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
    parts = ["# Findings and segmentation\n"]
    for what, whole in (("Patients", table), ("Discs", levels)):
        for name, rows in whole.groupby(SYSTEM, sort=False):
            shown = readable(rows)
            parts.append(f"## {what}: {label_of(name)}\n")
            parts.append(f"{markdown_table(shown, shown.to_numpy(object).tolist())}\n")
            parts.append("".join(f"- {sentence}\n" for sentence in _sentences(rows, what.lower())))
    parts += ["## Notes\n", "".join(f"- {note}\n" for note in notes)]
    return "\n".join(parts)


def readable(rows: pd.DataFrame) -> pd.DataFrame:
    """The tests of one system as cells, one row per test; columns that would be empty are left out.

    Args:
        rows: of `evaluation.pathology.PATHOLOGY_COLUMNS` or `LEVEL_COLUMNS`.
    """
    effect, (columns, digits) = next(found for found in EFFECTS.items() if found[1][0][0] in rows)
    lines = []
    for row in rows.to_dict("records"):
        groups = {
            heading: with_brackets(mean_and_spread(row[f"mean_{name}"], row[f"sd_{name}"], 3), row[name])
            for heading, name in (("With", "present"), ("Without", "absent"))
        }
        mean, low, high = (row[column] for column in columns)
        tested = not pd.isna(row["p_corrected"])
        lines.append(
            {
                "Finding": row["finding"],
                "Structure": spelled(row.get("structure", "")),
                **groups,
                "Unknown": row["unknown"],
                f"{effect} [95 % interval]": with_interval(mean, low, high, digits, signed=True),
                "t (df)": with_brackets(with_digits(row["t"], 2), number(row["df"], 1)),
                "p": p_value(row["p"]),
                "p (corrected)": p_value(row["p_corrected"]),
                "Significant": yes_or_no(row["significant"]) if tested else MISSING,
                "Not tested because": row["reason"],
                "Fit": row["fit"],
            }
        )
    shown = pd.DataFrame(lines)
    return shown.drop(columns=[name for name in shown if (shown[name] == "").all()])


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
    dims = scores.groupby(SYSTEM, sort=False)["dim"].nunique()
    mixed = [label_of(name) for name, number_of in dims.items() if number_of > 1]
    return notes + [f"{label} has single slices and volumes, averaged together." for label in mixed]


def _levels(
    levels: pd.DataFrame, level_scores: pd.DataFrame, gradings: Gradings, settings: Mapping[str, Any]
) -> list[str]:
    if levels.empty:
        return ["Discs have no scores of their own in this evaluation, so nothing is tested level by level."]
    graded = set(gradings.by_level.index)
    scored = set(zip(level_scores["patient"], level_scores["level"], strict=True))
    relied = int((levels["fit"] == CONVERGED).sum())
    undefined = int(level_scores["dice"].isna().sum())
    return [
        f"Discs are a family of their own with {settings['level_tests']} tests "
        f"({settings['levels_not_made']} could not be made). Discs of a patient are not independent, so the "
        f"patient is a random effect of a linear mixed model ({relied} converged; else least squares with "
        "errors clustered by patient (CR2), as `fit` states). A disc's Dice is the mean over the patient's "
        "cases. "
        "Nothing is adjusted for the level.",
        f"{len(scored & graded)} discs have both scores and gradings, {len(scored - graded)} only scores, "
        f"{len(graded - scored)} only gradings; Dice was not defined and skipped in {undefined} rows.",
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
        notes.append(f"The gradings have no {', '.join(missing)}: results that need it are omitted.")
    if left_out:
        notes.append(f"The evaluation itself skipped {len(left_out)} cases: {listed(left_out, 3)}.")
    return notes


def _ungraded(gradings: Gradings) -> list[str]:
    return [
        f"{finding}: {row['discs']} discs have no grade; {row['unknown']} patients are unknown and in "
        f"neither group, {row['absent']} count as absent by the discs that were graded."
        for finding, row in gradings.incomplete().iterrows()
    ]


def _sentences(rows: pd.DataFrame, what: str) -> list[str]:
    found = rows[rows["significant"].astype(bool)]
    sentences = [f"{len(found)} of {rows['p'].notna().sum()} tests are significant after correction."]
    for row in found.sort_values("p_corrected").to_dict("records"):
        low, high = (number(row[f"difference_{end}"], 3) for end in ("low", "high"))
        size = f"{'lower' if row['difference'] < 0 else 'higher'} by {number(abs(row['difference']), 3)}"
        sentences.append(
            f"{row['finding']}: Dice of {row.get('structure', 'disc')} is {size} ({low} to {high}) in "
            f"{row['present']} {what} with it than in {row['absent']} without it "
            f"(corrected {p_statement(row['p_corrected'])})."
        )
    return sentences
