"""Is one system better? Every difference with its interval, and beside it what the controls say."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from ...text import MINUS, p_statement
from ..claims import HIGHER_IS_BETTER, Claim, Difference, claims_of, differences_of
from .cells import p_value, plain, with_interval
from .page import Section, Table
from .result_sections import METRICS

TITLE = "Is it better?"
NO_CONTROL = "No control was evaluated: a difference may come from more training alone."
DIGITS = 3
FEWEST = 6
"""Of fewer patients Wilcoxon's p is never below 0.05."""

Name = tuple[str, str]


def claim_section(comparisons: pd.DataFrame | None, controls: Collection[Name], systems: int) -> Section:
    """Differences between the proposed systems, each judged with the controls, and between them and controls.

    Args:
        comparisons: as for `evaluation.claims.claims_of`; None where none were made.
        controls: the systems that others are held against.
        systems: how many were evaluated.
    """
    warnings = () if controls else (NO_CONTROL,)
    if comparisons is None or comparisons.empty:
        why = (
            "Only one system was evaluated: there is nothing to compare it with."
            if systems < 2
            else "No differences are given: the systems have no cases in common, or were not compared."
        )
        return Section(TITLE, (why,), warnings)
    claims = claims_of(comparisons, controls)
    against = [d for d in differences_of(comparisons) if d.of in controls or d.than in controls]
    blocks = [
        _claims_table([c for c in claims if c.difference.metric == metric], metric, controls)
        for metric in HIGHER_IS_BETTER
        if any(c.difference.metric == metric for c in claims)
    ]
    if against:
        blocks.append(_controls_table(against, controls))
    text = (_counted(claims, controls), _HOW, *_not_compared(comparisons))
    return Section(TITLE, text, warnings, tuple(blocks))


def _not_compared(comparisons: pd.DataFrame) -> tuple[str, ...]:
    """Of distances, which exist only where both systems found the structure."""
    distances = comparisons[~comparisons["metric"].map(HIGHER_IS_BETTER).astype(bool)]
    dropped = int(distances["not_compared"].sum()) if "not_compared" in distances else 0
    if not dropped:
        return ()
    return (
        f"Where one of two systems missed a structure there is no distance: {dropped} times a case is not "
        "compared, which favours a system that misses what is hard.",
    )


_HOW = (
    "A difference is the mean over patients of the first system minus the second, with its 95 % interval "
    "(bootstrap over patients); a patient's cases are averaged first. p is of Wilcoxon's signed-rank test, "
    "corrected after Holm over all differences. Only what is better than every control, too, can be the "
    "method's; and what shows no difference has not been shown to be equal."
)


def _counted(claims: Sequence[Claim], controls: Collection[Name]) -> str:
    if not claims:
        return "Only controls were compared: there is no claim to judge."
    shown = sum(claim.difference.significant for claim in claims)
    differences = "1 difference" if len(claims) == 1 else f"{len(claims)} differences"
    told = f"Of {differences} between proposed systems {shown} {_are(shown)} significant"
    if not controls:
        return f"{told}."
    stands = sum(claim.stands for claim in claims)
    return f"{told}; in {stands} of these the better system is better than every control, too."


def _claims_table(claims: Sequence[Claim], metric: str, controls: Collection[Name]) -> Table:
    rows = []
    for claim in claims:
        beside = [_told(held) for held in claim.controls]
        beside += [f"not compared with {_label(name)}" for name in claim.unmet]
        line = _line(claim.difference)
        rows.append(
            {
                # The judgement comes first: a narrow screen shows it with the difference.
                **{heading: line.pop(heading) for heading in ("Structure", "Difference of")},
                "In words": _verdict(claim, controls),
                **line,
                "Against the controls": "\n".join(beside) or "none evaluated",
            }
        )
    return Table(pd.DataFrame(rows), f"{METRICS[metric]}: differences between the proposed systems")


def _controls_table(differences: Sequence[Difference], controls: Collection[Name]) -> Table:
    """A control is what something else is held against, unless both are controls."""
    turned = [d.turned() if d.of in controls and d.than not in controls else d for d in differences]
    rows = [
        {"Metric": METRICS[d.metric].partition(" (")[0], **_line(d), "Significant": d.significant}
        for d in turned
    ]
    return Table(pd.DataFrame(rows), "Differences from the controls")


def _line(d: Difference) -> dict[str, object]:
    return {
        "Structure": plain(d.structure),
        "Difference of": f"{_label(d.of)} {MINUS} {_label(d.than)}",
        "Patients": d.patients,
        "Mean [95 % interval]": with_interval(d.mean, d.low, d.high, DIGITS, signed=True),
        "p (corrected)": p_value(d.p),
    }


def _told(held: Difference) -> str:
    mean = with_interval(held.mean, held.low, held.high, DIGITS, signed=True).text
    return f"{_label(held.of)} {MINUS} {_label(held.than)}: {mean}, {p_statement(held.p)}"


def _verdict(claim: Claim, controls: Collection[Name]) -> str:
    difference = claim.difference
    if not difference.significant and difference.patients < FEWEST:
        return "too few patients"
    if difference.p != difference.p:
        return "not tested"
    if not difference.significant:
        return "no difference shown"
    better = f"{_label(difference.of)} is better"
    if claim.stands:
        return f"{better}, also than every control"
    equal = [_label(held.than) for held in claim.controls if not held.better]
    if equal:
        return f"{better}, but not than {' and '.join(equal)}: more training alone may explain it"
    if claim.unmet:
        return f"{better}; not held against {' and '.join(map(_label, claim.unmet))}"
    return f"{better}; no control {'was trained on the same data' if controls else 'was evaluated'}"


def _label(name: Name) -> str:
    return f"{name[0]} ({name[1]})" if name[1] else name[0]


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
