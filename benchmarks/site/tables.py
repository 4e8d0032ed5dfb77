"""Text of the pages about results."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd
from scipy.stats import binomtest

from benchmarks.common import RESULTS
from benchmarks.models import MODELS, is_ours
from benchmarks.speed.sizes import TRAINED_ON

from .contents import (
    BENCHMARKS,
    ERRORS,
    FAST,
    MAIN,
    SHOWN,
    Row,
    Verdicts,
    compare,
    known_part,
    leading,
    mean_reduction,
    new_rows,
    ran_everywhere,
)
from .figures import VERDICTS

OUR_HEADS = tuple(f"`{model}`" for model in SHOWN)
# runs of the ablation that differ in one part
STEPS = (
    ("masked", "scratch"),
    ("masked+stability", "masked"),
    ("masked+stability+text", "masked+stability"),
    ("masked+stability+structure", "masked+stability"),
    ("masked+stability+property", "masked+stability"),
    ("all", "masked+stability+property"),
    ("all", "masked+stability+structure"),
    # BERT on the tokens of the formula
    ("formula", "all"),
    ("default", "all"),
)
# that were shown to the checkpoint in the package in its four runs, and to small ones in a step
_SHIPPED_ROWS, _ROWS_A_STEP = (20_000 + 8_600 + 5_000) * 512 + 9_527 * 2_048, 512
# what others have published of generated crystals
OTHER_GENERATORS = RESULTS / "structures_published.csv"
# of crystals, whose formulas are asked for
SETS = {"mp20": "MP-20", "mpts52": "MPTS-52", "wbm": "WBM"}
# a mean over tables leaves out those with fewer rows that pretraining has not seen
FEW = 20
# of results that name no weights
EARLIER = "Measured with weights of before those in the package.\n\n"
# part by which more rows may make an error larger before it is said
RISE = 0.05


def figure(value: float) -> str:
    """Spell a number with three figures."""
    if math.isnan(value):
        return "-"
    digits = 2 - math.floor(math.log10(abs(value))) if value else 2
    return f"{value:.{max(digits, 0)}f}"


def percent(part: float) -> str:
    """Spell a part."""
    return "-" if math.isnan(part) else f"{part:.0%}".replace("%", " %")


def interval(part: float, n: int) -> tuple[float, float]:
    """Give Wilson's interval of a part of n."""
    low, high = binomtest(round(part * n), n).proportion_ci(method="wilson")
    return float(low), float(high)


def share(part: float, n: int) -> str:
    """Spell a part of n, with its interval."""
    low, high = interval(part, n)
    return f"{part:.1%} ({low:.0%} to {high:.0%})".replace("%", " %")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Spell a table in markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def folded(title: str, text: str) -> str:
    """Spell what a reader opens: tables of every task and model."""
    return f":::::{{dropdown}} {title}\n\n{text}\n:::::\n"


def measure(row: Row) -> str:
    """Spell the score of a task with its unit."""
    return ERRORS[row.score] + (f", {row.unit}" if row.unit and row.score == "mae" else "")


def own(row: Row, models: Sequence[str] = SHOWN) -> list[str]:
    """Spell the errors of our models."""
    return [figure(row.errors.get(model, math.nan)) for model in models]


def overview(contents: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Write how often our models are best, and by how much."""
    yield "## In short\n"
    rows, peers = [], []
    for name, content in contents.items():
        found = compare(content)
        ran = sorted({m for row in found for m in row.errors if not is_ours(m)})
        peers.append(f"{BENCHMARKS[name]}: {', '.join(m + of_tasks(found, m) for m in ran)}")
        for model in ran_everywhere(content):
            found = compare(content, main=model)
            counts = Verdicts.of(found)
            rows.append(
                [
                    f"[{BENCHMARKS[name]}]({name}.md)",
                    f"`{model}`",
                    f"{counts.better} / {counts.tied} / {counts.worse}",
                    f"{counts.ahead} of {len(found)}",
                    percent(mean_reduction(found)),
                    against_scratch(found, model),
                    content["date"][:10],
                ]
            )
    head = [
        "benchmark",
        "model",
        "better / tied / worse",
        "smaller mean error",
        "MAE below best peer's",
        "MAE below scratch's",
        "date",
    ]
    yield table(head, rows)
    yield f"Peers that were run. {'. '.join(peers)}.\n"
    yield (
        f"`{MAIN}` is `ImplicitKTRegressor()` and its classifier with all defaults, `{FAST}` the "
        'same with `readout="fast"`, `exkt` is `ExplicitKTRegressor()` and its classifier; scratch '
        "is the same model without pretrained weights. Tied: the 95 % interval of the difference "
        "from the best peer, fold by fold or over the test compositions, includes zero, which does "
        "not show that the two are equally good. MAEs are compared task by task, over tasks with "
        "numbers, and the parts are averaged. The best peer is chosen for each task after the "
        "fact, which no user can do. In "
        "brackets: on how many tasks a model ran, where not on all.\n"
    )


def against_scratch(rows: Sequence[Row], model: str) -> str:
    """Spell by how much a model is better than the same without pretraining."""
    scratch = MODELS[model].scratch
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
    for task, above in above_ours(contents).items():
        yield (
            f"- MatBench {task}: by MatBench's own rule, the recorded submissions above "
            f"`{MAIN}` are {', '.join(above)} ([leaderboard](matbench.md))."
        )
    if ratios := contents.get("jarvis", {}).get("gupta"):
        yield f"- {beside_transfer(ratios)}"
    yield ""


def above_ours(contents: Mapping[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Name the recorded submissions that stand above our default, by task of MatBench."""
    found = {}
    for task, board in contents.get("matbench", {}).get("published", {}).items():
        place = next((i for i, line in enumerate(board) if line["model"] == MAIN), 0)
        if above := [line["model"] for line in board[:place] if not line["ours"]]:
            found[task.removeprefix("matbench_")] = above
    return found


def beside_transfer(ratios: Mapping[str, float]) -> str:
    """Spell our error over the better one that others published with and without transfer."""
    lost = [f"{task} ({ratio:.2f})" for task, ratio in ratios.items() if ratio > 1]
    return (
        f"Over the better of the two errors that Gupta et al. (2021) published for the same splits "
        f"of JARVIS-DFT, with transfer and without, the error of `{MAIN}` is "
        f"{figure(statistics.mean(ratios.values()))} in the mean; theirs is the smaller on "
        f"{len(lost)} of {len(ratios)}{': ' if lost else ''}{', '.join(lost)}."
    )


def spoken(contents: Mapping[str, dict[str, Any]]) -> str:
    """Name the models that stand for us."""
    found = {name: leading(content) for name, content in contents.items()}
    if len(set(found.values())) == 1:
        return f"`{next(iter(found.values()))}`"
    return " and ".join(f"`{model}` ({BENCHMARKS[name]})" for name, model in found.items())


def tasks_table(content: dict[str, Any]) -> str:
    """Spell the errors on each task of a benchmark, those where we are furthest ahead first."""
    found = sorted(compare(content), key=lambda row: row.ratio)
    models = [model for model in SHOWN if any(model in row.errors for row in found)]
    rows = [
        [
            row.task,
            measure(row),
            *own(row, models),
            f"{figure(row.errors[row.peer])} ({row.peer})",
            f"{row.ratio:.2f}",
            VERDICTS.get(row.verdict, "-"),
            percent(known_part(content, row.task)),
        ]
        for row in found
    ]
    head = [
        "task",
        "error",
        *(f"`{model}`" for model in models),
        "best peer",
        "ratio",
        "ours is",
        "quantity known",
    ]
    return (
        f"{table(head, rows)}\nRatios and verdicts are those of `{leading(content)}`; tied: the"
        " 95 % interval of the difference includes zero. Quantity known: the part of the test rows "
        "of which pretraining knows the same quantity, from other calculations.\n"
    )


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
            left, of_all = new_rows(content, row.task)
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
    yield folded("Errors on these rows, task by task", table(head, rows))


def ablation_text(content: Mapping[str, Any]) -> str:
    """Spell the ablation."""
    head = ["pretrained on", "mean reduction of the error against training from scratch"]
    parts = content["mean_relative_reduction"]
    rows = [[name, f"{part:+.1%}".replace("%", " %")] for name, part in parts.items()]
    errors = [[task, *map(figure, found.values())] for task, found in content["errors"].items()]
    steps = [[added, to, *added_value(content, added, to)] for added, to in STEPS]
    added = (
        "What one part adds to others: the change of the error, by the geometric mean over the "
        "tables, its standard error, and on how many tables it was smaller. One seed.\n\n"
        + table(["with", "against", "change of the error", "smaller on"], steps)
    )
    each = f"{content['error']}.\n\n{table(['table', *parts], errors)}"
    more = _SHIPPED_ROWS / (content["steps"] * _ROWS_A_STEP)
    return (
        f"One network each, fine-tuned on {len(errors)} tables: small ones after "
        f"{content['steps']:,} steps of pretraining (`formula`: all objectives too, by BERT on the "
        "tokens of the formula, as wide and as deep), and `default`, the larger checkpoint in the "
        f"package, which was shown {more:.0f} times as many rows.\n\n"
        f"{folded('Against training from scratch', table(head, rows))}\n"
        f"{folded('What one part adds', added)}\n{folded('Errors on every table', each)}"
    )


def added_value(content: Mapping[str, Any], with_it: str, without: str) -> tuple[str, str]:
    """Spell how errors change from one run to another, and on how many tables they are smaller.

    A ratio of errors is averaged by its logarithm.
    """
    pairs = [(found[with_it], found[without]) for found in content["errors"].values()]
    changes = [math.log(a / b) for a, b in pairs]
    ratio = math.exp(statistics.mean(changes))
    error = ratio * statistics.stdev(changes) / math.sqrt(len(changes))
    text = f"{100 * (ratio - 1):+.1f} ± {100 * error:.1f} %"
    return text, f"{sum(change < 0 for change in changes)} of {len(changes)}"


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
    head = ["MAE of", "model", *(f"{n:,} rows" for n in sizes)]
    earlier = "" if content.get("weights") else EARLIER
    return f"{earlier}{rises(content)}{folded('Errors by rows', table(head, rows))}"


def rises(content: Mapping[str, Any], models: Sequence[str] = ()) -> str:
    """Say where more rows made an error clearly larger; nothing where they did nowhere."""
    lines: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for score in sorted(content["scores"], key=lambda s: s["rows"]):
        lines.setdefault((score["table"], score["model"]), []).append(score)
    found = [
        f"`{model}` on {name} {figure(few['mae'])} {few['unit']} with {few['rows']:,} rows and "
        f"{figure(more['mae'])} with {more['rows']:,}"
        for (name, model), scores in lines.items()
        for few, more in pairwise(scores)
        if more["mae"] > (1 + RISE) * few["mae"] and (not models or model in models)
    ]
    if not found:
        return ""
    return (
        f"With more rows an error should not grow. It did, by more than {percent(RISE)}: "
        f"{'; '.join(found)}. One sample of rows and one seed; counted from the larger of the "
        "two, the rows that follow look worth more than they are.\n\n"
    )


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


def speed_text(content: Mapping[str, Any]) -> str:
    """Spell seconds and peak memory by number of formulas."""
    sizes = sorted({int(n) for done in content["parts"].values() for n in done})
    rows = []
    for name, done in content["parts"].items():
        found = [done.get(str(n), {}) for n in sizes]
        cells = [
            f"{f['wall_s']:.3g} ({f['peak_mb']:,})" if "wall_s" in f else f.get("left_out", "")
            for f in found
        ]
        rows.append([name, *cells])
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    return (
        f"Seed {content['seed']}; {versions}; cores: {content['cores']}, load average "
        f"{content['load_average']}. Wall-clock seconds (peak memory in MB of the whole process) "
        f"by number of formulas; prediction is by a model trained on {TRAINED_ON:,} rows. What "
        "would take longer than the limit, judged by the size before, was left out.\n\n"
        + table(["part", *(f"{n:,}" for n in sizes)], rows)
    )


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
        f"{content['order']}, exactly; {content['versions']['machine']}, load average {load} while "
        "it ran. CPU seconds hardly depend on what else runs, wall-clock seconds do.\n\n"
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


# test rows that make a group, and by how much its coverage may be off
_MIN_GROUP, _OFF = 200, 0.05


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
    text = f"Model `{content['model']}`.\n\n{table(head, rows)}"
    groups = [
        [
            row["task"].removeprefix("matbench_"),
            group,
            f"{found['n_test']:,}",
            percent(row["nominal"]),
            f"{found['covered']:.1%}".replace("%", " %"),
            "yes" if abs(found["covered"] - row["nominal"]) > _OFF else "",
        ]
        for row in content["rows"]
        for group, found in row.get("groups", {}).items()
        if found["n_test"] >= _MIN_GROUP
    ]
    if not groups:
        return text
    head = ["task", "test rows that are", "how many", "asked for", "covered", "off by more than 5"]
    return (
        f"{text}\n## By group\n\nGroups of {_MIN_GROUP} test rows or more. A value that many rows "
        "have is inside any interval around it, so that rows predicted as it are covered more "
        f"often than asked for.\n\n{table(head, groups)}"
    )


def structures_text(content: Mapping[str, Any]) -> str:
    """Spell how often generators find the known crystal."""
    kinds = {
        "without_test": "without the compositions of the test part",
        "without_family": "nor crystals of the true prototype with elements of the same groups",
        "shipped": "as shipped, with the number of atoms told",
        "as_called": "as a user calls it, formula alone",
        "by_energy": "without the test part, ranked by energy",
        "by_both": "without the test part, ranked by both",
    }
    found = [
        [
            f"{SETS[name]}, {label}",
            f"{part[kind]['n']:,} of {part['structures']:,}",
            *(share(part[kind][key], part[kind]["n"]) for key in ("top1", "top20")),
            *(figure(part[kind][key]) for key in ("rms1", "rms20")),
            percent(part[kind]["median_volume_error"]),
            figure(part[kind]["cpu_seconds_per_formula"]),
        ]
        for name, part in content["results"].items()
        for kind, label in kinds.items()
        if kind in part
    ]
    halves = [
        f"{_spelled_share(part['shipped'], 'known')} in {SETS[name]} whose composition the library "
        f"has and {_spelled_share(part['shipped'], 'others')} others"
        for name, part in content["results"].items()
    ]
    limits = [
        f"{part['distinct_questions'] / part['structures']:.1%} of {SETS[name]}".replace("%", " %")
        for name, part in content["results"].items()
    ]
    head = [
        "test part, library",
        "structures",
        "first candidate",
        "one of 20",
        "rms",
        "rms of 20",
        "volume error",
        "seconds",
    ]
    beside = [
        [
            f"{SETS[name]}, {model}",
            *(
                percent(part[model][key])
                for key in ("coverage", "top1", "top5", "median_volume_error")
            ),
            figure(part[model].get("cpu_seconds_per_formula", math.nan)),
            percent(part[model].get("valid", math.nan)),
        ]
        for name, part in content["compared"].items()
        for model in ("prototypes", "crystallm", "both")
    ]
    published = pd.read_csv(OTHER_GENERATORS)
    theirs = [
        [
            f"{SETS[name]}, {model}",
            *(value for n in (1, 20) for value in _published(rows[rows["candidates"] == n])),
            ", ".join(f"<{source}>" for source in rows["source"].unique()),
        ]
        for (name, model), rows in published.groupby(["set", "model"], sort=False)
    ]
    names = ["formulas", "candidates", "first right", "one of five right", "volume error"]
    m = next(iter(content["compared"].values()))["prototypes"]["n"]
    field = (
        "Found, with 95 % intervals, by the prototype library; where not all structures were asked "
        "for they are drawn at random with a fixed seed. The root mean square (rms) of the "
        "displacements is of what was found, over the cube root of the volume per atom; volume "
        "errors are medians, seconds those of twenty candidates on one thread.\n\n"
        f"{table(head, found)}\n"
        "With the library as shipped the first candidate is right for "
        f"{', and for '.join(halves)}. A model with one answer to one question, the composition "
        f"and the number of atoms, can find {', '.join(limits)} at most: the others are "
        "polymorphs of equal cells."
    )
    small = (
        f"The small one in the package, ten texts each, on {m} formulas of each set that neither "
        "has seen. Right is what matches the most stable crystal of the composition; no candidate "
        f"counts as wrong.\n\n{table([*names, 'seconds', 'valid texts'], beside)}"
    )
    others = (
        "Published for the whole test parts, not computed again. The models learn from the "
        "training parts, another training set than the library, and are told the composition of "
        "the cell, and so the number of atoms. What no source at hand has is left out.\n\n"
        f"{table(['test part, model', 'one', 'rms', 'twenty', 'rms of 20', 'source'], theirs)}"
    )
    parts = {
        "By the protocol of the field": field,
        "Published numbers of other models": others,
        "Beside CrystaLLM": small,
    }
    return "\n".join(folded(title, text) for title, text in parts.items())


def _published(rows: pd.DataFrame) -> tuple[str, str]:
    """Spell the match rate and the rms of one row, if there is one."""
    if not len(rows):
        return "-", "-"
    [row] = rows.to_dict("records")
    return f"{row['match_rate']:.2f} %", f"{row['rms']:.4f}"


def _spelled_share(scores: Mapping[str, Any], which: str) -> str:
    part = scores[f"top1_of_{which}"]
    n = scores["known_compositions"]
    return f"{percent(part)} of the {n if which == 'known' else scores['n'] - n}"
