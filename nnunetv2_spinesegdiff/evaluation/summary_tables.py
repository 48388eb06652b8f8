"""Scores become the paper's tables: mean and spread a structure, as CSV, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ..text import markdown_table, mean_and_spread, number

MEAN_DICE = "mDICE"
HEADINGS = {
    "dice": "Dice",
    "jaccard": "Jaccard",
    "assd_mm": "average symmetric surface distance (ASSD) in mm",
    "hd95_mm": "95th percentile of the Hausdorff distance (HD95) in mm",
}
DIGITS = {"dice": 2, "jaccard": 2, "assd_mm": 2, "hd95_mm": 1}


def summary_table(
    scores: pd.DataFrame, names: Sequence[tuple[str, str]], metric: str = "dice"
) -> pd.DataFrame:
    """Mean and sample standard deviation over cases, a row a system and what it was trained on.

    Args:
        scores: columns `system`, `data`, `case`, `structure` and the metric; `dim` is shown where there is a
            3D case.
        names: systems and data, in the table's order.
        metric: column of `scores`; NaN is left out, and counted by `<structure> n`.

    Returns:
        `system`, `data`, `dim` perhaps, `cases`, then `<structure> mean`, `sd` and `n` for all structures,
        and the mean over structures of their means, called mDICE for Dice. What no case has is NaN.
    """
    structures = list(dict.fromkeys(scores["structure"]))
    volumes = "dim" in scores and (scores["dim"] == "3D").any()
    lines = []
    for system, data in names:
        own = scores[(scores["system"] == system) & (scores["data"] == data)]
        line: dict[str, object] = {"system": system, "data": data}
        if volumes:
            line["dim"] = "/".join(sorted(set(own["dim"])))
        line["cases"] = own["case"].nunique()
        means = []
        for structure in structures:
            values = own.loc[own["structure"] == structure, metric].dropna()
            means.append(values.mean())
            line |= {f"{structure} mean": means[-1], f"{structure} sd": values.std(ddof=1)}
            line[f"{structure} n"] = len(values)
        line[mean_name(metric)] = pd.Series(means, dtype=float).mean()
        lines.append(line)
    return pd.DataFrame(lines)


def by_contrast(
    scores: pd.DataFrame, names: Sequence[tuple[str, str]]
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Give systems of which nobody said what they were trained on a row for every contrast of their cases,
    and one for all of them together.

    Args:
        scores: with `contrast`; empty where unknown.
        names: systems and data.

    Returns:
        Scores whose `data` tells the contrast, and the names in them.
    """
    parts, found = [], []
    for system, data in names:
        own = scores[(scores["system"] == system) & (scores["data"] == data)]
        contrasts = sorted(set(own["contrast"]))
        if data or len(contrasts) < 2:
            parts.append(own)
            found.append((system, data))
            continue
        told = [contrast or "unknown" for contrast in contrasts]
        for contrast, name in zip(contrasts, told, strict=True):
            parts.append(own[own["contrast"] == contrast].assign(data=name))
            found.append((system, name))
        parts.append(own.assign(data=" + ".join(told)))
        found.append((system, " + ".join(told)))
    return pd.concat(parts, ignore_index=True), found


def mean_name(metric: str) -> str:
    return MEAN_DICE if metric == "dice" else "mean"


def structures_of(table: pd.DataFrame) -> list[str]:
    """The structures of a summary table."""
    return [column.removesuffix(" mean") for column in table if column.endswith(" mean")]


def as_csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, float_format="%.6f", na_rep="n/a")


def printed(table: pd.DataFrame, metric: str = "dice", transposed: bool = False) -> pd.DataFrame:
    """As the paper prints it, in text: two digits and the spread, mDICE with three."""
    digits = DIGITS[metric]
    columns = {"Model": table["system"], "Data": table["data"]}
    if "dim" in table:
        columns["Dim"] = table["dim"]
    for name in structures_of(table):
        pairs = zip(table[f"{name} mean"], table[f"{name} sd"], strict=True)
        columns[name] = pd.Series([mean_and_spread(mean, spread, digits) for mean, spread in pairs])
    mean = mean_name(metric)
    columns[mean] = pd.Series([number(value, digits + 1) for value in table[mean]])
    made = pd.DataFrame(columns)
    if (made["Data"] == "").all():
        made = made.drop(columns="Data")
    if not transposed:
        return made
    turned = made.T.reset_index()
    turned.columns = turned.iloc[0].tolist()
    return turned.iloc[1:].reset_index(drop=True)


def as_markdown(lines: pd.DataFrame, title: str, notes: Sequence[str] = ()) -> str:
    """Printed lines under a title, notes beneath."""
    body = markdown_table(lines, lines.astype(str).to_numpy().tolist())
    return "\n\n".join([title, body, *notes]) + "\n"


def as_latex(lines: pd.DataFrame, title: str, notes: Sequence[str] = ()) -> str:
    """Printed lines as a booktabs table: `\\input` it where `\\usepackage{booktabs}` is in force."""
    caption = " ".join([_sentence(title), *map(_sentence, notes)])
    made = lines.rename(columns=_escaped).map(_escaped)
    made = made.to_latex(index=False, escape=False, column_format="l" * len(lines.columns))
    return "\n".join(
        [
            "\\begin{table}",
            "\\centering",
            f"\\caption{{{_escaped(caption)}}}",
            made.strip(),
            "\\end{table}",
            "",
        ]
    )


def cases_note(table: pd.DataFrame, of: str = "cases") -> str:
    """What mean and spread are over."""
    counts = " or ".join(map(str, sorted(set(table["cases"]))))
    return f"mean ± standard deviation over the {of} ({counts} cases)"


def absence_note(scores: pd.DataFrame) -> str:
    """How often a structure was in one of label and prediction only, or in neither; empty where never."""
    counts = {
        what: int((scores["found"] == found).sum())
        for found, what in (
            ("missed", "missed"),
            ("false", "predicted though absent"),
            ("neither", "in neither"),
        )
    }
    if not any(counts.values()):
        return ""
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return (
        f"Structures not in both label and prediction, of {len(scores)}: {told}. Where one is missing Dice "
        "and Jaccard are 0 and distances have no value; a structure in neither has no score."
    )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."


_LATEX = {
    "\\": "\\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "±": "$\\pm$",
}


def _escaped(text: object) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in str(text))
