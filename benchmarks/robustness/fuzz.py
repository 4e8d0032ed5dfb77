"""A million hostile inputs: only documented errors, no hang, no memory blow-up.

    python -m benchmarks.robustness.fuzz
    python -m benchmarks.robustness.fuzz --scale 0.01 --targets formula cif

Seeds are mutated (bytes flipped, cut, doubled and spliced, fragments known to hurt parsers put
in) and given to everything that reads what strangers wrote: the gate for compositions, the
tokenizer there and back, the CSV reader of the command line, filters, the parser and tokenizer of
CrystaLLM's CIF text, the loader of checkpoints, and the loader of saved models. Whatever is
raised must be an error of sklearn_kt; an input that takes more than a second of CPU time
counts as a hang; one that is larger than memory allows ends the process. Findings and counts go
to benchmarks/results/fuzz.json, the inputs of findings with them. A run with the same seed does
the same.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, how_made, write_json

HANG = 1.0
# Address space of the process, so that a blow-up is a MemoryError and not the machine's end.
MEMORY = 12 * 2**30

FORMULAS = [
    *["Fe2O3", "LiFePO4", "Ca(OH)2", "(Bi0.5Sb1.5)Te3", "CuSO4·5H2O", "CuSO4.5H2O", "NaN"],
    *["K[Fe(CN)6]", "{La}2Cu(O4)", "Fe1e-3O", "Y3N@C80", "D2O", "LaFeAsO0.9F0.1", "Fe₂O₃"],
    "Ba0.5Sr0.5TiO3",
]
FRAGMENTS = [
    *["1e308", "1e-308", "e", "E5", "-", "--1", "(", ")", "((((", "[]", "{}", "·", "•", ".", ".."],
    *["0", "00", "9" * 30, "0." + "0" * 30 + "1", "\0", "\n", "\r", "\t", " ", "@", "\u2082"],
    *["\u0421", "\u041e", "\u2212", "\u200b", "\ufeff", "\U0001f9ea", "\ud800", "\uff26\uff45"],
    *["\u0661", "ß", "ﬁ", "İ", "nan", "inf", "NaN", "None", "x", "δ", "%s", "{0}", "'", '"', ";"],
    *[",", "\\", "$(x)", "../", "Xx"],
]
CIF = """data_Na4Cl4
_symmetry_space_group_name_H-M Fm-3m
_cell_length_a 5.6400
_cell_length_b 5.6400
_cell_length_c 5.6400
_cell_angle_alpha 90.0000
_cell_angle_beta 90.0000
_cell_angle_gamma 90.0000
_symmetry_Int_Tables_number 225
_chemical_formula_structural NaCl
_chemical_formula_sum 'Na4 Cl4'
_cell_volume 179.4061
_cell_formula_units_Z 4
loop_
_symmetry_equiv_pos_site_id
_symmetry_equiv_pos_as_xyz
1 'x, y, z'
loop_
_atom_site_type_symbol
_atom_site_label
_atom_site_symmetry_multiplicity
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na Na0 4 0.0000 0.0000 0.0000 1
Cl Cl1 4 0.5000 0.5000 0.5000 1
"""
TABLE = 'formula,gap,note\nFe2O3,2.2,"a, b"\n"NaCl",8.5,"two\nlines"\nKCl,8.4,\n'
FILTERS = [
    "prediction > 1.5 and prediction_std < 0.3",
    "1 < a < 2",
    "not x in ['a', 'b']",
    "col('a b') == -1",
]

Check = Callable[[Any], None]


def mutated_text(rng: random.Random, seeds: list[str]) -> str:
    """Mutate a seed a few times."""
    text = rng.choice(seeds)
    for _ in range(rng.randint(1, 6)):
        at, to = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
        match rng.randint(0, 6):
            case 0:
                text = text[:at] + rng.choice(FRAGMENTS) + text[at:]
            case 1:
                text = text[:at] + text[to:]
            case 2:
                text = text[:to] + text[at:to] * rng.randint(1, 5) + text[to:]
            case 3:
                text = text[:at] + rng.choice(seeds) + text[to:]
            case 4 if text:
                text = text[:at] + chr(rng.randrange(0x3000)) + text[at + 1 :]
            case 5:
                text = text[:at] + rng.choice(FRAGMENTS) * rng.randint(1, 20) + text[at:]
            case _:
                text = "".join(rng.sample(text, len(text))) if len(text) < 200 else text[::-1]
    return text[:5_000]


def mutated_bytes(rng: random.Random, seed: bytes) -> bytes:
    """Mutate bytes a few times."""
    content = bytearray(seed)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(content) + 1)
        match rng.randint(0, 5):
            case 0 | 1 if at < len(content):
                content[at] ^= 1 << rng.randrange(8)
            case 2:
                content[at:at] = rng.choice(FRAGMENTS).encode("utf-8", "replace")
            case 3:
                del content[at : at + rng.randint(1, 50)]
            case 4:
                content[at : at + 8] = rng.randbytes(8)
            case _:
                del content[max(at, 1) :]
    return bytes(content)


def formula() -> Iterator[tuple[Callable[[random.Random], Any], Check]]:
    """Check that what the gate accepts is finite, and reads back as it was written."""
    from sklearn_kt.compositions import parse_formula, read_compositions

    def check(text: str) -> None:
        parse_formula(text)
        batch = read_compositions([text])
        again = read_compositions(batch.formulas())
        assert (again.atomic_numbers == batch.atomic_numbers).all()
        assert (again.amounts == batch.amounts).all()
        assert np.isfinite(batch.fractions()).all()

    yield lambda rng: mutated_text(rng, FORMULAS), check


def rows() -> Iterator[tuple[Callable[[random.Random], Any], Check]]:
    """Check containers of anything: as many rows come out as went in."""
    from sklearn_kt.compositions import read_compositions

    values = [None, float("nan"), 5, b"Fe", {"Fe": 1}, {"Fe": float("inf")}, {5: 1}, [], ["Fe"], {}]

    def make(rng: random.Random) -> list:
        found = [rng.choice([*values, *FORMULAS, *FRAGMENTS]) for _ in range(rng.randint(0, 5))]
        return rng.choice([found, tuple(found), np.array([*found, None], dtype=object)])

    yield make, lambda X: _equal(len(read_compositions(X, errors="nan")), len(X))


def tokenizer() -> Iterator[tuple[Callable[[random.Random], Any], Check]]:
    """Check that tokens read back as the same composition."""
    from sklearn_kt import CompositionTokenizer
    from sklearn_kt.compositions import ELEMENTS, read_compositions

    schemes = {
        scheme: CompositionTokenizer(scheme) for scheme in ("element", "fraction", "formula")
    }

    def make(rng: random.Random) -> tuple[str, str]:
        symbols = rng.sample(ELEMENTS, rng.randint(1, 8))
        amounts = [rng.choice([1, rng.randint(1, 400), rng.random(), 1e-7, 1e9]) for _ in symbols]
        text = "".join(f"{s}{a!r}" for s, a in zip(symbols, amounts, strict=True))
        return rng.choice(list(schemes)), text

    def check(value: tuple[str, str]) -> None:
        scheme, text = value
        once = schemes[scheme].fit_transform([text])
        back = schemes[scheme].inverse_transform(once)
        if scheme != "formula":
            found = read_compositions(back).fractions()
            assert np.allclose(found, read_compositions([text]).fractions(), atol=1e-6)

    yield make, check


def csv() -> Iterator[tuple[Callable[[random.Random], Any], Check]]:
    """Check that a table is read whole or refused."""
    from sklearn_kt.tables import open_table

    def check(content: bytes) -> None:
        with tempfile.NamedTemporaryFile(suffix=".csv") as file:
            file.write(content)
            file.flush()
            with open_table(file.name, 2) as table:
                for batch in table.batches:
                    assert len(batch.table) == len(batch.numbers)
                    assert batch.table.schema == table.schema

    yield lambda rng: mutated_bytes(rng, TABLE.encode()), check


def filters() -> Iterator[tuple[Callable[[random.Random], Any], Check]]:
    """Check filters of screenings."""
    from sklearn_kt.screening.expressions import parse_expression

    def check(text: str) -> None:
        parse_expression(text)

    yield lambda rng: mutated_text(rng, FILTERS), check


def cif() -> Iterator[tuple[Callable[[random.Random], Any], Check]]:
    """Check crystals from text."""
    from sklearn_kt.structures.crystallm import crystal_of_text
    from sklearn_kt.structures.crystallm.cif_tokenizer import CIFTokenizer

    tokens = CIFTokenizer()

    def check(text: str) -> None:
        decoded = tokens.decode(tokens.encode(text))
        assert isinstance(decoded, str)
        crystal_of_text(text)

    yield lambda rng: mutated_text(rng, [CIF]), check


def checkpoint() -> Iterator[tuple[Callable[[random.Random], Any], Check]]:
    """Check folders of weights."""
    import hashlib

    import torch

    from sklearn_kt.encoder import load_checkpoint, save_checkpoint
    from sklearn_kt.encoder.modeling import build_backbone

    config = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    spec = {"kind": "composition", "config": {**config, "intermediate_size": 8}}
    with tempfile.TemporaryDirectory() as place, torch.random.fork_rng():
        folder = Path(place) / "checkpoint"
        save_checkpoint(spec, build_backbone(spec).state_dict(), folder, card="")
        files = {
            name: (folder / name).read_bytes() for name in ("config.json", "model.safetensors")
        }
        plain = json.loads(files["config.json"])
        odd = [-1, 0, 1, 3, 10**9, 10**30, 1.5, float("nan"), None, True, "8", [], {}, [{}], "\0"]

        def make(rng: random.Random) -> tuple[str, bytes]:
            # weights with a checksum that fits, as an attacker would
            name = rng.choice(["config.json", "model.safetensors", "values"])
            if name == "values":
                changed = {**plain, rng.choice([*plain, "attn", "auto_map"]): rng.choice(odd)}
                return "config.json", json.dumps(changed).encode()
            if name == "config.json":
                return name, mutated_bytes(rng, files[name])
            # the header of safetensors is at the beginning
            head, tail = files[name][:1500], files[name][1500:]
            return name, mutated_bytes(rng, head) + tail

        def check(value: tuple[str, bytes]) -> None:
            name, content = value
            (folder / name).write_bytes(content)
            try:
                if name == "model.safetensors":
                    signed = {**plain, "sha256": hashlib.sha256(content).hexdigest()}
                    (folder / "config.json").write_text(json.dumps(signed))
                load_checkpoint(folder)
            finally:
                for known, original in files.items():
                    (folder / known).write_bytes(original)

        yield make, check


def model() -> Iterator[tuple[Callable[[random.Random], Any], Check]]:
    """Check files of saved models, with checksums that fit."""
    import hashlib
    import zipfile

    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.pipeline import make_pipeline

    from sklearn_kt import CompositionTokenizer
    from sklearn_kt.persistence import load_model, save_model

    fitted = make_pipeline(
        CompositionTokenizer("fraction"), ExtraTreesRegressor(2, max_depth=3, random_state=0)
    ).fit(["NaCl", "KCl", "MgO", "LiF"], [1.0, 2.0, 3.0, 4.0])
    with tempfile.TemporaryDirectory() as place:
        path = save_model(fitted, Path(place) / "model")
        whole = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}

        def make(rng: random.Random) -> bytes:
            if rng.random() < 0.3:
                return mutated_bytes(rng, whole)
            changed = dict(members)
            name = rng.choice(list(changed))
            changed[name] = mutated_bytes(rng, changed[name])
            if name != "sklearn_kt.json":
                about = json.loads(changed["sklearn_kt.json"])
                about["sha256"][name] = hashlib.sha256(changed[name]).hexdigest()
                changed["sklearn_kt.json"] = json.dumps(about).encode()
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as archive:
                for key, content in changed.items():
                    archive.writestr(key, content)
            return buffer.getvalue()

        def check(content: bytes) -> None:
            path.write_bytes(content)
            load_model(path)

        yield make, check


def giants() -> list[tuple[str, Check, Any]]:
    """Build inputs of ten megabytes, and brackets a hundred thousand deep."""
    from sklearn_kt.compositions import parse_formula
    from sklearn_kt.screening.expressions import parse_expression
    from sklearn_kt.structures.crystallm import crystal_of_text
    from sklearn_kt.tables import open_table

    deep = 100_000
    big = 10_000_000
    texts = {
        "H1e308": "H1e308",
        "H1e309": "H1e309",
        "deep brackets": "(" * deep + "H" + ")" * deep,
        "deep doubled brackets": "(" * deep + "H" + ")2" * deep,
        "open brackets": "(" * deep,
        "10 MB of digits": "H" + "9" * big,
        "10 MB of H": "H" * big,
        "10 MB of Fe2O3": "Fe2O3" * (big // 5),
        "10 MB of blanks": " " * big,
        "10 MB of dots": "." * big,
        "10 MB of hydrates": "CuSO4.5H2O" * (big // 10),
        "10 MB of NUL": "\0" * big,
        "10 MB of minus": "\u2212" * big,
        "10 MB of e-": "H1" + "e-" * (big // 2),
        "10 MB of lower case": "a" * big,
        "confusables": "\u0421\u043e\u041e" * 1_000,
    }
    found: list[tuple[str, Check, Any]] = [
        (f"formula: {name}", parse_formula, text) for name, text in texts.items()
    ]
    found += [(f"filter: {name}", parse_expression, text) for name, text in texts.items()]
    found += [(f"cif: {name}", crystal_of_text, text) for name, text in texts.items()]
    found += [(f"cif sites: {name}", crystal_of_text, CIF + text) for name, text in texts.items()]
    found.append(("cif: a row again", crystal_of_text, CIF + "Cl Cl1 4 0.5 0.5 0.5 1\n" * 100_000))

    def table(text: str) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".csv", encoding="utf-8") as file:
            file.write(f"formula\n{text}\n")
            file.flush()
            with open_table(file.name, 1_000) as opened:
                for batch in opened.batches:
                    assert len(batch.table)

    found += [(f"csv: {name}", table, text) for name, text in texts.items()]
    return found


# inputs of each target, in a run of scale 1
TARGETS: dict[str, tuple[Callable[[], Iterator], int]] = {
    "formula": (formula, 600_000),
    "rows": (rows, 100_000),
    "tokenizer": (tokenizer, 80_000),
    "csv": (csv, 120_000),
    "filters": (filters, 60_000),
    "cif": (cif, 35_000),
    "checkpoint": (checkpoint, 6_000),
    "model": (model, 3_000),
}


def _equal(found: Any, expected: Any) -> None:
    assert found == expected


def run(check: Check, value: Any) -> tuple[str, str | None, float]:
    """Give one input; return what happened, a finding if it was wrong, and seconds."""
    from sklearn_kt.exceptions import SklearnKTError

    start = time.process_time()
    finding = None
    try:
        check(value)
        outcome = "accepted"
    except SklearnKTError as error:
        outcome = "refused"
        if len(str(error)) > 5_000:
            finding = f"a message of {len(str(error))} characters"
    except Exception:
        outcome, finding = "wrong", traceback.format_exc(limit=-4)
    seconds = time.process_time() - start
    if seconds > HANG:
        finding = f"{finding or ''} {seconds:.1f} s of CPU time"
    return outcome, finding, seconds


def main() -> None:
    """Run all targets, then write counts and findings."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", nargs="+", default=[*TARGETS, "giants"])
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    counts: dict[str, dict[str, Any]] = {}
    findings: list[dict[str, str]] = []

    def note(target: str, value: Any, finding: str) -> None:
        print(f"{target}: {value!r:.200} {finding}", file=sys.stderr, flush=True)
        findings.append({"target": target, "input": f"{value!r:.500}", "finding": finding})

    for name in args.targets:
        count: dict[str, Any] = {"accepted": 0, "refused": 0, "wrong": 0, "slowest_s": 0.0}
        counts[name] = count
        if name == "giants":
            for label, check, value in giants():
                outcome, finding, seconds = run(check, value)
                count[outcome] += 1
                count["slowest_s"] = max(count["slowest_s"], round(seconds, 3))
                if finding:
                    note(label, "", finding)
        else:
            target, n = TARGETS[name]
            rng = random.Random(f"{args.seed} {name}")
            with contextlib.contextmanager(target)() as (make, check):
                for _ in range(max(1, round(n * args.scale))):
                    value = make(rng)
                    outcome, finding, seconds = run(check, value)
                    count[outcome] += 1
                    count["slowest_s"] = max(count["slowest_s"], round(seconds, 3))
                    if finding and len(findings) < 100:
                        note(name, value, finding)
        count["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(name, count, flush=True)
    result = {
        **how_made(),
        "inputs": sum(c["accepted"] + c["refused"] + c["wrong"] for c in counts.values()),
        "targets": counts,
        "findings": findings,
    }
    write_json("fuzz", result, args.results)
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
