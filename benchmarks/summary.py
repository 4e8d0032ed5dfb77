"""What the recorded results say: README's table, and the pages of the site about results.

    python benchmarks/summary.py

Runs no model. It reads benchmarks/results/ and writes README's table anew, between its two
marks; docs/conf.py calls write_pages when the site is built. What has no file yet is
said to be not run.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
BEGIN = "<!-- results, written by `python benchmarks/summary.py` -->"
END = "<!-- end of results -->"

BENCHMARKS = {"matbench": "MatBench", "jarvis": "JARVIS-DFT"}
OURS = ("imkt", "exkt", "blended")
MAIN, FAST = "imkt", "imkt-fast"
# what they are without pretraining
SCRATCH = {MAIN: "imkt-scratch", FAST: "imkt-fast-scratch"}
# those of ours that have a column in the tables; the first that is complete stands for us
SHOWN = (MAIN, FAST, "exkt")
OUR_HEADS = tuple(f"`{model}`" for model in SHOWN)
# knows nothing of the formulas, and is nobody's choice
DUMMY = "dummy"
# a mean over tables leaves out those with fewer rows that pretraining has not seen
FEW = 20
# what errors of all models are divided by in the picture of accuracy and time
REFERENCE = "rf-magpie"
ERRORS = {"mae": "MAE", "roc_auc": "1 - ROC AUC", "accuracy": "1 - accuracy"}
VERDICTS = {"win": "better", "tie": "tied", "loss": "worse"}
# Okabe and Ito; shapes say the same
MARKS = {"win": ("#0072B2", "o"), "tie": ("#777777", "D"), "loss": ("#D55E00", "s")}
# points beside a mark, the nearest first; the far ones get a line
LABEL_PLACES = (
    *((7, 7), (-7, 7), (7, -7), (-7, -7), (7, 0), (-7, 0)),
    *((dx, dy) for dy in (15, -15, 25, -25, 35, -35, 45, -45) for dx in (7, -7, 20, -20)),
)
NOT_RUN = "Not run yet: `{command}` makes it.\n"


@dataclass(frozen=True)
class Row:
    """One task: the error of our model, ``main``, beside that of the best peer.

    ``ratio`` is ours over theirs, ``low`` and ``high`` its 95 % interval where the two were
    compared fold by fold, and ``verdict`` what the interval says of ours.
    """

    benchmark: str
    task: str
    unit: str
    score: str
    main: str
    errors: dict[str, float]
    peer: str
    ratio: float
    low: float
    high: float
    verdict: str

    @property
    def holds(self) -> bool:
        """Whether no peer is better: by the mean, or as far as can be told."""
        return self.ratio <= 1 or self.verdict in ("win", "tie")


def read(name: str, results: Path = RESULTS) -> dict[str, Any] | None:
    """Content of a result file, or None."""
    path = results / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def is_ours(model: str) -> bool:
    """Whether a model is one of this package."""
    return model.startswith(OURS)


def error_of(row: Mapping[str, Any], score: str) -> float:
    """Spell a score so that smaller is better; NaN where there is none."""
    value = row.get(score)
    if value is None:
        return math.nan
    return value if score == "mae" else 1 - value


def ran_everywhere(content: Mapping[str, Any]) -> list[str]:
    """Which of the models shown have run on every task."""
    done = {(run["model"], run["task"]) for run in content["summary"]}
    return [m for m in SHOWN if all((m, task) in done for task in content["tasks"])]


def leading(content: Mapping[str, Any]) -> str:
    """Name the model that stands for us: our default, unless only the fast one is complete."""
    return next(iter(ran_everywhere(content)), MAIN)


def compare(
    content: Mapping[str, Any], summary: str = "summary", main: str | None = None
) -> list[Row]:
    """Compare our model with the best peer of each task, by the score all of them have."""
    main = main or leading(content)
    differences = {}
    if summary == "summary":
        for found in content["statistics"].get("differences", ()):
            if found["baseline"] == main:
                differences[found["task"], found["model"]] = found
    rows = []
    for task, about in content["tasks"].items():
        runs = {r["model"]: r for r in content[summary] if r["task"] == task}
        folds = max((r["n_folds"] for r in runs.values()), default=0)
        runs = {m: r for m, r in runs.items() if r["n_folds"] == folds and m != DUMMY}
        if main not in runs:
            continue
        score = next(s for s in ERRORS if not math.isnan(error_of(runs[main], s)))
        errors = {m: error_of(r, score) for m, r in runs.items()}
        peers = [m for m in errors if not is_ours(m) and not math.isnan(errors[m])]
        if not peers:
            continue
        peer = min(peers, key=errors.__getitem__)
        low, high, verdict = math.nan, math.nan, ""
        if (found := differences.get((task, peer))) is not None:
            # peer minus ours, of scores: errors of classes have the other sign
            sign = 1 if score == "mae" else -1
            low, high = sorted(1 - sign * found[end] / errors[peer] for end in ("low", "high"))
            verdict = {"win": "loss", "loss": "win"}.get(found["verdict"], "tie")
        rows.append(
            Row(
                benchmark=content["benchmark"],
                task=task.removeprefix("matbench_"),
                unit=about["unit"],
                score=score,
                main=main,
                errors=errors,
                peer=peer,
                ratio=errors[main] / errors[peer],
                low=low,
                high=high,
                verdict=verdict,
            )
        )
    return rows


def mean_reduction(rows: Sequence[Row], reference: str | None = None) -> float:
    """Average, over tasks with numbers, of the part by which the error is smaller."""
    parts = [
        1 - row.errors[row.main] / row.errors[reference or row.peer]
        for row in rows
        if row.score == "mae" and (reference or row.peer) in row.errors
    ]
    return float(np.mean(parts)) if parts else math.nan


def costs(content: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Seconds of a fold and error over the reference's: geometric means over all tasks."""
    rows = [row for row in compare(content) if REFERENCE in row.errors]
    models = {m for row in rows for m in row.errors}
    models = {m for m in models if all(not math.isnan(r.errors.get(m, math.nan)) for r in rows)}
    seconds: dict[str, list[float]] = {m: [] for m in models}
    for run in content["summary"]:
        if run["model"] in models:
            seconds[run["model"]].append(run["fit_seconds"] + run["predict_seconds"])
    return {
        m: (
            float(np.exp(np.log(seconds[m]).mean())),
            float(np.exp(np.mean([np.log(r.errors[m] / r.errors[REFERENCE]) for r in rows]))),
        )
        for m in sorted(models)
    }


def front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Models that no other beats in both time and error, the fastest first."""
    chosen: list[str] = []
    for model in sorted(points, key=points.__getitem__):
        if not chosen or points[model][1] < points[chosen[-1]][1]:
            chosen.append(model)
    return chosen


# ---------------------------------------------------------------- text


def figure(value: float) -> str:
    """Spell a number with three figures."""
    if math.isnan(value):
        return "-"
    digits = 2 - math.floor(math.log10(abs(value))) if value else 2
    return f"{value:.{max(digits, 0)}f}"


def percent(part: float) -> str:
    """Spell a part."""
    return "-" if math.isnan(part) else f"{part:.0%}".replace("%", " %")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Spell a table in markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def measure(row: Row) -> str:
    """Spell the score of a task with its unit."""
    return ERRORS[row.score] + (f", {row.unit}" if row.unit and row.score == "mae" else "")


def readme_block(results: Path = RESULTS) -> str:
    """README's table, without its marks."""
    contents = {name: read(name, results) for name in BENCHMARKS}
    if not any(contents.values()):
        return "Benchmarks: not run yet.\n"
    rows, said = [], []
    head = ["test", "error", *OUR_HEADS, "best peer run", "on formulas new to it"]
    for name, content in contents.items():
        if content is None:
            continue
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


def own(row: Row) -> list[str]:
    """Spell the errors of our models."""
    return [figure(row.errors.get(model, math.nan)) for model in SHOWN]


def beside(row: Row | None, seen: Row) -> str:
    """Spell errors on the rows that pretraining did not have, ours and the best peer's."""
    if row is None:
        return "-"
    what = "" if row.score == seen.score else f" ({ERRORS[row.score]})"
    return f"{figure(row.errors[row.main])}; {figure(row.errors[row.peer])} ({row.peer}){what}"


def unseen_rows(content: Mapping[str, Any], row: Row) -> tuple[int, int]:
    """Count test rows that pretraining has not seen, and all test rows."""
    tasks = content["audit"]["tasks"]
    found = next(tasks[name] for name in tasks if name.removeprefix("matbench_") == row.task)
    return found["test_rows"] - found["test_rows_in_pool"], found["test_rows"]


def write_readme(results: Path = RESULTS, readme: Path = README) -> None:
    """Put the table between README's marks."""
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    block = f"{BEGIN}\n\n{readme_block(results)}\n{END}"
    readme.write_text(before + block + after, encoding="utf-8")


def overview(contents: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Write how often our models are best, and by how much."""
    yield "## In short\n"
    rows = []
    for name, content in contents.items():
        for model in ran_everywhere(content):
            found = compare(content, main=model)
            ran = {m for row in found for m in row.errors if not is_ours(m)}
            rows.append(
                [
                    f"[{BENCHMARKS[name]}]({name}.md)",
                    f"`{model}`",
                    f"{sum(row.holds for row in found)} of {len(found)}",
                    percent(mean_reduction(found)),
                    against_scratch(found, model),
                    ", ".join(m + of_tasks(found, m) for m in sorted(ran)),
                    content["date"][:10],
                ]
            )
    head = [
        "benchmark",
        "model",
        "best or tied",
        "MAE below best peer's",
        "MAE below scratch's",
        "peers run",
        "date",
    ]
    yield table(head, rows)
    yield (
        f"`{MAIN}` is `ImplicitKTRegressor()` and its classifier with all defaults, `{FAST}` the "
        'same with `readout="fast"`, `exkt` is `ExplicitKTRegressor()` and its classifier; scratch '
        "is the same model without pretrained weights. Tied: the "
        "95 % interval of the difference, fold by fold or over the test compositions, includes "
        "zero. MAEs are compared task by task, over tasks with numbers, and the parts are "
        "averaged. The best peer is chosen for each task after the fact, which no user can do. In "
        "brackets: on how many tasks a model ran, where not on all.\n"
    )


def against_scratch(rows: Sequence[Row], model: str) -> str:
    """Spell by how much a model is better than the same without pretraining."""
    scratch = SCRATCH.get(model)
    return percent(mean_reduction(rows, scratch)) + of_tasks(rows, scratch) if scratch else "-"


def of_tasks(rows: Sequence[Row], model: str) -> str:
    """Say on how many tasks a model ran, unless on none or all."""
    n = sum(model in row.errors for row in rows)
    return f" ({n})" if 0 < n < len(rows) else ""


def losses(contents: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Write on which tasks a peer is better."""
    yield "## Where a peer is better\n"
    lost = [row for c in contents.values() for row in compare(c) if row.ratio > 1]
    if not lost:
        yield f"On no task that was run has a peer a smaller mean error than {spoken(contents)}.\n"
    for row in sorted(lost, key=lambda row: -row.ratio):
        sure = {"loss": "the difference is beyond chance", "tie": "tied"}.get(row.verdict, "")
        yield (
            f"- {BENCHMARKS[row.benchmark]} {row.task}: {row.peer} "
            f"{figure(row.errors[row.peer])}, `{row.main}` {figure(row.errors[row.main])} "
            f"({measure(row)}){'; ' if sure else ''}{sure}."
        )
    for task, board in contents.get("matbench", {}).get("published", {}).items():
        place = next((i for i, line in enumerate(board) if line["model"] == MAIN), 0)
        above = [line["model"] for line in board[:place] if not line["ours"]]
        if above:
            name = task.removeprefix("matbench_")
            yield (
                f"- MatBench {name}: by MatBench's own rule, the recorded submissions above "
                f"`{MAIN}` are {', '.join(above)} ([leaderboard](matbench.md))."
            )
    yield ""


def spoken(contents: Mapping[str, dict[str, Any]]) -> str:
    """Name the models that stand for us."""
    found = {name: leading(content) for name, content in contents.items()}
    if len(set(found.values())) == 1:
        return f"`{next(iter(found.values()))}`"
    return " and ".join(f"`{model}` ({BENCHMARKS[name]})" for name, model in found.items())


def tasks_table(contents: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Write the errors on each task."""
    yield "## Every task\n"
    rows = [
        [
            f"{BENCHMARKS[row.benchmark]} {row.task}",
            measure(row),
            *own(row),
            f"{figure(row.errors[row.peer])} ({row.peer})",
            f"{row.ratio:.2f}",
            VERDICTS.get(row.verdict, "-"),
        ]
        for content in contents.values()
        for row in compare(content)
    ]
    head = ["task", "error", *OUR_HEADS, "best peer", "ratio", "ours is"]
    yield table(head, rows)
    yield f"Ratios and verdicts are those of {spoken(contents)}.\n"


def unseen(contents: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Write the errors on the test rows whose formula pretraining did not have."""
    yield "## On formulas that pretraining has not seen\n"
    yield (
        "Pretraining knew properties of many of these formulas, from other calculations "
        "([what is in the checkpoint](../guide/checkpoint.md)); that is what is transferred. For "
        "a compound that nobody has calculated, these rows are the better guess. Where they are "
        "all of one class, no ROC AUC is defined and the accuracy is given.\n"
    )
    rows = []
    for content in contents.values():
        for row in compare(content, "summary_unseen") if "summary_unseen" in content else ():
            left, of_all = unseen_rows(content, row)
            rows.append(
                [
                    f"{BENCHMARKS[row.benchmark]} {row.task}",
                    f"{left:,} of {of_all:,}",
                    measure(row),
                    *own(row),
                    f"{figure(row.errors[row.peer])} ({row.peer})",
                    f"{row.ratio:.2f}",
                ]
            )
    head = ["task", "test rows", "error", *OUR_HEADS, "best peer", "ratio"]
    yield table(head, rows)


def ablation_text(content: Mapping[str, Any]) -> str:
    """Spell the ablation."""
    head = ["pretrained on", "mean reduction of the error against training from scratch"]
    parts = content["mean_relative_reduction"]
    rows = [[name, f"{part:+.1%}".replace("%", " %")] for name, part in parts.items()]
    errors = [[task, *map(figure, found.values())] for task, found in content["errors"].items()]
    return (
        f"One network each, fine-tuned on {len(errors)} tables: small ones after "
        f"{content['steps']:,} steps of pretraining, and `default`, the larger checkpoint in the "
        f"package after 20,000 steps.\n\n{table(head, rows)}\n\n"
        f"Errors ({content['error']}):\n\n{table(['table', *parts], errors)}"
    )


def learning_curve_text(content: Mapping[str, Any]) -> str:
    """Spell errors against the number of training rows."""
    scores = content["scores"]
    sizes = sorted({s["rows"] for s in scores})
    rows = []
    for name in dict.fromkeys(s["table"] for s in scores):
        for model in dict.fromkeys(s["model"] for s in scores):
            line = {s["rows"]: s for s in scores if (s["table"], s["model"]) == (name, model)}
            unit = next(iter(line.values()))["unit"] if line else ""
            cells = [figure(line[n]["mae"]) if n in line else "-" for n in sizes]
            rows.append([f"{name}, {unit}" if unit else name, model, *cells])
    return table(["MAE of", "model", *(f"{n:,} rows" for n in sizes)], rows)


def cost_text(content: Mapping[str, Any]) -> str:
    """Spell what one fold takes."""
    rows = [
        [
            row["task"].removeprefix("matbench_"),
            row["model"],
            f"{row['fit_seconds']:.3g}",
            f"{row['predict_seconds']:.3g}",
            f"{row['peak_mb']:.0f}",
        ]
        for row in content["summary"]
    ]
    head = ["task", "model", "fit, s", "predict, s", "peak memory, MB"]
    return f"One fold on one core.\n\n{table(head, rows)}"


def explain_text(content: Mapping[str, Any]) -> str:
    """Spell how long explanations take."""
    rows = [
        [name, baseline.removeprefix("baseline="), f"{found['cpu_s']:g}", f"{found['wall_s']:g}"]
        for name, parts in content["seconds"].items()
        for baseline, found in parts.items()
        if baseline.startswith("baseline=")
    ]
    load = ", ".join(map(str, content["load_average"]))
    return (
        f"{content['formulas']:,} formulas of {content['elements']} elements to order "
        f"{content['order']}, exactly; {content['machine']}, load average {load} while it ran. "
        "CPU seconds hardly depend on what else runs, wall-clock seconds do.\n\n"
        + table(["model", "an absent element is", "CPU s", "wall-clock s"], rows)
    )


def inference_text(content: Mapping[str, Any]) -> str:
    """Spell what faster arithmetic gains and costs."""
    rows = [
        [
            name,
            f"{found['cpu_us_per_formula']:g}",
            f"{found['speedup']:g}",
            f"{found['largest_change']:g}",
        ]
        for name, found in content["encoder"].items()
    ]
    head = ["encoder", "CPU µs a formula", "speed-up", "largest change, in standard deviations"]
    return table(head, rows)


def intervals_text(content: Mapping[str, Any]) -> str:
    """Spell how often the truth lay inside intervals."""
    rows = [
        [
            row["task"].removeprefix("matbench_"),
            f"{row['n_test']:,}",
            percent(row["nominal"]),
            f"{row['covered']:.1%}".replace("%", " %"),
            f"{row['worst_fold']:.1%}".replace("%", " %"),
            f"{figure(row['mean_width'])} {row['unit']}",
        ]
        for row in content["rows"]
    ]
    head = ["task", "test rows", "asked for", "covered", "in the worst fold", "mean width"]
    return f"Model `{content['model']}`.\n\n{table(head, rows)}"


def structures_text(content: Mapping[str, Any]) -> str:
    """Spell how often generators find the known crystal."""
    sets = {"mp20": "MP-20", "mpts52": "MPTS-52", "wbm": "WBM"}
    kinds = {
        "absent": "not in the library",
        "without_formula": "own crystals taken out",
        "without_family": "and those of the same prototype and groups of elements",
    }
    head = ["formulas", "candidates", "first right", "one of five right", "volume error", "seconds"]
    found = [
        [f"{sets[name]}, {label}", *_of_generator(part[kind])]
        for name, part in content["results"].items()
        for kind, label in kinds.items()
    ]
    beside = [
        [
            f"{sets[name]}, {model}",
            *_of_generator(part[model]),
            percent(part[model].get("valid", math.nan)),
        ]
        for name, part in content["compared"].items()
        for model in ("prototypes", "crystallm", "both")
    ]
    n, m = (
        next(iter(content[key].values()))[kind]["n"]
        for key, kind in (("results", "absent"), ("compared", "prototypes"))
    )
    return (
        f"The prototype library, on {n} formulas of each kind from test splits that it was not "
        "made of. Right is what pymatgen's StructureMatcher (ltol 0.3, stol 0.5, angle_tol 10) "
        "matches to the most stable known crystal; no candidate counts as wrong. Volume errors "
        f"are medians, seconds those of a formula on one thread.\n\n{table(head, found)}\n"
        f"Beside the small CrystaLLM in the package, ten texts each, on {m} formulas of each set "
        "that neither has seen:\n\n" + table([*head, "valid texts"], beside)
    )


def _of_generator(scores: Mapping[str, Any]) -> list[str]:
    return [
        *(percent(scores[key]) for key in ("coverage", "top1", "top5", "median_volume_error")),
        figure(scores.get("cpu_seconds_per_formula", math.nan)),
    ]


TEXTS = {
    "ablation": ("python benchmarks/ablation.py", ablation_text),
    "learning_curve": ("python benchmarks/learning_curve.py", learning_curve_text),
    "cost": ("python benchmarks/peers/run.py imkt-fast rf-magpie imkt --folds 0", cost_text),
    "explain": ("python benchmarks/bench_explain.py", explain_text),
    "intervals": ("python benchmarks/bench_intervals.py", intervals_text),
    "inference": ("python benchmarks/bench_inference.py", inference_text),
    "structures": ("python benchmarks/bench_structures.py compare", structures_text),
}
# pages that the benchmarks write themselves
PAGES = {
    "matbench": "make bench-matbench",
    "jarvis": "make bench-jarvis",
    "speed": "make bench-speed",
    "explicit": "python benchmarks/bench_explicit.py",
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
    contents = {name: found for name in BENCHMARKS if (found := read(name, results))}
    (folder / "overview.inc").write_text(_overview_page(contents, folder), encoding="utf-8")
    for name, (command, spell) in TEXTS.items():
        content = read(name, results)
        text = NOT_RUN.format(command=command)
        if content is not None:
            when = f"{content['date']}, " if "date" in content else ""
            commands = content.get("commands", {"": content.get("command")})
            said = ", ".join(f"`{command}`" for command in dict.fromkeys(commands.values()))
            text = f"{when}{said}.\n\n{spell(content)}"
            text += _picture(results / f"{name}.png", folder)
        (folder / f"{name}.inc").write_text(text, encoding="utf-8")
    for name, command in PAGES.items():
        path = results / f"{name}.md"
        text = NOT_RUN.format(command=command)
        if path.exists():
            # the page that includes it has a title of its own
            text = re.sub(r"\A# .*\n+", "", path.read_text(encoding="utf-8"))
            text += _picture(results / f"{name}.png", folder)
        (folder / f"{name}.inc").write_text(text, encoding="utf-8")


def _overview_page(contents: Mapping[str, dict[str, Any]], folder: Path) -> str:
    if not contents:
        return NOT_RUN.format(command="make bench-matbench") + "\n"
    rows = [row for content in contents.values() for row in compare(content)]
    points = {BENCHMARKS[name]: costs(content) for name, content in contents.items()}
    lines = [*overview(contents)]
    draw_ratios(rows, folder / "ratios.svg")
    lines.append(
        f"```{{figure}} {folder.name}/ratios.svg\n"
        f":alt: Error of our model divided by that of the best peer, one row for each of "
        f"{len(rows)} tasks.\n:figclass: narrow\n\n"
        f"Error of {spoken(contents)} over that of the best peer, with 95 % intervals; left of 1 "
        f"is better. Rings: `{FAST}`.\n```\n"
    )
    lines += [*losses(contents)]
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
    lines += [*unseen(contents), *tasks_table(contents)]
    return "\n".join(lines) + "\n"


def _picture(path: Path, folder: Path) -> str:
    if not path.exists():
        return ""
    shutil.copy(path, folder)
    return f"\n![The same as a picture.]({folder.name}/{path.name})\n"


# ---------------------------------------------------------------- pictures


def draw_ratios(rows: Sequence[Row], path: Path) -> None:
    """Draw one row a task; narrow and in large letters, for telephones."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    order = [*BENCHMARKS]
    rows = sorted(rows, key=lambda row: (order.index(row.benchmark), row.ratio))
    names = list(dict.fromkeys(row.benchmark for row in rows))
    # a line above each benchmark for its name
    places = [place + 1 + names.index(row.benchmark) for place, row in enumerate(rows)]
    drawn = Figure(figsize=(4.2, 0.9 + 0.22 * (len(rows) + len(names))), layout="constrained")
    ax = drawn.subplots()
    for name in names:
        place = places[next(i for i, row in enumerate(rows) if row.benchmark == name)] - 1
        ax.text(0, place, BENCHMARKS[name], transform=ax.get_yaxis_transform(), fontsize=9,
                fontweight="bold", va="center")  # fmt: skip
    shown = [0.9, 1.05]
    for place, row in zip(places, rows, strict=True):
        colour, shape = MARKS[verdict(row)]
        if not math.isnan(row.low):
            ax.plot([row.low, row.high], [place, place], color=colour, lw=1.5, alpha=0.6)
            # wide intervals of small test parts may run out of the picture
            shown += [max(row.low, row.ratio - 0.3), min(row.high, row.ratio + 0.3)]
        if FAST in row.errors and row.main != FAST:
            shown.append(row.errors[FAST] / row.errors[row.peer])
            ax.plot(shown[-1], place, "o", mfc="none", mec="black", ms=6, mew=0.8, zorder=2)
        shown.append(row.ratio)
        ax.plot(row.ratio, place, shape, color=colour, ms=5, zorder=3)
    ax.axvline(1, color="black", lw=1, zorder=1)
    ax.set_xlim(min(shown) - 0.03, max(shown) + 0.03)
    ax.set_yticks(places, [row.task for row in rows], fontsize=8)
    ax.set_ylim(max(places) + 0.6, -0.6)
    ax.tick_params(axis="x", labelsize=8)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("error / best peer's error", fontsize=9)
    ax.grid(axis="x", alpha=0.3)
    ax.spines[["top", "right", "left"]].set_visible(False)
    kinds = {verdict(row) for row in rows}
    handles = [
        Line2D([], [], color=colour, marker=shape, lw=1.5, ms=5, label=VERDICTS[kind])
        for kind, (colour, shape) in MARKS.items()
        if kind in kinds
    ]
    rings = Line2D([], [], marker="o", mfc="none", mec="black", lw=0, ms=6, mew=0.8, label=FAST)
    drawn.legend(
        handles=[*handles, rings], loc="outside upper center", ncols=4, fontsize=8, frameon=False
    )
    drawn.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def verdict(row: Row) -> str:
    """Say what is shown of a row: its interval's verdict, or where there is none its mean's."""
    return row.verdict or ("win" if row.ratio <= 1 else "loss")


def draw_costs(benchmarks: Mapping[str, Mapping[str, tuple[float, float]]], path: Path) -> None:
    """Draw error against seconds, one panel a benchmark, below each other."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    benchmarks = {name: points for name, points in benchmarks.items() if points}
    drawn = Figure(figsize=(4.2, 3.4 * len(benchmarks)), layout="constrained")
    axes = drawn.subplots(len(benchmarks), squeeze=False)[:, 0]
    for ax, (name, points) in zip(axes, benchmarks.items(), strict=True):
        line = [points[model] for model in front(points)]
        ax.plot(*zip(*line, strict=True), color="#555555", lw=1, drawstyle="steps-post", zorder=1)
        for model, point in points.items():
            colour, shape = MARKS["win"] if is_ours(model) else MARKS["loss"]
            ax.plot(*point, shape, color=colour, ms=6, zorder=2)
        ax.set(xscale="log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("seconds to fit and predict a fold", fontsize=9)
        ax.set_ylabel(f"error / {REFERENCE}'s", fontsize=9)
        ax.tick_params(labelsize=8)
        ax.margins(0.12)
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    # places of labels count from where the axes will stand
    drawn.draw_without_rendering()
    drawn.set_layout_engine("none")
    for ax, points in zip(axes, benchmarks.values(), strict=True):
        write_names(ax, points)
    drawn.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def write_names(ax: Any, points: Mapping[str, tuple[float, float]]) -> None:
    """Write each model beside its point, where nothing else stands."""
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    centres = [ax.transData.transform(point) for point in points.values()]
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in centres]
    for model, point in points.items():
        colour = MARKS["win" if is_ours(model) else "loss"][0]
        for place, (x, y) in enumerate(LABEL_PLACES):
            text = ax.annotate(
                model,
                point,
                (x, y),
                textcoords="offset points",
                ha="left" if x > 0 else "right" if x < 0 else "center",
                va="center",
                fontsize=8,
                color=colour,
                arrowprops={"arrowstyle": "-", "lw": 0.5, "color": colour} if place >= 6 else None,
            )
            # puts it in its place; its box is that of the letters, without the line
            text.get_window_extent()
            box = Text.get_window_extent(text)
            free = not any(box.overlaps(other) for other in taken)
            last = place == len(LABEL_PLACES) - 1
            if last or (free and ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1 + 12):
                taken.append(box)
                break
            text.remove()


if __name__ == "__main__":
    write_readme()
