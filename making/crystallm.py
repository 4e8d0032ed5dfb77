"""Training the CrystaLLM of the package: ``python -m making.crystallm``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from sklearn_kt.datasets import data_home
from sklearn_kt.structures.crystallm.text import text_of_orbits
from sklearn_kt.structures.crystallm.trainer import TrainingPlan, train_crystallm
from sklearn_kt.structures.library import load_library
from sklearn_kt.structures.reading import counts_of_row, read_rows
from sklearn_kt.structures.stoichiometry import integer_formula

__all__ = ["HELD_OUT", "SHIPPED_PLAN", "held_out_compositions", "main", "training_texts"]

#: No crystal of a composition of these is trained on: path in the data folder, and split
#: (all if None).
HELD_OUT: tuple[tuple[str, str | None], ...] = (
    ("structures/mp20_subset.jsonl.gz", "test"),
    ("structures/mpts52_val_test.jsonl.gz", "test"),
    ("structures/wbm_val_10k.jsonl.gz", None),
)
#: Of the model in the package.
SHIPPED_PLAN = TrainingPlan(
    n_head=3, n_embd=192, steps=16_000, batch_tokens=2048, dropout=0.0, bf16=True, save_every=250
)


def held_out_compositions(data_dir: Path) -> set[frozenset[tuple[int, int]]]:
    """Compositions that are kept for evaluation.

    Parameters
    ----------
    data_dir : Path
        Folder with the files of `HELD_OUT`.

    Returns
    -------
    compositions : set of frozenset of (int, int)
        Atomic numbers and reduced amounts.
    """
    found = set()
    for name, split in HELD_OUT:
        for row in read_rows(data_dir / name):
            if split is None or row["split"] == split:
                found.add(frozenset(integer_formula(counts_of_row(row)).counts.items()))
    return found


def training_texts(data_dir: Path) -> Iterator[str]:
    """Crystals of the prototype library, without the compositions kept for evaluation.

    Parameters
    ----------
    data_dir : Path
        Folder with the files of `HELD_OUT`.

    Yields
    ------
    text : str
        In the published form.
    """
    arrays = load_library().arrays
    held_out = held_out_compositions(data_dir)
    lists = {name: array.tolist() for name, array in arrays.items() if array.ndim}
    for row, hall in enumerate(lists["hall"]):
        pairs = zip(lists["elements"][row], lists["amounts"][row], strict=True)
        if frozenset((z, n) for z, n in pairs if z) in held_out:
            continue
        orbits = range(*lists["orbit_start"][row : row + 2])
        names = ("orbit_element", "orbit_multiplicity", "orbit_position")
        yield text_of_orbits(
            hall, lists["lattice"][row], [tuple(lists[n][i] for n in names) for i in orbits]
        )


def main(argv: list[str] | None = None) -> None:
    """Run the command.

    Parameters
    ----------
    argv : list of str, optional
        Arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(
        prog="python -m making.crystallm",
        description="Train the CrystaLLM of the package; the same command goes on with a run.",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument("--data-dir", type=Path, default=data_home())
    parser.add_argument("--steps", type=int, default=SHIPPED_PLAN.steps, metavar="N")
    args = parser.parse_args(argv)
    if args.data_dir is None:
        parser.error("set SKLEARN_KT_DATA or pass --data-dir")
    plan = TrainingPlan(**{**vars(SHIPPED_PLAN), "steps": args.steps})
    train_crystallm(training_texts(args.data_dir), args.output, plan, verbose=1)
    print((args.output / "README.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
