"""Speed of reading and tokenising formulas, beside pymatgen and matminer's Magpie.

Run on an idle machine, with the folder of real tables in the environment variable
SKLEARN_KT_DATA (files matbench/*.csv.gz and composition/crabnet_ext/*.csv.gz):

    python -m benchmarks.speed.formulas

All figures are formulas per second of one core (CPU time), on distinct formulas, the best
of three repeats (pymatgen and Magpie run once). The ratios do not depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from benchmarks.common import how_made, write_json
from sklearn_kt.compositions import read_compositions
from sklearn_kt.datasets import data_home
from sklearn_kt.tokenizer import CompositionTokenizer

TABLES = {
    "matbench/matbench_mp_e_form.csv.gz": "composition",
    "composition/crabnet_ext/OQMD_Bandgap.csv.gz": "formula",
}


def distinct_formulas(folder: Path, n_rows: int) -> list[str]:
    """Draw distinct formulas of both tables, in a fixed random order."""
    formulas: set[str] = set()
    for table, column in TABLES.items():
        frame = pd.read_csv(folder / table, usecols=[column], keep_default_na=False)
        formulas.update(frame[column])
    return random.Random(0).sample(sorted(formulas), n_rows)


def rate(work: Callable[[], object], n_rows: int, repeats: int) -> float:
    """Rows per second of CPU time, best of `repeats`."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return n_rows / min(seconds)


def magpie(formulas: list[str]) -> object:
    """Featurise with matminer, as its documentation shows, in this process."""
    from matminer.featurizers.composition import ElementProperty
    from pymatgen.core import Composition

    featurizer = ElementProperty.from_preset("magpie", impute_nan=True)
    compositions = [Composition(formula) for formula in formulas]
    return [featurizer.featurize(composition) for composition in compositions]


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=data_home())
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--magpie-rows", type=int, default=2_000)
    arguments = parser.parse_args()
    if arguments.data_dir is None:
        parser.error("pass --data-dir or set SKLEARN_KT_DATA")

    from pymatgen.core import Composition

    formulas = distinct_formulas(arguments.data_dir, arguments.rows)
    few = formulas[: arguments.magpie_rows]
    # imports and the element tables are loaded before the clock starts
    magpie(formulas[-2:])

    rates = {"read_compositions": rate(lambda: read_compositions(formulas), len(formulas), 3)}
    rates["pymatgen Composition"] = rate(
        lambda: [Composition(formula) for formula in formulas], len(formulas), 1
    )
    rates["pymatgen Composition, then read_compositions"] = rate(
        lambda: read_compositions([Composition(formula) for formula in formulas]),
        len(formulas),
        1,
    )
    for scheme in ("element", "formula", "fraction"):
        tokenizer = CompositionTokenizer(scheme)
        rates[f"CompositionTokenizer {scheme}"] = rate(
            lambda tokenizer=tokenizer: tokenizer.transform(formulas), len(formulas), 3
        )
    rates["matminer Magpie"] = rate(lambda: magpie(few), len(few), 1)

    result = {
        **how_made(),
        "formulas": {"distinct": len(formulas), "of them for Magpie": len(few)},
        "formulas_per_cpu_second": {name: round(value) for name, value in rates.items()},
        "ratios": {
            **{
                f"read_compositions / {other}": round(rates["read_compositions"] / rates[other], 1)
                for other in (
                    "pymatgen Composition",
                    "pymatgen Composition, then read_compositions",
                )
            },
            **{
                f"CompositionTokenizer {scheme} / matminer Magpie": round(
                    rates[f"CompositionTokenizer {scheme}"] / rates["matminer Magpie"]
                )
                for scheme in ("element", "formula", "fraction")
            },
        },
    }
    write_json("tokenizer", result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
