"""The cases one by one, the worst first: pictures and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from tqdm import tqdm

from ...errors import UserError
from ...text import number
from ..case_means import MEAN, case_means
from .cells import plain
from .evaluation_folder import Evaluation, System
from .page import CaseCard, Legend, Picture, Section, Table
from .slices import CaseSlices, NoPicture, SystemFiles, read_slices

HEAT = (0.02, 0.1, 0.2, 0.3, 0.37)
"""Values of the heatmaps' key, in nats."""
LINES = {"-": "solid", "--": "dashed", ":": "dotted"}


def gallery_section(evaluation: Evaluation, chosen: System, number_of_cases: int | None) -> Section:
    """Scores of all cases, and pictures of the worst ones.

    Args:
        chosen: whose mean Dice orders the cases, and whose cases they are.
        number_of_cases: with a picture; all where None.
    """
    ranked = case_means(evaluation.of(chosen))["case"].tolist()
    shown = ranked if number_of_cases is None else ranked[:number_of_cases]
    blocks: list[Any] = [_all_cases(evaluation, ranked)]
    if shown:
        from ...plots.gallery import (
            heat_colours,
            structure_looks,
        )  # matplotlib takes a second to load

        looks = structure_looks(evaluation.structures)
        keys = tuple((plain(name), colour, LINES[line]) for name, (colour, line) in looks.items())
        blocks.append(Legend("Outlines:", keys))
        heat = zip(HEAT, heat_colours(HEAT), strict=True)
        blocks.append(
            Legend("Uncertainty:", tuple((f"{value:.2f}", colour, "filled") for value, colour in heat))
        )
        cards = tqdm(shown, desc="Drawing cases", unit="case", disable=None)
        blocks += [_card(evaluation, case, chosen) for case in cards]
    return Section("Cases, the worst first", _told(chosen, len(shown), len(ranked)), blocks=tuple(blocks))


def chosen_system(evaluation: Evaluation, label: str | None) -> System:
    """The system that orders the gallery: of that label or name, otherwise the last that is no control.

    Raises:
        UserError: there is no such system.
    """
    if label is None:
        proposed = [system for system in evaluation.systems if not system.control]
        return (proposed or list(evaluation.systems))[-1]
    for system in reversed(evaluation.systems):
        if label in (system.label, system.name):
            return system
    known = ", ".join(system.label for system in evaluation.systems)
    raise UserError(label, f"no such system in {evaluation.folder.name}", f"known: {known}")


def _told(chosen: System, shown: int, cases: int) -> tuple[str, ...]:
    how_many = f"All {cases} cases" if shown == cases else f"The {shown} worst of {cases} cases"
    order = f"by mean Dice of {chosen.label}"
    if not shown:
        return (f"All {cases} cases {order}; no pictures were asked for.",)
    return (
        f"{how_many} with pictures, {order}: the slice with the largest label.",
        "First the label's outlines, then each system's with the label as a thin white line beneath, and "
        "last, where there is one, its uncertainty over the slice with the mask in light blue. Letters name "
        "the patient's sides as the file's header does.",
        "Uncertainty is shown on one scale, the entropy of the most uncertain structure from 0 to 0.37 nats "
        "(variance, of systems whose map is one, reaches 0.25 at most); below 0.02 the slice is seen.",
    )


def _all_cases(evaluation: Evaluation, ranked: Sequence[str]) -> Table:
    """Mean Dice of every system; cases that the chosen one does not have come last."""
    others = sorted(set(evaluation.cases["case"]) - set(ranked))
    facts = evaluation.cases.drop_duplicates("case").set_index("case")
    order = [*ranked, *others]
    columns: dict[str, Any] = {"Case": order}
    for heading, name in (("Patient", "patient"), ("Contrast", "contrast"), ("Fold", "fold")):
        values = [facts[name].get(case, "") for case in order]
        columns |= {heading: values} if any(values) else {}
    digits = {}
    for system in evaluation.systems:
        means = case_means(evaluation.of(system)).set_index("case")[MEAN]
        columns[system.label] = [float(means.get(case, float("nan"))) for case in order]
        digits[system.label] = 3
    return Table(pd.DataFrame(columns), "Mean Dice of all cases", digits, folded=True)


def _card(evaluation: Evaluation, case: str, chosen: System) -> CaseCard:
    rows = {
        system.label: own.iloc[0]
        for system in evaluation.systems
        if len(own := _rows(evaluation.cases, system, case))
    }
    scores = _scores(evaluation, case)
    facts = _facts(rows[chosen.label]) if chosen.label in rows else []
    try:
        slices = _read(rows, chosen.label)
    except NoPicture as error:
        return CaseCard(case, ", ".join(facts), {}, (f"No picture: {error}.",), scores)
    if slices.slices > 1:
        facts.append(f"slice {slices.view.index + 1} of {slices.slices}")
    return CaseCard(case, ", ".join(facts), _pictures(evaluation, slices, case), slices.remarks, scores)


def _read(rows: Mapping[str, Any], chosen: str) -> CaseSlices:
    if chosen not in rows:
        raise NoPicture("its files are not known")
    files = {
        name: SystemFiles(row["label"], row["prediction"], row["uncertainty"]) for name, row in rows.items()
    }
    return read_slices(rows[chosen]["image"], rows[chosen]["label"], files)


def _pictures(evaluation: Evaluation, slices: CaseSlices, case: str) -> dict[str, Picture]:
    """Label, masks and heatmaps, each over the slice."""
    from ...plots.gallery import draw_heatmap, draw_mask

    spacing, structures = slices.view.spacing, evaluation.structures
    drawn = {"Label": draw_mask(slices.image, slices.label, spacing, structures, letters=slices.view.letters)}
    for name, own in slices.systems.items():
        drawn[name] = draw_mask(slices.image, own.mask, spacing, structures, label=own.label)
    for name, own in slices.systems.items():
        if own.heatmap is not None:
            title = f"Uncertainty of {name}"
            drawn[title] = draw_heatmap(slices.image, own.heatmap, own.mask, spacing, structures)
    return {
        title: Picture(one.jpeg, f"{title}: slice of {case}", one.width, one.height)
        for title, one in drawn.items()
    }


def _scores(evaluation: Evaluation, case: str) -> Table:
    lines = []
    for system in evaluation.systems:
        own = _rows(evaluation.scores, system, case)
        if own.empty:
            continue
        dice = own.set_index("structure")["dice"]
        found = own.set_index("structure")["found"]
        line = {"System": system.label}
        for name in evaluation.structures:
            line[plain(name)] = _dice(dice.get(name, float("nan")), found.get(name, ""))
        lines.append({**line, "mean": number(float(dice.mean()), 3)})
    return Table(pd.DataFrame(lines), f"Dice of {case}")


def _dice(value: float, found: str) -> str:
    """A 0 says what it is: missed, or drawn where none is."""
    what = {"missed": " (missed)", "false": " (not there)"}.get(found, "")
    return number(float(value), 3) + what


def _facts(row: Mapping[str, Any]) -> list[str]:
    facts = [f"patient {row['patient']}"] if row["patient"] and row["patient"] != row["case"] else []
    facts += [row["contrast"]] if row["contrast"] else []
    return facts + ([f"fold {row['fold']}"] if row["fold"] else [])


def _rows(table: pd.DataFrame, system: System, case: str) -> pd.DataFrame:
    return table[(table["system"] == system.name) & (table["data"] == system.data) & (table["case"] == case)]
