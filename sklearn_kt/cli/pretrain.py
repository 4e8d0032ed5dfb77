"""``sklearn-kt pretrain``: an encoder by a recipe."""

from __future__ import annotations

import argparse
from typing import Any

from .options import add_quiet


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "pretrain",
        help="pretrain an encoder by a recipe",
        description="Build a corpus, embed it by teachers, pretrain an encoder and save it as a"
        " checkpoint, as a recipe says (sklearn_kt.pretraining.run_recipe lists its keys). A run"
        " that was stopped goes on. Several processes share the work under 'accelerate launch -m"
        " sklearn_kt pretrain ...'.",
        examples=(
            "pretrain --config recipe.json",
            "pretrain --config recipe.yaml --data-dir tables",
        ),
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="recipe, JSON or YAML")
    parser.add_argument(
        "--data-dir", metavar="DIR", help="data of the corpus (default: SKLEARN_KT_DATA)"
    )
    add_quiet(parser)
    parser.set_defaults(run=run, interrupted="with a checkpoint_dir, the same command goes on")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from sklearn_kt.datasets import data_home
    from sklearn_kt.pretraining.recipes import read_recipe, run_recipe

    recipe, home = read_recipe(args.config), args.data_dir or data_home()
    print(run_recipe(recipe, data_home=home, verbose=0 if args.quiet else 1))
