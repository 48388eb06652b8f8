"""Compare what `spinesegdiff segment` found in SPIDER series with the numbers in overview.csv.

    spinesegdiff segment -i data/spider_middle -o out
    python benchmarks/spider_model/counts.py out data/spider_middle/overview.csv \
        -o benchmarks/spider_model/results/spider_middle.md
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import pandas as pd

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="output folder of spinesegdiff segment")
    parser.add_argument("overview", type=Path, help="SPIDER's overview.csv")
    parser.add_argument("-o", type=Path, required=True, help="Markdown file to write")
    options = parser.parse_args()
    scans = json.loads((options.out / "run.json").read_text(encoding="utf-8"))["scans"]
    failures = {name: scan["failure"] for name, scan in scans.items() if "failure" in scan}
    found = found_in(options.out)
    table = pd.read_csv(options.overview, index_col="new_file_name").reindex(sorted(scans)).join(found)
    complete = table[list(STRUCTURES)].fillna(False).astype(bool).all(axis=1)
    contrast = table.index.str.split("_", n=1).str[1]
    lines = [
        "# SPIDER series: structures found, and how many",
        "",
        f"{len(scans)} series of {table.index.str.split('_').str[0].nunique()} patients, "
        f"{len(failures)} without a mask. No label of these slices was used; the numbers in overview.csv "
        "count what SPIDER's readers labelled in the whole series.",
        "",
        "| series | n | all structures found | vertebrae: equal | within 1 | discs: equal | within 1 |",
        "|" + " --- |" * 7,
    ]
    for name, chosen in [("all", contrast == contrast), *((c, contrast == c) for c in sorted(set(contrast)))]:
        rows = table[chosen]
        shares = [complete[chosen].mean()]
        for structure, column in COUNTED.items():
            off = (rows[f"count_{structure}"].fillna(0) - rows[column]).abs()
            shares += [(off == 0).mean(), (off <= 1).mean()]
        lines.append(f"| {name} | {len(rows)} | {' | '.join(f'{share:.1%}' for share in shares)} |")
    kinds = Counter(
        warning.split(" (")[0] if len(warning) > 90 else warning
        for scan in scans.values()
        for warning in scan.get("warnings", [])
    )
    lines += ["", "| warning or failure | series |", "| --- | --- |"]
    lines += [f"| {text} | {count} |" for text, count in kinds.most_common(15)]
    lines += [f"| {name}: {reason.split(': ', 1)[-1]} | 1 |" for name, reason in failures.items()]
    off = sum((table[f"count_{s}"].fillna(0) - table[column]).abs() for s, column in COUNTED.items())
    lines += [
        "",
        "Series that differ most:",
        "",
        "| series | vertebrae | of | discs | of |",
        "|" + " --- |" * 5,
    ]
    for name in off.sort_values(ascending=False, kind="stable").index[:WORST]:
        row = table.loc[name].fillna(0)
        values = [row.count_vertebrae, row.num_vertebrae, row.count_ivd, row.num_discs]
        lines.append(f"| {name} | {' | '.join(f'{value:.0f}' for value in values)} |")
    options.o.parent.mkdir(parents=True, exist_ok=True)
    options.o.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
