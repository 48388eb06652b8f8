"""Is one system better? Every difference with its interval, and the differences from the controls."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from ...pages.cells import p_value, with_interval, yes_or_no
from ...text import MINUS, p_statement, spelled
from ..claims import Claim, Difference, claims_of, differences_of
from ..columns import METRICS, Name, label_of
from ..comparisons import FEWEST, METHOD, NO_CONTROL, not_compared_note
from ..summary_tables import TITLES
from .figures_folder import counted
from .page import Section, Table

TITLE = "Is it better?"
DIGITS = 3
HOW = (
    "A difference is the mean over patients of the first system minus the second, with its 95 % interval. "
    f"{METHOD} A difference can only be attributed to the method if it also exists against every "
    f"control. Systems without a significant difference have not been shown to be equal."
)


def claim_section(comparisons: pd.DataFrame | None, controls: Collection[Name], systems: int) -> Section:
    """Differences between the proposed systems, each judged with the controls, and between them and controls.

    Args:
        comparisons: of `comparisons.compare`, or None.
        controls: the systems that others are compared with.
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
    differences = differences_of(comparisons)
    claims = claims_of(differences, controls)
    blocks = []
    for metric in METRICS:
        if mine := [claim for claim in claims if claim.difference.metric == metric]:
            caption = f"{TITLES[metric]}: differences between the proposed systems"
            blocks.append(Table(pd.DataFrame([_claim(one, controls) for one in mine]), caption))
    if against := [d for d in differences if d.of in controls or d.than in controls]:
        # A control is subtracted from what it is compared with, unless both are controls.
        turned = [d.turned() if d.of in controls and d.than not in controls else d for d in against]
        lines = [
            {
                "Metric": TITLES[d.metric].partition(" (")[0],
                **_line(d),
                "Significant": yes_or_no(d.significant),
            }
            for d in turned
        ]
        blocks.append(Table(pd.DataFrame(lines), "Differences from the controls"))
    text = (_counts(claims, controls), HOW, not_compared_note(comparisons))
    return Section(TITLE, tuple(filter(None, text)), warnings, tuple(blocks))


def _counts(claims: Sequence[Claim], controls: Collection[Name]) -> str:
    if not claims:
        return "Only controls were compared: there is no claim to judge."
    shown = sum(claim.difference.significant for claim in claims)
    are = "is" if shown == 1 else "are"
    text = f"Of {counted(len(claims), 'difference')} between proposed systems {shown} {are} significant"
    if not controls:
        return f"{text}."
    stands = sum(claim.stands for claim in claims)
    return f"{text}; in {stands} of these the better system is better than every control, too."


def _claim(claim: Claim, controls: Collection[Name]) -> dict[str, object]:
    """A row; the verdict comes early, so that a narrow screen shows it with the difference."""
    against = [
        f"{_pair(d)}: {with_interval(d.mean, d.low, d.high, DIGITS, signed=True)}, {p_statement(d.p)}"
        for d in claim.controls
    ]
    against += [f"not compared with {label_of(name)}" for name in claim.unmet]
    line = _line(claim.difference)
    first = {heading: line.pop(heading) for heading in ("Structure", "Difference of")}
    verdict = {"In words": _verdict(claim, controls)}
    return {**first, **verdict, **line, "Against the controls": "\n".join(against) or "none evaluated"}


def _line(d: Difference) -> dict[str, object]:
    return {
        "Structure": spelled(d.structure),
        "Difference of": _pair(d),
        "Patients": d.patients,
        "Mean [95 % interval]": with_interval(d.mean, d.low, d.high, DIGITS, signed=True),
        "p (corrected)": p_value(d.p),
    }


def _pair(d: Difference) -> str:
    return f"{label_of(d.of)} {MINUS} {label_of(d.than)}"


def _verdict(claim: Claim, controls: Collection[Name]) -> str:
    difference = claim.difference
    if not difference.significant and difference.patients < FEWEST:
        return "too few patients to decide"
    if pd.isna(difference.p):
        return "not tested"
    if not difference.significant:
        return "no difference shown"
    better = f"{label_of(difference.of)} is better"
    if claim.stands:
        return f"{better}, also than every control"
    if equal := [label_of(held.than) for held in claim.controls if not held.better]:
        return f"{better}, but not than {' and '.join(equal)}: more training alone may explain it"
    if claim.unmet:
        return f"{better}; not compared with {' and '.join(map(label_of, claim.unmet))}"
    return f"{better}; no control {'was trained on the same data' if controls else 'was evaluated'}"
