"""Numbers in the text of pages about results are those of the results."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy.compare import CALCULATED, LABELS_UNKNOWN, THERMOELECTRICS_SEED
from benchmarks.accuracy.transfer import MATBENCH, N_TEXTS
from benchmarks.common import Kept, read_json
from benchmarks.site.contents import Verdicts, compare, read, read_kept
from benchmarks.site.details import transfer_errors
from sklearn_kt.benchmarking import COMPOSITION_TASKS, JARVIS_TABLES
from sklearn_kt.encoder.modeling import CompositionEncoderConfig
from sklearn_kt.encoder.weights import PRESETS, load_checkpoint
from sklearn_kt.estimators.implicit_base import _FROZEN_PART, _UPDATES
from sklearn_kt.evaluation import compare_models

FORESTS = ("et-fractions", "et-magpie", "rf-magpie")
DOCS = Path(__file__).parents[2] / "docs" / "results"
NAMES = "none one two three four five six seven eight nine ten eleven twelve"
WORDS = dict(enumerate(NAMES.split(" ")))
# one and two are words of any sentence
SPELLED = re.compile(
    rf"\b(?:{'|'.join([*list(WORDS.values())[3:], 'thirty', 'third', 'fifth', 'half'])})s?\b"
)


def prose(name: str) -> str:
    """Read what a page says itself: no code, no directives, no links, on one line."""
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"(\{\w+\})?`[^`]*`", "`", text, flags=re.DOTALL)
    return " ".join(text.split())


def kept_of(name: str) -> Kept:
    found = read_kept(name)
    assert found is not None
    return found


def percent(part: float) -> str:
    return f"{100 * part:.0f}"


def transfer_facts() -> list[str]:
    """Fragments of the page on transfer, with numbers from the folds."""
    kept = kept_of("explicit")
    errors = transfer_errors(kept)
    assert len(errors) == 12

    def gain(task: str, model: str) -> float:
        return 1 - errors[task][model] / errors[task]["imkt"]

    def auc(task: str, model: str) -> str:
        return f"{1 - errors[task][model]:.4f}".removeprefix("0")

    moduli = ("aflow_bulk_modulus", "aflow_shear_modulus")
    own = [gain(task, "exkt") for task in moduli]
    absent, true = (sorted(gain(task, m) for task in moduli) for m in ("absent", "true"))
    assert percent(own[0]) == percent(own[1])
    # "a fifth smaller"
    assert gain(moduli[0], "blended") == pytest.approx(0.2, abs=0.02)
    # what the blend has most of
    assert gain(moduli[0], "exkt_kernel") > own[0]
    small = [task for task in errors if task.startswith(("piezo", "min_ir"))]
    *gains, largest = sorted(gain(task, "blended") for task in small)
    assert gain("piezo_max_dij", "blended") == largest
    assert gains[0] > 0
    tested = [sum(len(p.y) for p in kept.parts.values() if p.task == task) for task in small]
    # "it is gone"
    assert gain("phonons", "absent") < 0
    folds = kept.about["folds"]["matbench_glass"].values()
    glass = sum(len(p.y) for p in kept.parts.values() if p.task == "matbench_glass")
    assert sum(f["no_structure"] for f in folds) / glass == pytest.approx(0.2, abs=0.03)
    assert np.mean([1 - f["weights"]["imkt"] for f in folds]) < 0.25
    supercon, phonons = errors["supercon_tc"], errors["phonons"]
    dij = errors["piezo_max_dij"]
    gained = [gain(task, "blended") for task in errors]
    better, level = (
        sum(low < g <= high for g in gained) for low, high in ((0.01, 1), (-0.01, 0.01))
    )
    assert better + level == len(errors) - 1
    # the default is better than the blend on the tasks of MatBench
    content = read("matbench")
    assert content is not None
    default = {row.task: row.errors["imkt"] for row in compare(content, main="imkt")}
    for task in MATBENCH:
        assert default[task.removeprefix("matbench_")] < errors[task]["blended"]
    ablation = read_json("ablation")
    assert ablation is not None
    runs = len(ablation["runs"])
    here = [run["model"] for run in ablation["runs"] if "16 CPU" not in run["machine"]]
    assert here.count("formula") == len(ablation["errors"])
    assert set(here) == {"formula", "scratch"}
    blocks = [
        sizes["num_hidden_layers"]
        for sizes in (PRESETS["small"], load_checkpoint("default")[0]["config"])
    ]
    few, shipped = (f"{WORDS[int(_FROZEN_PART * n)]}{{}} of {WORDS[n]}" for n in blocks)
    return [
        f"amounts in {WORDS[CompositionEncoderConfig().n_frequencies]} octaves",
        f"trained two to {WORDS[_UPDATES[False] // _UPDATES[True]]} times as long, at three times",
        f"pretrained, {few.format(' block')}, of ` {shipped.format('')}, stay as they are",
        f"Pretraining and {runs - len(here)} of the {runs} fine-tunings ran on a machine with an "
        "NVIDIA H200, which the records know by its 16 cores",
        f"of ` on {WORDS[here.count('scratch')]} tables, on two cores",
        f"errors are {percent(own[0])} % smaller ({percent(absent[0])} to {percent(absent[1])} %",
        f"and {percent(true[0])} to {percent(true[1])} % with true structures",
        f"a fifth smaller, by a kernel machine on the structures above all, and "
        f"{percent(gain(moduli[1], 'blended'))} % in shear moduli",
        f"{percent(gain('phonons', 'blended'))} % with the blend; true structures would give "
        f"{percent(gain('phonons', 'true'))} % without",
        f"{percent(gains[0])} to {percent(gains[-1])} % with the blend, {percent(largest)} % for "
        f"piezo_max_dij, in test parts of {min(tested)} to {max(tested)} rows",
        f"though none of the {WORDS[len(small)]} loses",
        f"without and with the blend MAE {errors['matbench_expt_gap']['imkt']:.3f} and "
        f"{errors['matbench_expt_gap']['blended']:.3f} eV, ROC AUC "
        f"{auc('matbench_expt_is_metal', 'imkt')} and {auc('matbench_expt_is_metal', 'blended')})",
        f"({supercon['true']:.2f} against {supercon['imkt']:.2f} K)",
        f"do as well ({supercon['absent']:.2f}), and those of the whole library lose "
        f"({supercon['exkt']:.2f})",
        "A fifth of the alloys",
        f"({auc('matbench_glass', 'blended')} against {auc('matbench_glass', 'imkt')})",
        f"{WORDS[N_TEXTS]} texts a formula",
        f"({dij['crystallm']:.1f} pC/N with them, {dij['exkt']:.1f} with the library's, "
        f"{dij['imkt']:.1f} without)",
        f"({phonons['crystallm']:.1f} 1/cm against {phonons['imkt']:.1f} without, "
        f"{supercon['crystallm']:.2f} against {supercon['imkt']:.2f} K)",
        f"by more than 1 % of the error on {WORDS[better]} of {WORDS[len(errors)]} tasks, "
        f"within 1 % on {WORDS[level]}, and "
        f"{percent(-gain('supercon_tc', 'blended'))} % worse on superconductors",
        f"Of MatBench's {WORDS[len(MATBENCH)]} tasks",
    ]


def index_facts() -> list[str]:
    """Fragments of the first page."""
    smallest = min(table.n_train for table in JARVIS_TABLES.values())
    properties = len(kept_of("thermoelectrics").tasks)
    return [
        f"the {WORDS[len(COMPOSITION_TASKS)]} tasks of MatBench",
        f"{len(JARVIS_TABLES)} tables of JARVIS-DFT, from {smallest} training rows up",
        f"{WORDS[properties]} measured properties",
        f"{WORDS[len(CALCULATED)]} tasks of MatBench about crystals",
        # of the chosen: `benchmarks/`, comments of the code
        "the trees' middle fifth",
        "where a table has five folds",
        # a test computes them again: to this many digits
        "gives the same to nine digits",
    ]


def submissions_facts() -> list[str]:
    return [
        f"the {WORDS[len(COMPOSITION_TASKS)]} composition tasks",
        # a row is in the training part of four folds of five
        "four fifths of the official test rows",
    ]


def calculated_facts() -> list[str]:
    known = len(CALCULATED) - len(LABELS_UNKNOWN)
    kept = kept_of("calculated")
    errors = kept.summary().pivot_table("mae", "task", "model").loc["matbench_perovskites"]
    # "does worse than the mean of all energies"
    assert errors["imkt-fast-scratch"] < errors["dummy"] < errors["et-magpie"]
    return [
        f"{WORDS[len(CALCULATED)].capitalize()} tasks of MatBench ask",
        f"pretrained on labels of {WORDS[known]} of them",
        "Finder_v1.2_composition",
        "[arXiv:2601.00133](https://arxiv.org/abs/2601.00133)",
    ]


def thermoelectrics_facts() -> list[str]:
    kept = kept_of("thermoelectrics")
    content = read("thermoelectrics")
    assert content is not None
    # "none of these differences is beyond chance by itself"
    assert len(kept.tasks) == Verdicts.of(compare(content)).tied == 7
    beside_fast = compare_models(kept, "imkt-fast").set_index("model").loc["imkt"]
    assert beside_fast["verdict"].tolist() == ["tie"] * 7
    errors = kept.summary().pivot_table("mae", "task", "model")
    errors.index = errors.index.str.removeprefix("thermoelectrics_")
    # "as much"
    without = errors["imkt-fast-scratch"] / errors["imkt-fast"] - 1
    saved = 100 * (1 - errors["imkt"] / errors["imkt-fast"])
    best = errors[list(FORESTS)].min(axis=1)
    over = 100 * (errors["imkt"] / best - 1)
    (lost,) = over.index[over > 0]
    seconds = kept.to_frame().groupby("model")["fit_seconds"].mean()
    # "have not run"
    assert set(kept.models) == {"dummy", "imkt", "imkt-fast", "imkt-fast-scratch", *FORESTS}
    return [
        "Seven measured properties",
        f"with seed {THERMOELECTRICS_SEED}",
        f"errs by {saved.min():.0f} to {saved.max():.0f} % less than ` on all seven",
        f"for {WORDS[round(seconds['imkt'] / seconds['imkt-fast'])]} times the time of a fit",
        f"on {WORDS[(over < 0).sum()]}, by up to {-over.min():.0f} % ({over.idxmin()}), "
        f"and by {over[lost]:.0f} % larger on {lost}",
        f"as {WORDS[len(kept.parts) // 7]} folds scatter",
        f"within {math.ceil(100 * without.abs().max())} % on all seven",
    ]


FACTS: dict[str, Callable[[], list[str]]] = {
    "transfer": transfer_facts,
    "index": index_facts,
    "submissions": submissions_facts,
    "calculated": calculated_facts,
    "matbench": lambda: [f"The {WORDS[len(COMPOSITION_TASKS)]} tasks whose input"],
    "jarvis": lambda: ["Thirty properties"] if len(JARVIS_TABLES) == 30 else [],
    "thermoelectrics": thermoelectrics_facts,
    "intervals": list,
}


@pytest.mark.parametrize("name", FACTS)
def test_numbers_in_the_text_are_those_of_the_results(name: str) -> None:
    text = prose(name)
    for fact in FACTS[name]():
        assert fact in text, f"{name}.md does not say {fact!r}"
        text = text.replace(fact, "")
    # names that have digits
    text = re.sub(r"modnet_v0\.1\.12|SHA-256", "", text)
    left = re.findall(r"[^ ]* ?[^ ]*\d[^ ]*", text) + SPELLED.findall(text)
    assert left == [], f"no test says where {name}.md has these numbers from"


def test_rates_in_the_guide_are_those_that_were_measured() -> None:
    text = (DOCS.parent / "guide" / "scaling.md").read_text(encoding="utf-8")
    screening, inference = read_json("screening"), read_json("inference")
    assert screening is not None
    assert inference is not None
    spent = {
        name: (
            screening["cpu_us_per_formula"][name],
            screening["cpu_us_per_formula_bfloat16"][name],
        )
        for name in screening["cpu_us_per_formula"]
    }
    exact, rounded = spent["predict"]
    alone, both = spent["predict with standard deviation"]
    facts = [
        f"| encoder | {spent['encoder'][0]:.0f} | {spent['encoder'][1]:.0f} |",
        f"| all of `predict` | {exact:.0f} | {rounded:.0f} |",
        f"| all of `predict(return_std=True)` | {alone:.0f} | {both:.0f} |",
        f"predicts {round(1e6 / exact, -2):,.0f} formulas a second in float32 and "
        f"{round(1e6 / rounded, -2):,.0f} in bfloat16",
        f"{alone:.0f} µs each are {alone / 3.6:.0f} core-hours, {both:.0f} µs in bfloat16 are "
        f"{both / 3.6:.0f}.",
    ]
    for kind, label in (("this process", "in this process"), ("2 workers", "2 Dask workers")):
        rates = [screening[f"formulas_per_second_{form}"][kind] for form in ("float32", "bfloat16")]
        unit = " a second" if kind == "this process" else ""
        shown = " | ".join(f"{rate:,}{unit}" for rate in rates)
        facts.append(f"| {label} | {shown} | {rates[1] / rates[0]:.1f} |")
    for name, label in (
        ("readout='fast'", '`readout="fast"`'),
        ("one fine-tuned network", "one fine-tuned network"),
    ):
        found = inference["predict"][name]
        times = (found[f"{form}_cpu_us_per_formula"] for form in ("float32", "bfloat16"))
        facts.append(f"| {label} | {' | '.join(f'{time:.0f} µs' for time in times)} |")
    for name, label in (
        ("float32", "float32, batches of 64 rows"),
        ("reduce_precision", "`reduce_precision`"),
        ("int8 weights", "int8 weights"),
        ("onnxruntime, float32", "ONNX Runtime, float32"),
    ):
        found = inference["encoder"][name]
        facts.append(f"| {label} | {found['cpu_us_per_formula']:.0f} | {found['speedup']:.1f} |")
    roof = inference["roof"]
    least = [roof[form]["cpu_us_per_formula"] for form in ("float32", "bfloat16")]
    facts += [
        f"{roof['float32']['gflop_per_s']} billion of them a second in float32, "
        f"{roof['bfloat16']['gflop_per_s']} in bfloat16",
        f"at least {least[0]:.0f} µs and {least[1]:.0f} µs: "
        f"{round(1e6 / least[0], -2):,.0f} formulas",
    ]
    for fact in facts:
        assert fact in " ".join(text.split()), fact
