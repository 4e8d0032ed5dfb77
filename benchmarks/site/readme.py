"""README's table and picture, written anew.

python -m benchmarks.site.readme
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT

from .contents import BENCHMARKS, FAST, REFERENCE, Row, compare, leading, mean_reduction, read_all
from .figures import draw_headline
from .tables import FEW, figure, measure, ran_everywhere, table, unseen_rows

README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "_static" / "headline.svg"
BEGIN = "<!-- results, written by `python -m benchmarks.site.readme` -->"
END = "<!-- end of results -->"

NAMES = {
    "expt_gap": "measured band gaps",
    "expt_is_metal": "metal or not, measured",
    "glass": "glass-forming alloys",
    "steels": "yield strengths of steels",
    "jarvis": "30 calculated properties",
    "thermoelectrics": "7 thermoelectric properties at T",
}
# new test rows that one error is worth giving for
_ENOUGH = 300


def readme_block(contents: Mapping[str, dict[str, Any]]) -> str:
    """Spell README's table, without its marks."""
    if not contents:
        return "Benchmarks: not run yet.\n"
    rows, said = [], []
    for name, content in contents.items():
        found = compare(content)
        if name == "matbench":
            rows += [
                [
                    NAMES.get(row.task, row.task),
                    measure(row),
                    figure(row.errors[row.main]),
                    figure(row.errors.get(FAST, math.nan)),
                    f"{figure(row.errors[row.peer])} ({row.peer})",
                ]
                for row in found
            ]
        else:
            main, complete = leading(content), ran_everywhere(content)
            ours = figure(1 - mean_reduction(found)) if main != FAST else "-"
            fast = "-"
            if FAST in complete:
                fast = figure(1 - mean_reduction(compare(content, main=FAST)))
            rows.append([NAMES[name], "MAE over the best other's, mean", ours, fast, "1"])
        held = sum(row.holds for row in found)
        said.append(
            f"{BENCHMARKS[name]}: `{leading(content)}` is best, or tied with the best, of the "
            f"models run here on {held} of {len(found)} tasks ({content['date'][:10]}, "
            f"`make bench-{name}`)."
        )
        said += _on_new_rows(content)
    head = ["predicted", "error", "`imkt`", f"`{FAST}`", "best other model run here"]
    return "\n".join([table(head, rows), *said]) + "\n"


def _on_new_rows(content: Mapping[str, Any]) -> Iterator[str]:
    """Say what is left on test rows that pretraining had not seen."""
    found = compare(content, "summary_unseen")
    if content["benchmark"] != "matbench":
        many = [row for row in found if unseen_rows(content, row)[0] >= FEW]
        if many:
            yield (
                "On test rows whose formula pretraining had not seen the mean ratio is "
                f"{figure(1 - mean_reduction(many))} (of {len(many)} tables with {FEW} such rows)."
            )
        return
    seen = {row.task: row for row in compare(content)}
    for row in found:
        left, of_all = unseen_rows(content, row)
        # where all rows are of one class, another score says little
        if _ENOUGH <= left < of_all and row.score == seen[row.task].score == "mae":
            yield (
                f"On the {left:,} {NAMES.get(row.task, row.task)} whose formula pretraining had "
                f"not seen: {figure(row.errors[row.main])}, {row.peer} "
                f"{figure(row.errors[row.peer])} {row.unit}."
            )


def headline(contents: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Give the errors over that of a random forest on Magpie features, by what is predicted."""
    found: dict[str, dict[str, float]] = {}
    for name, content in contents.items():
        rows = [row for row in compare(content) if REFERENCE in row.errors]
        # the forest may not have run
        parts: Mapping[str, list[Row]] = {NAMES[name]: rows} if name in NAMES and rows else {}
        if name == "matbench":
            parts = {NAMES.get(row.task, row.task): [row] for row in rows}
        for title, some in parts.items():
            ours = {
                "sklearn_kt": lambda r: r.errors[r.main],
                "best other": lambda r: r.errors[r.peer],
            }
            found[title] = {
                label: math.exp(
                    sum(math.log(of(row) / row.errors[REFERENCE]) for row in some) / len(some)
                )
                for label, of in ours.items()
            }
    return found


def write_readme(contents: Mapping[str, dict[str, Any]], readme: Path = README) -> None:
    """Put the table between README's marks."""
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    block = f"{BEGIN}\n\n{readme_block(contents)}\n{END}"
    readme.write_text(before + block + after, encoding="utf-8")


if __name__ == "__main__":
    results = read_all()
    write_readme(results)
    draw_headline(headline(results), PICTURE)
