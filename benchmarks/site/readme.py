"""README's table, written anew between its two marks.

python -m benchmarks.site.readme
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT

from .contents import BENCHMARKS, ERRORS, SHOWN, Row, compare, leading, mean_reduction, read_all
from .tables import FEW, OUR_HEADS, figure, measure, own, ran_everywhere, table, unseen_rows

README = ROOT / "README.md"
BEGIN = "<!-- results, written by `python -m benchmarks.site.readme` -->"
END = "<!-- end of results -->"


def readme_block(contents: Mapping[str, dict[str, Any]]) -> str:
    """Spell README's table, without its marks."""
    if not contents:
        return "Benchmarks: not run yet.\n"
    rows, said = [], []
    head = ["test", "error", *OUR_HEADS, "best peer run", "on formulas new to it"]
    for name, content in contents.items():
        found = compare(content)
        new = {row.task: row for row in compare(content, "summary_unseen")}
        if name == "matbench":
            rows += [
                [
                    f"MatBench {row.task}",
                    measure(row),
                    *own(row),
                    f"{figure(row.errors[row.peer])} ({row.peer})",
                    beside(new.get(row.task), row),
                ]
                for row in found
            ]
        else:
            complete = ran_everywhere(content)
            means = [
                figure(1 - mean_reduction(compare(content, main=m))) if m in complete else "-"
                for m in SHOWN
            ]
            what = f"{len(found)} {BENCHMARKS[name]} tables"
            many = [row for row in new.values() if unseen_rows(content, row)[0] >= FEW]
            left = f"{figure(1 - mean_reduction(many))} ({len(many)} tables)" if many else "-"
            rows.append([what, "mean of MAE / best peer's", *means, "1", left])
        held = sum(row.holds for row in found)
        said.append(
            f"{BENCHMARKS[name]}: `{leading(content)}` is best, or tied with the best, on {held} "
            f"of {len(found)} tasks ({content['date'][:10]}, `make bench-{name}`)."
        )
    return "\n".join([table(head, rows), *said]) + "\n"


def beside(row: Row | None, seen: Row) -> str:
    """Spell errors on the rows that pretraining did not have, ours and the best peer's."""
    if row is None:
        return "-"
    what = "" if row.score == seen.score else f" ({ERRORS[row.score]})"
    return f"{figure(row.errors[row.main])}; {figure(row.errors[row.peer])} ({row.peer}){what}"


def write_readme(contents: Mapping[str, dict[str, Any]], readme: Path = README) -> None:
    """Put the table between README's marks."""
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    block = f"{BEGIN}\n\n{readme_block(contents)}\n{END}"
    readme.write_text(before + block + after, encoding="utf-8")


if __name__ == "__main__":
    write_readme(read_all())
