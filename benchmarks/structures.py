"""Structure generators on crystals that the prototype library was not made of.

    SKLEARN_KT_DATA=<folder> python -m benchmarks.structures prototypes
    SKLEARN_KT_DATA=<folder> python -m benchmarks.structures compare

Compositions are drawn from the test splits of MP-20 and MPTS-52 (the latter is later in time
than anything of MPTS-52 in the library), and from WBM. A candidate is right if pymatgen's
StructureMatcher (ltol 0.3, stol 0.5, angle_tol 10) matches it to the most stable crystal that the
split has of the composition. Settings:

- absent: compositions that the library does not have;
- without_formula: any compositions, their own crystals taken out of the library;
- without_family: the same, and without the crystals of the true prototype whose elements are
  from the same groups of the periodic table, element by element.

``compare`` runs the CrystaLLM of the package beside the prototypes, on compositions that the
library does not have and CrystaLLM was not trained on. A text of CrystaLLM is valid if it passes
all checks; the first candidate of each generator is checked for impossible bonds; "both" takes
turns. Each part leaves the other's results as they are; each set's are written when done.

Compositions without a candidate count as wrong. Seconds are CPU seconds of one thread, and
leave out matching.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher

from benchmarks.common import RESULTS, how_made, write_json
from sklearn_kt.datasets import data_home
from sklearn_kt.structures import (
    Candidate,
    CrystaLLMGenerator,
    EnsembleGenerator,
    PrototypeGenerator,
    PrototypeLibrary,
    load_library,
)
from sklearn_kt.structures.crystallm.text import bond_score
from sklearn_kt.structures.elements import families
from sklearn_kt.structures.prototypes import rank, substituted
from sklearn_kt.structures.reading import counts_of_row, read_rows, read_structure
from sklearn_kt.structures.stoichiometry import Stoichiometry, integer_formula, reduced_formula
from sklearn_kt.structures.symmetry import analyse

SETS = {"mp20": "mp20_subset", "mpts52": "mpts52_val_test", "wbm": "wbm_val_10k"}
MATCH = {"ltol": 0.3, "stol": 0.5, "angle_tol": 10}


def truths(home: Path, name: str) -> dict[tuple, dict[str, Any]]:
    """Find the most stable crystal of each composition of a test split, or of all WBM."""
    best: dict[tuple, dict[str, Any]] = {}
    energy = "formation_energy_per_atom" if name == "wbm" else "e_above_hull"
    for row in read_rows(home / "structures" / f"{SETS[name]}.jsonl.gz"):
        if name == "wbm" or row["split"] == "test":
            formula = integer_formula(counts_of_row(row))
            key = tuple(sorted(formula.counts.items()))
            if key not in best or row[energy] < best[key][energy]:
                best[key] = row
    return best


def own_rows(library: PrototypeLibrary, formula: Stoichiometry) -> np.ndarray:
    """Rows of the library with this very composition."""
    amounts = tuple(sorted(formula.counts.values()))
    rows = library.members(amounts)
    same = [
        dict(zip(z, amounts, strict=True)) == dict(formula.counts)
        for z in library.elements(rows, len(amounts)).tolist()
    ]
    return rows[np.array(same, bool)]


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


def candidates_of(
    library: PrototypeLibrary, formula: Stoichiometry, dropped: np.ndarray, n: int
) -> list[Candidate]:
    """Candidates from a library without some rows."""
    rows = library.members(tuple(sorted(formula.counts.values())))
    allowed = rows[~np.isin(rows, dropped)]
    ranked = rank(library, formula, n, PrototypeGenerator().max_distance, allowed)
    found = [substituted(library, one) for one in ranked]
    return [candidate for candidate in found if candidate.is_sound()]


def evaluate(
    library: PrototypeLibrary,
    sample: list[tuple[tuple, dict[str, Any]]],
    setting: str,
    rank_by: str,
    n: int,
) -> dict[str, Any]:
    """Score one setting."""
    matcher = StructureMatcher(**MATCH)
    generator = PrototypeGenerator(rank_by=rank_by)
    hits, volumes, energies, seconds, missed = [], [], [], 0.0, []
    for key, row in sample:
        formula = Stoichiometry(dict(key))
        truth = read_structure(row)
        dropped = own_rows(library, formula)
        if setting == "without_family":
            found = analyse(Candidate.from_structure(truth))
            if found is not None:
                dropped = np.union1d(dropped, family_rows(library, formula, found.label))
        start = time.process_time()
        pool = n if rank_by == "similarity" else max(n, generator.pool)
        candidates = candidates_of(library, formula, dropped, pool)
        if rank_by != "similarity" and candidates:
            from sklearn_kt.structures.chgnet import rank_by_energy

            scale = None if rank_by == "energy" else generator.energy_scale
            candidates = rank_by_energy(candidates, scale)
        candidates = candidates[:n]
        seconds += time.process_time() - start
        hit = [matcher.fit(truth, candidate.structure) for candidate in candidates]
        hits.append(hit.index(True) if True in hit else None)
        if candidates:
            top = candidates[0].structure
            ratio = (top.volume / len(top)) / (truth.volume / len(truth))
            volumes.append(abs(ratio - 1))
            if rank_by != "similarity":
                from sklearn_kt.structures.chgnet import chgnet_outputs

                _, pair = chgnet_outputs([top, truth])
                energies.append(float(pair[0] - pair[1]))
        if hits[-1] != 0:
            missed.append(reduced_formula(formula.counts))
    total = len(sample)
    result = {
        "n": total,
        "coverage": round(len(volumes) / total, 4),
        "top1": round(hits.count(0) / total, 4),
        f"top{n}": round(sum(h is not None for h in hits) / total, 4),
        "median_volume_error": round(float(np.median(volumes)), 4),
        "cpu_seconds_per_formula": round(seconds / total, 4),
        "missed_examples": missed[:10],
    }
    if energies:
        result["median_energy_above_known_eV_per_atom"] = round(float(np.nanmedian(energies)), 4)
    return result


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
    parser.add_argument("--n", type=int, default=300, help="compositions of each kind")
    parser.add_argument("--n-energy", type=int, default=100, help="compositions ranked by energy")
    parser.add_argument("--n-compare", type=int, default=100, help="compositions to compare on")
    parser.add_argument("--n-samples", type=int, default=20, help="texts for each of them")
    parser.add_argument("--output", type=Path, default=RESULTS / "structures.json")
    args = parser.parse_args()
    if args.data_dir is None:
        parser.error("set SKLEARN_KT_DATA or pass --data-dir")
    warnings.simplefilter("ignore")
    library = load_library()
    command = how_made()["command"]
    record = json.loads(args.output.read_text()) if args.output.exists() else {}
    rng = np.random.default_rng(0)
    for name in SETS:
        known = sorted(truths(args.data_dir, name).items())
        # the draw does not depend on the sets that are asked for
        order = [known[i] for i in rng.permutation(len(known))]
        if name not in args.sets:
            continue
        formulas = [Stoichiometry(dict(key)) for key, _ in order]
        new = [not len(own_rows(library, formula)) for formula in formulas]
        absent = [item for item, is_new in zip(order, new, strict=True) if is_new]
        share = len(absent) / len(order)
        if args.part == "compare":
            scores = compare(absent[: args.n_compare], 5, args.n_samples)
            print(name, json.dumps(scores, indent=1))
        else:
            parts = {
                "absent": absent[: args.n],
                "without_formula": order[: args.n],
                "without_family": order[: args.n],
            }
            scores = {
                setting: evaluate(library, sample, setting, "similarity", 5)
                for setting, sample in parts.items()
            }
            for rank_by in ("similarity", "energy", "both"):
                sample = absent[: args.n_energy]
                scores[f"absent_by_{rank_by}"] = evaluate(library, sample, "absent", rank_by, 5)
            for setting, score in scores.items():
                print(name, setting, {k: v for k, v in score.items() if k != "missed_examples"})
        section = record.setdefault("results" if args.part == "prototypes" else "compared", {})
        section[name] = {"compositions": len(order), "absent_share": round(share, 4), **scores}
        record.setdefault("commands", {})[f"{args.part} {name}"] = command
        record |= {
            "machine": platform.processor() or platform.machine(),
            "versions": {p: version(p) for p in ("sklearn_kt", "pymatgen", "spglib", "chgnet")},
            "library": {"crystals": len(library), "prototypes": len(library.labels)},
            "matcher": MATCH,
        }
        args.output.parent.mkdir(exist_ok=True)
        write_json(args.output.stem, record, args.output.parent)


if __name__ == "__main__":
    main()
