"""``sklearn-kt train-crystallm``: a language model that writes crystals."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import add_seed, positive


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "train-crystallm",
        help="train a language model that writes crystals",
        description="Train a CrystaLLM on crystals. The same command goes on with a run that was"
        " stopped.",
        examples=(
            "train-crystallm crystals --output small",
            "train-crystallm crystals.jsonl.gz --output quick --steps 5000 --n-embd 128",
        ),
    )
    parser.add_argument(
        "structures", metavar="PATH", help="a folder of CIF files, a table, or a .jsonl.gz file"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="where the model goes")
    for name, default, text in (
        ("steps", 20_000, "updates of the weights"),
        ("batch-tokens", 4096, "tokens per update"),
        ("n-layer", 4, "layers"),
        ("n-head", 4, "heads of attention"),
        ("n-embd", 256, "width"),
        ("context", 256, "most tokens of a text"),
    ):
        parser.add_argument(
            f"--{name}",
            type=positive,
            default=default,
            metavar="N",
            help=f"{text} (default: {default})",
        )
    parser.add_argument(
        "--learning-rate", type=float, default=2e-3, metavar="X", help="peak (default: 0.002)"
    )
    parser.add_argument(
        "--form",
        choices=("short", "full"),
        default="short",
        help="texts without what follows from the rest, or the published form with about 1000"
        " tokens (default: short)",
    )
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out crystals that cannot be read"
    )
    parser.add_argument("--device", default="cpu", metavar="NAME", help="as in cuda (default: cpu)")
    add_seed(parser)
    parser.set_defaults(run=run, interrupted="the same command goes on")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from sklearn_kt.structures.crystallm import TrainingPlan, train_crystallm

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
    print((Path(args.output) / "README.md").read_text(encoding="utf-8"))
