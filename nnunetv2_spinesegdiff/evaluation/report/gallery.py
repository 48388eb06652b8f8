"""The cases one by one, the worst first: pictures and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from tqdm import tqdm

from ...pages.cells import Cell, with_digits
from ...text import spelled
from ..columns import rows_of
from ..summary_tables import case_means
from .evaluation_folder import Evaluation, System
from .page import Block, CaseCard, Legend, Picture, Section, Table
from .slices import CaseSlices, NoPicture, files_of, read_slices

HEAT = (0.02, 0.1, 0.2, 0.3, 0.37)
"""Values of the heatmaps' key."""
LINES = {"-": "solid", "--": "dashed", ":": "dotted"}


def gallery_section(evaluation: Evaluation, chosen: System, number_of_cases: int) -> Section:
    """Scores of all cases, and pictures of the worst ones.

    Args:
        chosen: whose mean Dice orders the cases, and whose cases they are.
        number_of_cases: with a picture.
    """
    ranked = case_means(evaluation.of(chosen)).index.tolist()
    shown = ranked[:number_of_cases]
    blocks: list[Block] = [_all_cases(evaluation, ranked)]
    if shown:
        from ...plots.gallery import heat_colors  # matplotlib takes a second to load
        from ...plots.style import looks_of

        looks = looks_of(evaluation.structures)
        keys = tuple((spelled(name), color, LINES[line]) for name, (color, line) in looks.items())
        heat = zip(HEAT, heat_colors(HEAT), strict=True)
        blocks += [
            Legend("Outlines:", keys),
            Legend("Uncertainty:", tuple((f"{value:.2f}", color, "filled") for value, color in heat)),
        ]
        cards = tqdm(shown, desc="Drawing cases", unit="case", disable=None)
        blocks += [_card(evaluation, case, chosen) for case in cards]
    return Section("Cases, the worst first", _text(chosen, len(shown), len(ranked)), blocks=tuple(blocks))


def _text(chosen: System, shown: int, cases: int) -> tuple[str, ...]:
    how_many = f"All {cases} cases" if shown == cases else f"The {shown} worst of {cases} cases"
    order = f"by mean Dice of {chosen.label}"
    if not shown:
        return (f"All {cases} cases {order}; no pictures were asked for.",)
    return (
        f"{how_many} with pictures, {order}: the slice in which most is labeled.",
        "First the label's outlines, then each system's over the label as a thin white line, and last, if "
        "known, its uncertainty over the slice with the mask in light blue. Letters are the patient's sides "
        "according to the header of the file.",
        "Uncertainty is shown on one scale from 0 to 0.37: the probability of a wrong label, or, for systems "
        "with such maps, entropy in nats or variance. Below 0.02 the map is transparent.",
    )


def _all_cases(evaluation: Evaluation, ranked: Sequence[str]) -> Table:
    """Mean Dice of every system; cases that the chosen one does not have come last."""
    others = sorted(set(evaluation.cases["case"]) - set(ranked))
    facts = evaluation.cases.drop_duplicates("case").set_index("case")
    facts = facts.reindex([*ranked, *others], fill_value="")
    headings = {"patient": "Patient", "contrast": "Contrast", "fold": "Fold"}
    table = facts[[name for name in headings if facts[name].any()]].rename(columns=headings)
    table.insert(0, "Case", table.index)
    for system in evaluation.systems:
        means = case_means(evaluation.of(system)).reindex(table.index)
        table[system.label] = [with_digits(mean, 3) for mean in means]
    return Table(table, "Mean Dice of all cases", folded=True)


def _card(evaluation: Evaluation, case: str, chosen: System) -> CaseCard:
    files = files_of(evaluation, case)
    facts = _facts(files[chosen.label]) if chosen.label in files else []
    pictures: dict[str, Picture] = {}
    try:
        slices = read_slices(evaluation, case, evaluation.systems, chosen)
    except NoPicture as error:
        remarks: tuple[str, ...] = (f"No picture: {error}.",)
    else:
        remarks = slices.remarks
        if slices.slices > 1:
            facts.append(f"slice {slices.view.index + 1} of {slices.slices}")
        pictures = _pictures(evaluation, slices, case)
    return CaseCard(case, ", ".join(facts), pictures, remarks, _scores(evaluation, case))


def _pictures(evaluation: Evaluation, slices: CaseSlices, case: str) -> dict[str, Picture]:
    """Label, masks and heatmaps, each over the slice."""
    from ...plots.gallery import draw_heatmap, draw_mask

    spacing, structures = slices.view.spacing, evaluation.structures
    drawn = {"Label": draw_mask(slices.image, slices.label, spacing, structures, letters=slices.view.letters)}
    for name, own in slices.systems.items():
        drawn[name] = draw_mask(slices.image, own.mask, spacing, structures, label=own.label)
    for name, own in slices.systems.items():
        if own.heatmap is not None:
            heat = draw_heatmap(slices.image, own.heatmap, own.mask, spacing, structures)
            drawn[f"Uncertainty of {name}"] = heat
    return {
        title: Picture(one.jpeg, f"{title}: slice of {case}", one.width, one.height)
        for title, one in drawn.items()
    }


def _scores(evaluation: Evaluation, case: str) -> Table:
    scores = evaluation.scores[evaluation.scores["case"] == case]
    lines = []
    for system in evaluation.systems:
        own = rows_of(scores, system.key).set_index("structure")
        if not own.empty:
            cells = {spelled(name): _dice(own, name) for name in evaluation.structures}
            lines.append({"System": system.label, **cells, "mean": with_digits(own["dice"].mean(), 3)})
    return Table(pd.DataFrame(lines), f"Dice of {case}")


def _dice(own: pd.DataFrame, structure: str) -> Cell:
    """Dice, and whether a 0 is a missed structure, or one that is drawn where none is."""
    if structure not in own.index:
        return with_digits(float("nan"), 3)
    cell = with_digits(own["dice"][structure], 3)
    what = {"missed": " (missed)", "false": " (not there)"}.get(own["found"][structure], "")
    return Cell(f"{cell.text}{what}", cell.value)


def _facts(row: Mapping[str, Any]) -> list[str]:
    facts = [f"patient {row['patient']}"] if row["patient"] and row["patient"] != row["case"] else []
    facts += [row["contrast"]] if row["contrast"] else []
    return facts + ([f"fold {row['fold']}"] if row["fold"] else [])
