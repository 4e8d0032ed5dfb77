"""What the site's pages about results include, made when the site is built."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, read_json

from .calculated import calculated_losses, calculated_short
from .contents import (
    BENCHMARKS,
    FAST,
    REFERENCE,
    Row,
    compare,
    costs,
    leading,
    read_all,
    read_kept,
)
from .details import benchmark_text, explicit_text
from .figures import draw_costs, draw_learning_curve, draw_ratios, draw_speed, has_ring
from .knowledge import audit_lines, knowledge_lines
from .notes import NOTES, against_peers
from .provenance import provenance_text
from .short import structures_short, submissions_short, transfer_short
from .submissions import submissions_text
from .tables import (
    ablation_text,
    cost_text,
    explain_text,
    inference_text,
    intervals_text,
    learning_curve_text,
    losses,
    overview,
    speed_text,
    spoken,
    structures_text,
    tasks_table,
    unseen,
)

NOT_RUN = "Not run yet: `{command}` makes it.\n"
# small results: command, text, picture
TEXTS = {
    "ablation": ("python -m benchmarks.accuracy.ablation", ablation_text, None),
    "learning_curve": (
        "python -m benchmarks.accuracy.learning_curve",
        learning_curve_text,
        draw_learning_curve,
    ),
    "cost": ("python -m benchmarks.speed.folds", cost_text, None),
    "explain": ("python -m benchmarks.speed.explain", explain_text, None),
    "intervals": ("python -m benchmarks.accuracy.intervals", intervals_text, None),
    "inference": ("python -m benchmarks.speed.encoder", inference_text, None),
    "speed": ("make bench-speed", speed_text, draw_speed),
    "structures": ("python -m benchmarks.structures prototypes", structures_text, None),
}
# results with predictions: command, folder, text
KEPT = {
    "matbench": ("make bench-matbench", "matbench", benchmark_text),
    "submissions": ("make bench-matbench", "matbench", submissions_text),
    "calculated": (
        "python -m benchmarks.accuracy.compare calculated",
        "calculated",
        benchmark_text,
    ),
    "jarvis": ("make bench-jarvis", "jarvis", benchmark_text),
    "thermoelectrics": ("make bench-thermoelectrics", "thermoelectrics", benchmark_text),
    "explicit": ("python -m benchmarks.accuracy.transfer", "explicit", explicit_text),
}


def write_pages(folder: Path, results: Path = RESULTS) -> None:
    """Write what docs/results/*.md include: a text for each result, and the pictures.

    Parameters
    ----------
    folder : Path
        Emptied first. Pictures are named relative to the folder above.
    results : Path
        Where the result files are.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    contents = read_all(results)
    calculated = read_kept("calculated", results)
    short, more = NOT_RUN.format(command=KEPT["calculated"][0]), []
    if calculated is not None:
        short, more = calculated_short(calculated), [*calculated_losses(calculated)]
    texts = {"overview": overview_page(contents, folder, more), "calculated_short": short}
    for name in BENCHMARKS:
        texts[f"{name}_short"] = (
            short_page(contents[name], folder)
            if name in contents
            else NOT_RUN.format(command=KEPT[name][0])
        )
    for name, (command, spell, draw) in TEXTS.items():
        texts[name] = NOT_RUN.format(command=command)
        if (content := read_json(name, results)) is not None:
            when = f"{content['date']}, " if "date" in content else ""
            commands = content.get("commands", {"": content.get("command")})
            said = ", ".join(f"`{command}`" for command in dict.fromkeys(commands.values()))
            texts[name] = f"{when}{said}.\n\n{spell(content)}"
            if draw is not None:
                draw(content, folder / f"{name}.png")
                texts[name] += f"\n![The same as a picture.]({folder.name}/{name}.png)\n"
    for name, (command, source, spell) in KEPT.items():
        kept = read_kept(source, results)
        texts[name] = NOT_RUN.format(command=command) if kept is None else spell(kept)
    texts |= short_texts(results, folder)
    texts["provenance"] = provenance_text(results)
    for name, spell in NOTES.items():
        kept = read_kept(name, results)
        command = KEPT[name][0]
        texts[f"{name}_notes"] = NOT_RUN.format(command=command) if kept is None else spell(kept)
    for name, text in texts.items():
        (folder / f"{name}.inc").write_text(text, encoding="utf-8")


def overview_page(
    contents: Mapping[str, dict[str, Any]], folder: Path, more_losses: Sequence[str] = ()
) -> str:
    """Spell the page about all benchmarks, and draw its pictures."""
    if not contents:
        return NOT_RUN.format(command="make bench-matbench") + "\n"
    rows = [row for content in contents.values() for row in compare(content)]
    points = {BENCHMARKS[name]: costs(content) for name, content in contents.items()}
    lines = [*overview(contents)]
    if rows:
        draw_ratios(rows, folder / "ratios.svg")
        lines.append(ratios_figure(rows, spoken(contents), folder, "ratios"))
    lines += [*losses(contents), *more_losses, ""]
    if any(points.values()):
        draw_costs(points, folder / "costs.svg")
        lines.append("## Accuracy against time\n")
        lines.append(
            f"```{{figure}} {folder.name}/costs.svg\n"
            ":alt: Mean error against seconds to fit and predict one fold, with the Pareto front.\n"
            ":figclass: narrow\n\n"
            f"Error over that of {REFERENCE}, and wall-clock seconds to fit and predict a fold: "
            "geometric means over the tasks. Lower left is better; nothing beats the models "
            "on the line in both. Models that ran on all tasks only.\n```\n"
        )
    lines += [*knowledge_lines(contents), *unseen(contents)]
    return "\n".join(lines) + "\n"


def short_page(content: dict[str, Any], folder: Path) -> str:
    """Spell what a reader wants of one benchmark, and draw its picture."""
    rows, name = compare(content), content["benchmark"]
    if not rows:
        return "No model of ours has run on all tasks yet.\n"
    draw_ratios(rows, folder / f"{name}.svg")
    figure = ratios_figure(rows, f"`{leading(content)}`", folder, name)
    said = "\n".join([*against_peers(content), *audit_lines(content)])
    return f"{figure}\n{tasks_table(content)}\n{said}\n"


def short_texts(results: Path, folder: Path) -> dict[str, str]:
    """Spell what a reader wants of the other pages, and draw their pictures."""
    texts = {
        f"{name}_short": NOT_RUN.format(command=command)
        for name, command in (
            ("structures", TEXTS["structures"][0]),
            ("submissions", KEPT["submissions"][0]),
            ("transfer", KEPT["explicit"][0]),
        )
    }
    if (structures := read_json("structures", results)) is not None:
        texts["structures_short"] = structures_short(structures, folder)
    if (matbench := read_kept("matbench", results)) is not None:
        texts["submissions_short"] = submissions_short(matbench, folder)
    ablation, curve = (read_json(name, results) for name in ("ablation", "learning_curve"))
    explicit = read_kept("explicit", results)
    if ablation is not None and curve is not None and explicit is not None:
        texts["transfer_short"] = transfer_short(ablation, curve, explicit, folder)
    return texts


def ratios_figure(rows: Sequence[Row], whose: str, folder: Path, name: str) -> str:
    """Spell the picture of ratios."""
    rings = f" Rings: `{FAST}`." if any(map(has_ring, rows)) else ""
    return (
        f"```{{figure}} {folder.name}/{name}.svg\n"
        f":alt: Error of our model divided by that of the best peer, one row for each of "
        f"{len(rows)} tasks.\n:figclass: narrow\n\n"
        f"Error of {whose} over that of the best peer, with 95 % intervals; left of "
        f"1 is better.{rings}\n```\n"
    )
