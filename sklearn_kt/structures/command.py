"""What ``sklearn-kt structures`` does."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from sklearn_kt._files import replacing
from sklearn_kt.compositions import file_stem
from sklearn_kt.exceptions import InputError

from .base import Candidate
from .crystallm import CrystaLLMGenerator
from .ensemble import EnsembleGenerator
from .lookup import StructureLookup
from .prototypes import PrototypeGenerator
from .random import RandomGenerator

__all__ = ["structure_tables", "train"]

_SYMPREC = 0.01
_DIGITS = 8


def structure_tables(args: argparse.Namespace) -> Iterator[tuple[str, pd.DataFrame]]:
    """Run ``sklearn-kt structures``; write CIF files and yield a table per formula.

    Parameters
    ----------
    args : argparse.Namespace
        ``formulas``, ``n``, ``generator``, ``rank_by``, ``relax``, ``known``,
        ``output_dir`` and ``n_jobs`` of the command line.

    Yields
    ------
    part : tuple of (str, DataFrame of str)
        A title, and one row per candidate.

    Raises
    ------
    InputError
        If no formula has a candidate.
    """
    members: list[Any] = [StructureLookup(args.known)] if args.known else []
    settings = {"n_jobs": args.n_jobs, "verbose": 1}
    if args.generator in ("prototype", "both"):
        members.append(PrototypeGenerator(rank_by=args.rank_by, relax=args.relax, **settings))
    if args.generator in ("crystallm", "both"):
        members.append(CrystaLLMGenerator(**settings))
    if args.generator == "random":
        order = "order" if args.rank_by == "similarity" else "energy"
        members.append(RandomGenerator(rank_by=order, relax=args.relax, **settings))
    generator = EnsembleGenerator(members)
    found = generator.generate(args.formulas, args.n)
    if not any(found):
        raise InputError(
            f"there is no candidate for {', '.join(args.formulas)}: the library has no crystal "
            "of such an anonymous formula, or an element it does not know. Pass crystals of "
            "your own with --known, or try --generator both or random."
        )
    folder = Path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for formula, candidates in zip(args.formulas, found, strict=True):
        rows = [_row(c, folder, formula, i) for i, c in enumerate(candidates, start=1)]
        count = f"{len(rows)} candidates" if rows else "no candidate"
        yield f"{formula}: {count}", pd.DataFrame(rows)


def _row(candidate: Candidate, folder: Path, formula: str, place: int) -> dict[str, str]:
    from pymatgen.io.cif import CifWriter

    structure = candidate.structure
    name = f"{file_stem(formula)}_{place}.cif"
    with warnings.catch_warnings():
        # spglib warns of its own change of error handling, pymatgen of noble gases
        warnings.simplefilter("ignore")
        text = str(CifWriter(structure, symprec=_SYMPREC, significant_figures=_DIGITS))
        symbol, number = structure.get_space_group_info(symprec=_SYMPREC)
    with replacing(folder / name) as partial:
        partial.write_text(text, encoding="utf-8")
    provenance = candidate.provenance
    error = provenance.get("composition_error")
    return {
        "rank": str(place),
        "crystal": candidate.formula if error is None else f"{candidate.formula} (near)",
        "space group": f"{symbol} ({number})",
        "atoms": str(len(structure)),
        "volume/atom": f"{structure.volume / len(structure):.2f}",
        "score": f"{candidate.score:.3f}",
        "like": str(provenance.get("template", provenance.get("source", ""))),
        "file": name,
    }


def train(args: argparse.Namespace) -> str:
    """Run ``sklearn-kt train-crystallm``.

    Parameters
    ----------
    args : argparse.Namespace
        ``structures``, ``output``, ``device``, ``skip_bad`` and the numbers of the
        command line.

    Returns
    -------
    card : str
        What the model was made of, and its loss.
    """
    from .crystallm import TrainingPlan, train_crystallm

    names = ["steps", "batch_tokens", "n_layer", "n_head", "n_embd", "context", "form"]
    names += ["learning_rate", "bf16"]
    plan = TrainingPlan(**{n: getattr(args, n) for n in names}, seed=args.random_state)
    train_crystallm(
        args.structures,
        args.output,
        plan,
        device=args.device,
        skip_bad=args.skip_bad,
        verbose=1,
    )
    return (Path(args.output) / "README.md").read_text(encoding="utf-8")
