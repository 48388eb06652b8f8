r"""Compare what `spinesegdiff segment` found in SPIDER series with the numbers in overview.csv.

    spinesegdiff segment -i data/spider_middle -o out
    python benchmarks/spider_model/counts.py out data/spider_middle/overview.csv \
        --trained_on $nnUNet_raw/Dataset601_SpiderLumbar/cases.csv \
        -o benchmarks/spider_model/results/spider_middle.md
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd
from nnunetv2_spinesegdiff.dataset_conversion.names import patient_of

from nnunetv2_spinesegdiff.text import markdown_table

STRUCTURES = ("spinal_canal", "vertebrae", "ivd")
COUNTED = {"vertebrae": "num_vertebrae", "ivd": "num_discs"}
WORST = 10


def found_in(out: Path) -> pd.DataFrame:
    """A row per scan: whether each structure was found, and how many vertebrae and discs."""
    rows = pd.read_csv(out / "measurements.csv", dtype={"scan": str})
    totals = rows[rows.number.isna()].pivot(index="scan", columns="structure", values="area_mm2")
    found = totals.reindex(columns=STRUCTURES).fillna(0) > 0
    for structure in COUNTED:
        numbered = rows[(rows.structure == structure) & rows.number.notna()]
        found[f"count_{structure}"] = (
            numbered.groupby("scan").size().reindex(found.index).fillna(0).astype(int)
        )
    return found


def warned(scans: dict[str, Any]) -> list[str]:
    """Names of the scans with a warning, apart from the warnings that all masks of the folder come with."""
    warnings = {name: set(scan["warnings"]) for name, scan in scans.items() if "warnings" in scan}
    common = set.intersection(*warnings.values()) if warnings else set()
    return [name for name, lines in warnings.items() if lines - common]


def without(found: pd.DataFrame, name: str) -> pd.Series:
    return ~found[name].fillna(False).astype(bool)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="output folder of spinesegdiff segment")
    parser.add_argument("overview", type=Path, help="SPIDER's overview.csv")
    parser.add_argument(
        "--trained_on", type=Path, help="cases.csv of the dataset that the model was trained on"
    )
    parser.add_argument("-o", type=Path, required=True, help="Markdown file to write")
    options = parser.parse_args()
    scans = json.loads((options.out / "run.json").read_text(encoding="utf-8"))["scans"]
    found = found_in(options.out)
    table = pd.read_csv(options.overview, index_col="new_file_name").reindex(sorted(scans)).join(found)
    patients, contrast = table.index.map(patient_of), table.index.str.split("_", n=1).str[1]
    trained = set()
    if options.trained_on:
        trained = set(pd.read_csv(options.trained_on, dtype={"patient": str}).patient)
    seen = patients.isin(trained)
    off = {
        structure: (table[f"count_{structure}"].fillna(0) - table[column]).abs()
        for structure, column in COUNTED.items()
    }
    groups = {"all": seen == seen, **{name: contrast == name for name in sorted(set(contrast))}}
    if options.trained_on:
        groups |= {"patients of the training data": seen, "other patients": ~seen}
    complete = ~pd.concat([without(table, name) for name in STRUCTURES], axis=1).any(axis=1)
    lines = [
        "# SPIDER series: structures found, and how many",
        "",
        f"{len(scans)} series of {patients.nunique()} patients. The numbers in overview.csv count what "
        "SPIDER's readers labeled in the whole series, of which `segment` saw the middle slice.",
        "",
    ]
    headings = (
        "series",
        "n",
        "all structures found",
        "vertebrae: equal",
        "within 1",
        "discs: equal",
        "within 1",
    )
    rows = []
    for name, chosen in groups.items():
        shares = [complete[chosen].mean()]
        for differences in off.values():
            shares += [(differences[chosen] == 0).mean(), (differences[chosen] <= 1).mean()]
        rows.append([name, chosen.sum(), *(f"{share:.1%}" for share in shares)])
    lines.append(markdown_table(headings, rows))
    failures = {name: scan["failure"] for name, scan in scans.items() if "failure" in scan}
    problems = {
        "no mask": table.index.isin(failures),
        "no canal": without(table, "spinal_canal"),
        "no vertebra": without(table, "vertebrae"),
        "no disc": without(table, "ivd"),
        "vertebrae off by 2 or more": off["vertebrae"] >= 2,
        "discs off by 2 or more": off["ivd"] >= 2,
        "with a warning that not every series has": table.index.isin(warned(scans)),
    }
    counts = [(problem, sum(where)) for problem, where in problems.items()]
    lines += ["", markdown_table(["problem", "series"], counts), "", "Series that differ most:", ""]
    worst = []
    for name in sum(off.values()).sort_values(ascending=False, kind="stable").index[:WORST]:
        row = table.loc[name]
        values = [row.count_vertebrae, row.num_vertebrae, row.count_ivd, row.num_discs]
        worst.append([name, *("-" if pd.isna(value) else f"{value:.0f}" for value in values)])
    lines.append(markdown_table(["series", "vertebrae", "of", "discs", "of"], worst))
    options.o.parent.mkdir(parents=True, exist_ok=True)
    options.o.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    for name, reason in failures.items():
        print(f"{name}: {reason}")


if __name__ == "__main__":
    main()
