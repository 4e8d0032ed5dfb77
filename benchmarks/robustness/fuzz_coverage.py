"""Hostile text that a fuzzer guides by the lines it reaches: a bounded run of Atheris.

    pip install atheris
    python -m benchmarks.robustness.fuzz_coverage --seconds 60

Atheris (libFuzzer) keeps what reaches new code in our readers of formulas, tables, filters and
CIF text, and mutates it further. The checks are those of ``fuzz.py``: whatever is raised
must be an error of sklearn_kt, in less than a second of CPU time. Counts go to
benchmarks/results/fuzz_coverage.json; an input that breaks a check is printed and ends its target.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, how_made, write_json
from benchmarks.robustness import fuzz

MEMORY_MB = 4096
LONGEST = 4096
TARGETS: dict[str, tuple[Any, list[str]]] = {
    "formula": (fuzz.formula, fuzz.FORMULAS),
    "csv": (fuzz.csv, [fuzz.TABLE]),
    "filters": (fuzz.filters, fuzz.FILTERS),
    "cif": (fuzz.cif, [fuzz.CIF]),
}


def fuzz_one(name: str, corpus: Path, seconds: int) -> None:
    """Fuzz one target in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["sklearn_kt"]):
        import sklearn_kt.cli
        import sklearn_kt.compositions
        import sklearn_kt.screening.expressions
        import sklearn_kt.structures.crystallm  # noqa: F401
    warnings.simplefilter("ignore")
    with contextlib.contextmanager(TARGETS[name][0])() as (_, check):

        def one(data: bytes) -> None:
            # tables are read as bytes, all else as text with anything in it
            value = data if name == "csv" else data.decode("utf-8", "surrogateescape")
            _, finding, _ = fuzz.run(check, value)
            if finding:
                raise AssertionError(f"{name}: {value!r:.500} {finding}")

        options = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=120", "-seed=1"]
        options += [f"-rss_limit_mb={MEMORY_MB}", "-print_final_stats=1"]
        options += [f"-artifact_prefix={corpus.parent}/"]
        atheris.Setup([sys.argv[0], *options, str(corpus)], one)
        atheris.Fuzz()


def main() -> None:
    """Run each target in a process of its own, then write the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--one", nargs=2, metavar=("TARGET", "CORPUS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        fuzz_one(args.one[0], Path(args.one[1]), args.seconds)
    counts: dict[str, dict[str, Any]] = {}
    for name, (_, seeds) in TARGETS.items():
        with tempfile.TemporaryDirectory() as folder:
            corpus = Path(folder) / "corpus"
            corpus.mkdir()
            for i, seed in enumerate(seeds):
                (corpus / str(i)).write_bytes(seed.encode("utf-8", "surrogateescape"))
            command = [
                sys.executable,
                "-m",
                "benchmarks.robustness.fuzz_coverage",
                "--one",
                name,
                str(corpus),
            ]
            done = subprocess.run(
                [*command, "--seconds", str(args.seconds)],
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        found = dict(re.findall(r"stat::(\w+):\s+(\d+)", done.stderr))
        coverage = re.findall(r"cov: (\d+)", done.stderr)
        counts[name] = {
            "inputs": int(found.get("number_of_executed_units", 0)),
            "kept": int(found.get("new_units_added", 0)),
            "edges": [int(coverage[0]), int(coverage[-1])] if coverage else [],
            "peak_mb": int(found.get("peak_rss_mb", 0)),
            "finding": None if done.returncode == 0 else done.stderr[-3000:],
        }
        print(name, counts[name], flush=True)
    result = {
        **how_made(),
        "atheris": importlib.metadata.version("atheris"),
        "inputs": sum(count["inputs"] for count in counts.values()),
        "targets": counts,
    }
    write_json("fuzz_coverage", result, args.results)
    sys.exit(any(count["finding"] for count in counts.values()))


if __name__ == "__main__":
    main()
