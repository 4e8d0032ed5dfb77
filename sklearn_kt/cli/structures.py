"""``sklearn-kt structures``: crystals for formulas, as CIF files."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn_kt._files import replacing
from sklearn_kt.exceptions import InputError

from .console import print_table, tell
from .options import comma_separated, output_folder, positive

if TYPE_CHECKING:
    import pandas as pd

    from sklearn_kt.structures import Candidate

_SYMPREC = 0.01
_DIGITS = 8
_LEGEND = (
    "estimated probability of the structure, 1 where it is known for the composition; e_hull,"
    " e_polymorph: energy above the hull and above the lowest known crystal of the composition,"
    " eV/atom, empty where no source tells; volume in Å³. The first need not be the stable one:"
    " compare them."
)


def _prototype(args: argparse.Namespace) -> Any:
    from sklearn_kt.structures import PrototypeGenerator

    return PrototypeGenerator(rank_by=args.rank_by, relax=args.relax)


def _crystallm(args: argparse.Namespace) -> Any:
    from sklearn_kt.structures import CrystaLLMGenerator

    if args.relax and args.generator == ["crystallm"]:
        raise InputError("the crystals of crystallm are not relaxed: leave out --relax.")
    return CrystaLLMGenerator(rank_by="energy" if args.rank_by == "energy" else "votes")


def _random(args: argparse.Namespace) -> Any:
    from sklearn_kt.structures import RandomGenerator

    order = "order" if args.rank_by == "similarity" else "energy"
    return RandomGenerator(rank_by=order, relax=args.relax)


# what the generator of each name does, and how it is made
GENERATORS = {
    "prototype": ("substitution into known crystals", _prototype),
    "crystallm": ("a language model of crystals", _crystallm),
    "random": ("atoms placed by chance, from the extra 'structures-random'", _random),
}


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "structures",
        help="propose crystal structures for formulas",
        description="Propose crystal structures: print the ranked candidates and write a CIF file"
        " for each.",
        examples=(
            "structures BaTiO3 --n 3 --output-dir crystals",
            "structures LiFePO4 NaCl --generator prototype,crystallm --rank-by energy",
        ),
    )
    parser.add_argument("formulas", nargs="+", metavar="FORMULA", help="as in BaTiO3")
    parser.add_argument(
        "--n", type=positive, default=5, metavar="N", help="candidates of each (default: 5)"
    )
    parser.add_argument(
        "--generator",
        type=_generators,
        default="prototype",
        metavar="A,B,...",
        help="one or more, whose candidates take turns; "
        f"{'; '.join(f'{name}: {about}' for name, (about, _) in GENERATORS.items())}"
        " (default: %(default)s)",
    )
    parser.add_argument(
        "--rank-by",
        choices=("similarity", "energy", "both"),
        default="similarity",
        help="energy is that of CHGNet, from the extra 'structures' (default: similarity)",
    )
    parser.add_argument(
        "--relax",
        type=int,
        default=0,
        metavar="STEPS",
        help="relax prototypes and random crystals with CHGNet for so many steps (default: 0)",
    )
    parser.add_argument(
        "--known",
        metavar="PATH",
        help="your own crystals, tried first: a folder of CIFs or a table",
    )
    parser.add_argument(
        "--output-dir", default=".", metavar="DIR", help="where to write CIF files (default: here)"
    )
    parser.add_argument("--n-jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.set_defaults(run=run, interrupted="the files that were listed are complete")


def _generators(text: str) -> list[str]:
    """Read names of generators between commas."""
    names = comma_separated(text)
    if unknown := [name for name in names if name not in GENERATORS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(GENERATORS)}")
    return names


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    if args.known is not None and Path(args.known).resolve() == Path(args.output_dir).resolve():
        raise InputError(
            f"--known {args.known} is the folder to write to, where crystals of yours could be"
            " replaced: name another by --output-dir."
        )
    # before the seconds that libraries take to load: it may be no folder
    with output_folder(args.output_dir) as folder:
        for title, table in _tables(args, folder):
            print_table(title, table)
            if len(table):
                print()
    tell("score", _LEGEND)
    tell("wrote", f"CIF files to {args.output_dir}")


def _tables(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """Write CIF files and yield a table per formula."""
    import pandas as pd

    from sklearn_kt import structures

    members: list[Any] = [structures.StructureLookup(args.known)] if args.known else []
    members += [GENERATORS[name][1](args) for name in args.generator]
    generator = structures.Cached(
        structures.EnsembleGenerator(members), n_jobs=args.n_jobs, verbose=1
    )
    found = generator.generate(args.formulas, args.n)
    if not any(found):
        raise InputError(
            f"there is no candidate for {', '.join(args.formulas)}: the library has no crystal "
            "of such an anonymous formula with elements like these. Pass crystals of "
            f"your own with --known, or try --generator {','.join(GENERATORS)}."
        )
    for formula, candidates in zip(args.formulas, found, strict=True):
        rows = [_row(c, folder, formula, i) for i, c in enumerate(candidates, start=1)]
        count = f"{len(rows)} candidates" if rows else "no candidate"
        yield f"{formula}: {count}", pd.DataFrame(rows)


def _row(candidate: Candidate, folder: Path, formula: str, place: int) -> dict[str, str]:
    from pymatgen.io.cif import CifWriter

    from sklearn_kt._formula import file_stem

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
        **{name: _energy(provenance.get(name)) for name in ("e_hull", "e_polymorph")},
        "like": str(provenance.get("template", "")),
        "source": str(provenance.get("source", "")),
        "file": name,
    }


def _energy(value: float | None) -> str:
    """Spell an energy in eV/atom; nothing where it is not known."""
    return "" if value is None else f"{value:.3f}"
