"""README's table and picture, written anew.

python -m benchmarks.site.readme
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT
from benchmarks.peers.external import EXTERNAL

from .contents import (
    BENCHMARKS,
    FAST,
    REFERENCE,
    Row,
    Verdicts,
    compare,
    leading,
    mean_reduction,
    new_rows,
    ran_everywhere,
    read_all,
)
from .figures import draw_headline
from .knowledge import readme_lines
from .tables import FEW, above_ours, beside_transfer, figure, measure, table

README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "_static" / "headline.svg"
BEGIN = "<!-- results, written by `python -m benchmarks.site.readme` -->"
END = "<!-- end of results -->"

NAMES = {
    "expt_gap": "measured band gaps",
    "expt_is_metal": "metal or not, measured",
    "glass": "glass-forming alloys",
    "steels": "yield strengths of steels",
    "jarvis": "30 calculated quantities",
    "thermoelectrics": "7 thermoelectric properties at T",
}
# beside the usual forest
FORESTS = ("et-magpie", "et-fractions")
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
        counts = Verdicts.of(found)
        said.append(
            f"{BENCHMARKS[name]} ({content['date'][:10]}, `make bench-{name}`): of {len(found)} "
            f"tasks, `{leading(content)}` is beyond chance better than the best other model run "
            f"here on {counts.better}, tied with it on {counts.tied}, worse on {counts.worse}; its "
            f"mean error is the smaller on {counts.ahead}."
        )
        said += [*_on_new_rows(content), *readme_lines(content)]
    said += [*_where_others_are_better(contents), *_on_some_tables(contents)]
    head = ["predicted", "error", "`imkt`", f"`{FAST}`", "best other model run here"]
    return "\n".join([table(head, rows), *(f"- {line}" for line in said)]) + "\n"


def _where_others_are_better(contents: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Say where we lose, or would by the mean."""
    parts, sure = [], []
    for name, content in contents.items():
        lost = [row for row in compare(content) if row.ratio > 1]
        sure += [row.task for row in lost if row.verdict == "loss"]
        if lost:
            said = [
                f"{row.task.removeprefix(f'{name}_')} ({row.peer}, {row.ratio:.3f})" for row in lost
            ]
            parts.append(f"{BENCHMARKS[name]}: {', '.join(said)}")
    if parts:
        yield (
            "On these another model run here has the smaller mean error (in brackets: which, and "
            f"our error over its): {'; '.join(parts)}. Beyond chance: {', '.join(sure) or 'none'}."
        )
    above = [f"{task} ({', '.join(models)})" for task, models in above_ours(contents).items()]
    if above:
        yield (
            "By MatBench's own rule recorded submissions stand above `imkt` on "
            f"{', '.join(above)}; the site says which of them could have seen test rows."
        )
    if ratios := contents.get("jarvis", {}).get("gupta"):
        yield beside_transfer(ratios)


def _on_some_tables(contents: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Say which other models have run on few tables, and on how many these were the best."""
    rows = [row for content in contents.values() for row in compare(content)]
    ran = {name: [row.peer for row in rows if name in row.errors] for name in EXTERNAL}
    some = [f"`{name}` ({len(best)}, {best.count(name)})" for name, best in ran.items() if best]
    if some:
        yield (
            "Other models that ran on some tables only (on how many, and on how many of these they "
            f"were the best of the others): {', '.join(some)}."
        )


def _on_new_rows(content: Mapping[str, Any]) -> Iterator[str]:
    """Say what is left on test rows that pretraining had not seen."""
    found = compare(content, "summary_unseen")
    if content["benchmark"] != "matbench":
        many = [row for row in found if new_rows(content, row.task)[0] >= FEW]
        if many:
            yield (
                f"On test rows whose formula pretraining had not seen, the error of "
                f"`{leading(content)}` over the best other's is "
                f"{figure(1 - mean_reduction(many))} in the mean (of {len(many)} tables with {FEW} "
                "such rows)."
            )
        return
    seen = {row.task: row for row in compare(content)}
    for row in found:
        left, of_all = new_rows(content, row.task)
        # where all rows are of one class, another score says little
        if _ENOUGH <= left < of_all and row.score == seen[row.task].score == "mae":
            yield (
                f"On the {left:,} {NAMES.get(row.task, row.task)} whose formula pretraining had "
                f"not seen: `{row.main}` {figure(row.errors[row.main])}, {row.peer} "
                f"{figure(row.errors[row.peer])} {row.unit}."
            )


def forest_of(rows: Sequence[Row]) -> str:
    """Name the forest that has 1 in the picture: the usual one, or the best that has run."""
    ran = [m for m in (REFERENCE, *FORESTS) if all(m in row.errors for row in rows)]
    if REFERENCE in ran or not ran:
        return REFERENCE
    return min(
        ran, key=lambda m: _geometric([row.errors[m] / row.errors[row.main] for row in rows])
    )


def headline(contents: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Give the errors over that of a forest, by what is predicted and which forest it is."""
    found: dict[str, dict[str, float]] = {}
    for name, content in contents.items():
        rows = compare(content)
        parts: Mapping[str, list[Row]] = {NAMES[name]: rows} if name in NAMES else {}
        if name == "matbench":
            parts = {NAMES.get(row.task, row.task): [row] for row in rows}
        for title, some in parts.items():
            forest = forest_of(some)
            some = [row for row in some if forest in row.errors]
            if not some:
                continue
            ours = {
                "sklearn_kt": lambda r: r.errors[r.main],
                "best other": lambda r: r.errors[r.peer],
            }
            label = title if forest == REFERENCE else f"{title},\nwhere {forest} has 1"
            found[label] = {
                kind: _geometric([of(row) / row.errors[forest] for row in some])
                for kind, of in ours.items()
            }
    return found


def _geometric(ratios: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


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
