"""Scores become tables: the paper's (mean and spread of every structure), means of cases, and counts."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ..pages.cells import mean_and_spread, with_brackets, with_digits
from ..text import markdown_table
from .columns import FOUND, Name, rows_of

HEADINGS = {
    "dice": "Dice",
    "jaccard": "Jaccard",
    "assd_mm": "average symmetric surface distance (ASSD) in mm",
    "hd95_mm": "95th percentile of the Hausdorff distance (HD95) in mm",
}
TITLES = {metric: heading[0].upper() + heading[1:] for metric, heading in HEADINGS.items()}
DIGITS = {"dice": 2, "jaccard": 2, "assd_mm": 2, "hd95_mm": 1}


def summary_table(scores: pd.DataFrame, names: Sequence[Name], metric: str = "dice") -> pd.DataFrame:
    """Mean and sample standard deviation over cases, one row per system and training data.

    Args:
        scores: columns `system`, `data`, `case`, `structure` and the metric; `dim` is shown where there is a
            3D case.
        names: systems, in the order of the table.
        metric: column of `scores`; NaN is left out, and counted by `<structure> n`.

    Returns:
        `system`, `data`, `dim` perhaps, `cases`, then `<structure> mean`, `sd` and `n` for all structures,
        and the mean over structures of their means, called mDICE for Dice. What no case has is NaN.
    """
    structures = list(dict.fromkeys(scores["structure"]))
    volumes = "dim" in scores and (scores["dim"] == "3D").any()
    lines = []
    for name in names:
        own = rows_of(scores, name)
        line: dict[str, object] = dict(zip(("system", "data"), name, strict=True))
        if volumes:
            line["dim"] = "/".join(sorted(set(own["dim"])))
        line["cases"] = own["case"].nunique()
        spread = own.groupby("structure")[metric].agg(["mean", "std", "count"]).reindex(structures)
        spread["count"] = spread["count"].fillna(0).astype(int)
        for structure, mean, sd, count in spread.itertuples():
            line |= {f"{structure} mean": mean, f"{structure} sd": sd, f"{structure} n": count}
        line[mean_name(metric)] = spread["mean"].mean()
        lines.append(line)
    return pd.DataFrame(lines)


def by_contrast(scores: pd.DataFrame, names: Sequence[Name]) -> tuple[pd.DataFrame, list[Name]]:
    """Give a system of unknown training data a row per contrast of its cases, and one for all contrasts.

    Args:
        scores: with `contrast`; empty where unknown.
        names: systems.

    Returns:
        Scores whose `data` is the contrast, and the names in them.
    """
    parts: list[pd.DataFrame] = []
    found: list[Name] = []
    for name in names:
        own = rows_of(scores, name)
        contrasts = {contrast: contrast or "unknown" for contrast in sorted(set(own["contrast"]))}
        if name[1] or len(contrasts) < 2:
            parts.append(own)
            found.append(name)
            continue
        whole = " + ".join(contrasts.values())
        parts += [own.assign(data=own["contrast"].map(contrasts)), own.assign(data=whole)]
        found += [(name[0], data) for data in (*contrasts.values(), whole)]
    return pd.concat(parts, ignore_index=True), found


def case_means(scores: pd.DataFrame) -> pd.Series:
    """Mean Dice over the structures of every case, the worst first; NaN comes last, ties are sorted by name.

    Args:
        scores: of one system, columns `case` and `dice`. A structure in neither mask (NaN) does not count.
    """
    return scores.groupby("case")["dice"].mean().sort_values(kind="stable", na_position="last")


def count_found(scores: pd.DataFrame, names: Sequence[Name]) -> pd.DataFrame:
    """Count cases by what was found, one row per system and structure.

    Args:
        scores: columns `system`, `data`, `structure` and `found`, one row per case and structure.
        names: systems, in the order of the rows.

    Returns:
        `system`, `data`, `structure`, `cases`, and a column for each of `FOUND`, which add up to `cases`.
    """
    found = pd.DataFrame({name: scores["found"] == name for name in FOUND.values()})
    counts = found.groupby([scores[key] for key in ("system", "data", "structure")], sort=False).sum()
    counts.insert(0, "cases", counts.sum(axis=1))
    counts = counts.reset_index()
    return pd.concat([rows_of(counts, name) for name in names], ignore_index=True)


def mean_name(metric: str) -> str:
    """The heading of the mean over structures."""
    return "mDICE" if metric == "dice" else "mean"


def structures_of(table: pd.DataFrame) -> list[str]:
    """The structures of a summary table."""
    return [column.removesuffix(" mean") for column in table if column.endswith(" mean")]


def as_csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, float_format="%.6f", na_rep="n/a")


def printed(
    table: pd.DataFrame, metric: str = "dice", transposed: bool = False, counts: bool = False
) -> pd.DataFrame:
    """Cells as in the paper's tables: two digits and the spread, mDICE with three digits.

    Args:
        transposed: one column per system instead of one row.
        counts: write the number of cases behind a mean that is over fewer cases than its row has.
    """
    digits = DIGITS[metric]
    lines = []
    for row in table.to_dict("records"):
        line = {"Model": row["system"], "Data": row["data"]} | ({"Dim": row["dim"]} if "dim" in row else {})
        for name in structures_of(table):
            cell = mean_and_spread(row[f"{name} mean"], row[f"{name} sd"], digits)
            some = counts and 0 < row[f"{name} n"] < row["cases"]
            line[name] = with_brackets(cell, row[f"{name} n"]) if some else cell
        mean = mean_name(metric)
        lines.append({**line, mean: with_digits(row[mean], digits + 1)})
    shown = without_empty(pd.DataFrame(lines))
    if not transposed:
        return shown
    turned = shown.T.reset_index()
    turned.columns = turned.iloc[0].tolist()
    return turned.iloc[1:].reset_index(drop=True)


def without_empty(table: pd.DataFrame) -> pd.DataFrame:
    """Drop the column "Data" where it is empty in all rows."""
    return table.drop(columns="Data") if (table["Data"] == "").all() else table


def as_markdown(lines: pd.DataFrame, title: str, notes: Sequence[str] = ()) -> str:
    """Printed lines under a title, notes beneath."""
    body = markdown_table(lines, lines.to_numpy(object).tolist())
    return "\n\n".join([title, body, *notes]) + "\n"


def as_latex(lines: pd.DataFrame, title: str, notes: Sequence[str] = ()) -> str:
    """Printed lines as a booktabs table: `\\input` it after `\\usepackage{booktabs}`."""
    caption = " ".join(text if text.endswith((".", "!", "?")) else f"{text}." for text in (title, *notes))
    body = lines.rename(columns=_escaped).map(_escaped)
    tabular = body.to_latex(index=False, escape=False, column_format="l" * len(lines.columns)).strip()
    return f"\\begin{{table}}\n\\centering\n\\caption{{{_escaped(caption)}}}\n{tabular}\n\\end{{table}}\n"


def cases_note(table: pd.DataFrame, of: str = "cases") -> str:
    """State what mean and spread are over."""
    counts = " or ".join(map(str, sorted(set(table["cases"]))))
    return f"mean ± standard deviation over the {of} ({counts} cases)"


def absence_note(scores: pd.DataFrame) -> str:
    """Count structures that are not in both label and prediction; empty where there are none."""
    words = {"missed": "missed", "false": "predicted though absent", "neither": "in neither"}
    counts = scores["found"].value_counts()
    listed = ", ".join(f"{counts[found]} {what}" for found, what in words.items() if found in counts)
    if not listed:
        return ""
    return (
        f"Of {len(scores)} structures, some are not in both label and prediction: {listed}. A structure in "
        "one of them has Dice and Jaccard 0 and no distances. A structure in neither has no score."
    )


_LATEX = {
    "\\": "\\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "±": "$\\pm$",
}


def _escaped(text: object) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in str(text))
