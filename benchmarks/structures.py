"""Structure generators on crystals that the prototype library was not made of.

    SKLEARN_KT_DATA=<folder> python -m benchmarks.structures prototypes
    SKLEARN_KT_DATA=<folder> python -m benchmarks.structures compare

``prototypes`` follows the protocol by which models of crystal-structure prediction are compared:
every structure of the test split is asked for by its formula and the number of atoms in its cell,
and is found if pymatgen's StructureMatcher (ltol 0.3, stol 0.5, angle_tol 10) matches it to the
first candidate, or to one of twenty. Polymorphs are asked for one by one; candidates with other
cells do not count, nothing is refused for its distance, and no candidate is wrong. The root mean
square of the displacements, over the cube root of the volume per atom, is that of what was found.
Settings:

- without_test: the library without the compositions of the test split, all their crystals and from
  whatever source, which is stricter than a random split of crystals;
- without_family: the same, and without the crystals of the true prototype whose elements are
  from the same groups of the periodic table, element by element;
- shipped: the library as it is, which knows half of the compositions from other sources;
- as_called: what ``PrototypeGenerator().generate([formula], 20)`` gives to the formula alone, with
  the library as it is: cells of any size, solid solutions, and none of the distant crystals;
- by_energy, by_both: as without_test, the twenty candidates in the order of ``rank_by``.

WBM has no split: all of it is test. Structures are drawn by a seed, and ``--n`` leaves the later
ones out. Rows are kept as they are found, and a run that was cut short goes on where it was.

``compare`` runs the CrystaLLM of the package beside the prototypes, on compositions that the
library does not have and CrystaLLM was not trained on; right is what matches the most stable
crystal of the composition in the split. A text of CrystaLLM is valid if it passes all checks; the
first candidate of each generator is checked for impossible bonds; "both" takes turns.

Seconds are CPU seconds of one thread for twenty (compare: five) candidates, without matching.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from tqdm import trange

from benchmarks.common import RESULTS, how_made, read_json, write_json
from sklearn_kt._files import replacing
from sklearn_kt.datasets import data_home
from sklearn_kt.structures import (
    Candidate,
    CrystaLLMGenerator,
    EnsembleGenerator,
    PrototypeGenerator,
    PrototypeLibrary,
    load_library,
)
from sklearn_kt.structures.chgnet import rank_by_energy
from sklearn_kt.structures.crystallm.text import bond_score
from sklearn_kt.structures.elements import families
from sklearn_kt.structures.prototypes import rank, substituted
from sklearn_kt.structures.reading import counts_of_row, read_rows, read_structure
from sklearn_kt.structures.stoichiometry import Stoichiometry, integer_formula, reduced_formula
from sklearn_kt.structures.symmetry import analyse

SETS = {"mp20": "mp20_subset", "mpts52": "mpts52_val_test", "wbm": "wbm_val_10k"}
MATCH = {"ltol": 0.3, "stol": 0.5, "angle_tol": 10}
SETTINGS = ("without_test", "without_family", "shipped", "as_called", "by_energy", "by_both")
N_CANDIDATES = 20
# structures whose rows are written together
CHUNK = 100
# columns that are kept with seven digits
MEASURED = ("rms_first", "rms_best", "volume_error", "seconds")


def test_rows(home: Path, name: str) -> list[dict[str, Any]]:
    """Read the crystals of a test split, or all of WBM."""
    rows = read_rows(home / "structures" / f"{SETS[name]}.jsonl.gz")
    return [row for row in rows if name == "wbm" or row["split"] == "test"]


def most_stable(rows: list[dict[str, Any]], name: str) -> dict[tuple, dict[str, Any]]:
    """Find the most stable crystal of each composition."""
    best: dict[tuple, dict[str, Any]] = {}
    energy = "formation_energy_per_atom" if name == "wbm" else "e_above_hull"
    for row in rows:
        key = key_of(row)
        if key not in best or row[energy] < best[key][energy]:
            best[key] = row
    return best


def key_of(row: dict[str, Any]) -> tuple[tuple[int, int], ...]:
    """Composition of a crystal: atomic numbers and their reduced amounts."""
    return tuple(sorted(integer_formula(counts_of_row(row)).counts.items()))


def keys_of(library: PrototypeLibrary) -> list[tuple[tuple[int, int], ...]]:
    """Compositions of the library's crystals."""
    pairs = zip(*(library.arrays[k].tolist() for k in ("elements", "amounts")), strict=True)
    return [
        tuple(sorted((z, n) for z, n in zip(elements, amounts, strict=True) if z))
        for elements, amounts in pairs
    ]


def family_rows(library: PrototypeLibrary, formula: Stoichiometry, label: str) -> np.ndarray:
    """Rows of the library with this prototype and elements of the same groups."""
    pairs = sorted((count, z) for z, count in formula.counts.items())
    amounts = np.array([count for count, _ in pairs])
    rows = library.members(tuple(amounts.tolist()))
    family = families()
    mine = sorted(zip(amounts.tolist(), family[[z for _, z in pairs]].tolist(), strict=True))
    theirs = family[library.elements(rows, len(amounts))]
    prototypes = library.labels[library.arrays["prototype"][rows]]
    same = [
        prototype == label and sorted(zip(amounts.tolist(), row, strict=True)) == mine
        for prototype, row in zip(prototypes.tolist(), theirs.tolist(), strict=True)
    ]
    return rows[np.array(same, bool)]


def volume_of(crystal: Candidate) -> float:
    """Volume per atom."""
    return abs(float(np.linalg.det(crystal.lattice))) / len(crystal.numbers)


class Protocol:
    """One set of test structures, asked for one by one.

    Parameters
    ----------
    library : PrototypeLibrary
        As shipped.
    tests : list of dict
        All structures of the split.
    """

    def __init__(self, library: PrototypeLibrary, tests: list[dict[str, Any]]) -> None:
        self.library = library
        keys = keys_of(library)
        asked = {key_of(row) for row in tests}
        self.known = set(keys) & asked
        self.of_tests = np.array([key in asked for key in keys])
        self.matcher = StructureMatcher(**MATCH)

    def score(self, row: dict[str, Any], name: str) -> dict[str, Any]:
        """Ask for one structure in one setting."""
        truth = read_structure(row)
        formula = Stoichiometry(dict(key_of(row)))
        rows = self.allowed(truth, formula, name)
        start = time.process_time()
        if name == "as_called":
            asked = reduced_formula(formula.counts)
            [found] = PrototypeGenerator().generate([asked], N_CANDIDATES)
        else:
            ranked = rank(self.library, formula, N_CANDIDATES, float("inf"), rows)
            found = [substituted(self.library, one) for one in ranked]
            found = [candidate for candidate in found if candidate.is_sound()]
        if name.startswith("by_") and found:
            scale = None if name == "by_energy" else PrototypeGenerator().energy_scale
            found = rank_by_energy(found, scale)
        seconds = time.process_time() - start
        distances = [self.matcher.get_rms_dist(truth, crystal.structure) for crystal in found]
        errors = [np.nan if pair is None else float(pair[0]) for pair in distances]
        right = [rank for rank, error in enumerate(errors, start=1) if np.isfinite(error)]
        first = volume_of(found[0]) / truth.volume * len(truth) if found else np.nan
        return {
            "id": row["id"],
            "n_atoms": len(truth),
            "known": key_of(row) in self.known,
            "candidates": len(found),
            "right": right[0] if right else 0,
            "rms_first": errors[0] if found else np.nan,
            "rms_best": float(np.nanmin(errors)) if right else np.nan,
            "volume_error": abs(first - 1),
            "seconds": seconds,
        }

    def allowed(self, truth: Structure, formula: Stoichiometry, name: str) -> np.ndarray:
        """Rows of the library that a setting leaves for one structure."""
        rows = self.library.members(tuple(sorted(formula.counts.values())))
        rows = rows[self.library.cell_sizes[rows] == len(truth)]
        if name not in ("shipped", "as_called"):
            rows = rows[~self.of_tests[rows]]
        if name == "without_family":
            crystal = analyse(Candidate.from_structure(truth))
            if crystal is not None:
                rows = rows[~np.isin(rows, family_rows(self.library, formula, crystal.label))]
        return rows


def run_protocol(
    library: PrototypeLibrary, tests: list[dict[str, Any]], name: str, args: argparse.Namespace
) -> dict[str, Any]:
    """Score the structures that have no row yet, and sum up all that have one."""
    protocol = Protocol(library, tests)
    path = args.output.with_suffix(".parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    scores: dict[str, Any] = {}
    for part in SETTINGS:
        drawn = tests[: args.n_energy if part.startswith("by_") else args.n]
        done = set(rows_of(path, name, part)["id"])
        missing = [row for row in drawn if row["id"] not in done]
        for start in trange(0, len(missing), CHUNK, desc=f"{name} {part}", file=sys.stderr):
            chunk = missing[start : start + CHUNK]
            found = [{"set": name, "setting": part, **protocol.score(r, part)} for r in chunk]
            kept = [pd.read_parquet(path)] if path.exists() else []
            frame = pd.DataFrame(found).astype(dict.fromkeys(MEASURED, np.float32))
            with replacing(path) as part_file:
                pd.concat([*kept, frame]).to_parquet(part_file, index=False, compression="zstd")
        rows = rows_of(path, name, part)
        if len(rows):
            scores[part] = summary(rows)
    # models that give one answer to one question cannot find all polymorphs
    questions = {(key_of(row), sum(counts_of_row(row).values())) for row in tests}
    return {"structures": len(tests), "distinct_questions": len(questions), **scores}


def rows_of(path: Path, name: str, part: str) -> pd.DataFrame:
    """Rows that are kept of one set and setting."""
    if not path.exists():
        return pd.DataFrame(columns=["id"])
    rows = pd.read_parquet(path)
    return rows[(rows["set"] == name) & (rows["setting"] == part)]


def summary(rows: pd.DataFrame) -> dict[str, Any]:
    """Sum up the structures of one setting."""
    right, known = rows["right"].to_numpy(), rows["known"].to_numpy(bool)
    first = right == 1
    result = {
        "n": len(rows),
        "coverage": float((rows["candidates"] > 0).mean()),
        "top1": float(first.mean()),
        f"top{N_CANDIDATES}": float((right > 0).mean()),
        "rms1": float(rows["rms_first"].mean()),
        f"rms{N_CANDIDATES}": float(rows["rms_best"].mean()),
        "median_volume_error": float(rows["volume_error"].median()),
        "cpu_seconds_per_formula": float(rows["seconds"].mean()),
        "known_compositions": int(known.sum()),
        "top1_of_known": float(first[known].mean()) if known.any() else None,
        "top1_of_others": float(first[~known].mean()) if not known.all() else None,
    }
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()}
    # nothing was found, or nothing proposed
    return {k: None if v != v else v for k, v in rounded.items()}


def compare(
    sample: list[tuple[tuple, dict[str, Any]]], n: int, n_samples: int
) -> dict[str, dict[str, Any]]:
    """Score both generators and their turns on the same compositions."""
    from sklearn_kt.structures.chgnet import chgnet_outputs

    prototypes, writer = PrototypeGenerator(), CrystaLLMGenerator(n_samples=n_samples)
    turns = EnsembleGenerator([prototypes, writer])
    candidates: dict[str, list[list[Candidate]]] = {"prototypes": [], "crystallm": []}
    seconds = dict.fromkeys(candidates, 0.0)
    reasons: Counter[str] = Counter()
    for key, _ in sample:
        formula = Stoichiometry(dict(key))
        start = time.process_time()
        candidates["prototypes"].append(prototypes._generate_one(formula, n))
        seconds["prototypes"] += time.process_time() - start
        start = time.process_time()
        found, rejected = writer._propose(formula)
        seconds["crystallm"] += time.process_time() - start
        candidates["crystallm"].append(found[:n])
        reasons.update(rejected)
        reasons["texts"] += n_samples if rejected or found else 0
    candidates["both"] = [
        turns._merge(lists, n)
        for lists in zip(candidates["prototypes"], candidates["crystallm"], strict=True)
    ]
    matcher = StructureMatcher(**MATCH)
    truth = [read_structure(row) for _, row in sample]
    _, known = chgnet_outputs(truth)
    scores = {}
    for name, lists in candidates.items():
        hits = []
        for target, found in zip(truth, lists, strict=True):
            hit = [matcher.fit(target, candidate.structure) for candidate in found]
            hits.append(hit.index(True) if True in hit else None)
        rows = [i for i, found in enumerate(lists) if found]
        first = [lists[i][0].structure for i in rows]
        ratios = [
            crystal.volume / len(crystal) / (truth[i].volume / len(truth[i]))
            for i, crystal in zip(rows, first, strict=True)
        ]
        above = chgnet_outputs(first)[1] - known[rows]
        scores[name] = {
            "n": len(sample),
            "coverage": round(len(rows) / len(sample), 4),
            "top1": round(hits.count(0) / len(sample), 4),
            f"top{n}": round(sum(h is not None for h in hits) / len(sample), 4),
            "first_has_possible_bonds": round(
                float(np.mean([bond_score(c) >= 1 for c in first])), 4
            ),
            "median_volume_error": round(float(np.median(np.abs(np.array(ratios) - 1))), 4),
            "median_energy_above_known_eV_per_atom": round(float(np.nanmedian(above)), 4),
        }
    for name, total in seconds.items():
        scores[name]["cpu_seconds_per_formula"] = round(total / len(sample), 4)
    texts = reasons.pop("texts")
    scores["crystallm"] |= {
        "texts": texts,
        "valid": round(1 - sum(reasons.values()) / texts, 4),
        "rejected": {reason: round(count / texts, 4) for reason, count in reasons.most_common()},
    }
    return scores


def main() -> None:
    """Run one part, and write its results beside those of the other."""
    parser = argparse.ArgumentParser(description="Score the structure generators.")
    parser.add_argument("part", choices=("prototypes", "compare"))
    parser.add_argument("--data-dir", type=Path, default=data_home())
    parser.add_argument("--sets", nargs="+", choices=tuple(SETS), default=tuple(SETS))
    parser.add_argument("--n", type=int, default=None, help="test structures; all by default")
    parser.add_argument("--n-energy", type=int, default=100, help="structures ranked by energy")
    parser.add_argument("--n-compare", type=int, default=100, help="compositions to compare on")
    parser.add_argument("--n-samples", type=int, default=20, help="texts for each of them")
    parser.add_argument("--output", type=Path, default=RESULTS / "structures.json")
    args = parser.parse_args()
    if args.data_dir is None:
        parser.error("set SKLEARN_KT_DATA or pass --data-dir")
    warnings.simplefilter("ignore")
    library = load_library()
    command = how_made()["command"]
    rng = np.random.default_rng(0)
    for name in SETS:
        protocol = args.part == "prototypes"
        rows: list[Any] = test_rows(args.data_dir, name)
        if not protocol:
            rows = sorted(most_stable(rows, name).items())
        # the draw does not depend on the sets that are asked for
        drawn = [rows[i] for i in rng.permutation(len(rows))]
        if name not in args.sets:
            continue
        if protocol:
            scores = run_protocol(library, drawn, name, args)
        else:
            known = set(keys_of(library))
            absent = [item for item in drawn if item[0] not in known]
            share = round(len(absent) / len(drawn), 4)
            scores = {"compositions": len(drawn), "absent_share": share}
            scores |= compare(absent[: args.n_compare], 5, args.n_samples)
        print(name, json.dumps(scores, indent=1))
        record = read_json(args.output.stem, args.output.parent) or {}
        record.setdefault("results" if args.part == "prototypes" else "compared", {})[name] = scores
        record.setdefault("commands", {})[f"{args.part} {name}"] = command
        record |= {
            "machine": platform.processor() or platform.machine(),
            "versions": {p: version(p) for p in ("sklearn_kt", "pymatgen", "spglib", "chgnet")},
            "library": {"crystals": len(library), "prototypes": len(library.labels)},
            "matcher": MATCH,
        }
        write_json(args.output.stem, record, args.output.parent)


if __name__ == "__main__":
    main()
