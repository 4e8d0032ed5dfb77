"""Training CrystaLLM on a folder of structures, with resuming."""

from __future__ import annotations

import json
import math
import pickle
import shutil
import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_kt.exceptions import CheckpointError, CompositionWarning, InputError, TrainingError
from sklearn_kt.structures.build import read_rows
from sklearn_kt.structures.lookup import read_structures

from .model import CrystaLLM, load_crystallm, new_crystallm
from .text import text_of_crystal
from .tokenizer import CIFTokenizer

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = ["TrainingPlan", "token_streams", "train_crystallm"]

_STATE = "state.pt"
_TOKENS = "tokens.npz"
_PLAN = "plan.json"


@dataclass(frozen=True)
class TrainingPlan:
    """How to train.

    Parameters
    ----------
    n_layer, n_head, n_embd : int, default=6, 6, 192
        Size of the network (2.8 million parameters).
    context : int, default=1024
        Tokens of a training window, and most of a text.
    steps : int, default=20000
        Updates of the weights.
    batch_size : int, default=8
        Windows per update.
    learning_rate : float, default=1e-3
        Peak rate of AdamW, after a warm-up and before a cosine decay to a tenth.
    warmup : int, default=100
        Steps of the warm-up.
    weight_decay : float, default=0.1
        Of AdamW.
    validation : float, default=0.02
        Share of the crystals that is never trained on.
    save_every : int, default=500
        Steps between states that a stopped run goes on from.
    seed : int, default=0
        Of weights, split and batches.
    """

    n_layer: int = 6
    n_head: int = 6
    n_embd: int = 192
    context: int = 1024
    steps: int = 20_000
    batch_size: int = 8
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.1
    validation: float = 0.02
    save_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name not in ("seed", "validation", "warmup", "weight_decay") and not value > 0:
                raise InputError(f"{name} must be positive, got {value}.")
        if self.n_embd % self.n_head:
            raise InputError(f"n_embd={self.n_embd} is not a multiple of n_head={self.n_head}.")
        if not 0 < self.validation < 1:
            raise InputError(f"validation must lie between 0 and 1, got {self.validation}.")


def train_crystallm(
    structures: Any,
    folder: str | Path,
    plan: TrainingPlan | None = None,
    *,
    device: str = "cpu",
    skip_bad: bool = False,
    verbose: int = 0,
) -> CrystaLLM:
    """Train a model, or go on with a stopped run.

    Parameters
    ----------
    structures : str, Path or sequence of pymatgen.core.Structure
        A folder of CIF files or a table, as for
        :class:`~sklearn_kt.structures.StructureLookup`; a ``.jsonl.gz`` file with
        ``lattice``, ``species`` and ``coords``; or the crystals themselves.
    folder : str or Path
        Where the model goes. If it holds a stopped run of the same plan, that goes
        on, with the crystals it began with.
    plan : TrainingPlan, optional
        None is the defaults.
    device : str, default="cpu"
        Where to compute.
    skip_bad : bool, default=False
        Leave out crystals that cannot be read, with a warning.
    verbose : int, default=0
        Show progress on stderr.

    Returns
    -------
    model : CrystaLLM
        With the weights of the last step, as saved.

    Raises
    ------
    InputError
        If there are too few crystals, or the folder has another run.
    CheckpointError
        If the state of the stopped run is damaged.
    TrainingError
        If the loss is not finite.

    Examples
    --------
    >>> plan = TrainingPlan(steps=1000)
    >>> train_crystallm("path/of/cifs", "my_crystallm", plan)  # doctest: +SKIP
    """
    plan = plan or TrainingPlan()
    folder = Path(folder)
    _claim(folder, plan)
    tokens = _tokens(structures, folder, plan, skip_bad, verbose)
    model = new_crystallm(
        n_layer=plan.n_layer,
        n_head=plan.n_head,
        n_embd=plan.n_embd,
        context=plan.context,
        seed=plan.seed,
    )
    history = _run(model, tokens, folder, plan, device, verbose)
    _write(model, folder, plan, tokens, history)
    return load_crystallm(folder)


def token_streams(
    structures: Iterable[Structure], *, validation: float = 0.02, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, int]:
    """Tokenise crystals.

    Parameters
    ----------
    structures : iterable of pymatgen.core.Structure
        Ordered crystals.
    validation : float, default=0.02
        Share of the crystals in the second stream, at least one.
    seed : int, default=0
        Of the split and the order.

    Returns
    -------
    train, validation : ndarray of uint16
        Texts one after the other, each ending with a blank line.
    n_left_out : int
        Crystals without a text, or with a word that has no token.

    Raises
    ------
    InputError
        If fewer than two crystals are left.
    """
    tokenizer = CIFTokenizer()
    unknown = tokenizer.tokens.index("<unk>")
    texts, left_out = [], 0
    for structure in structures:
        try:
            numbers = tokenizer.encode(text_of_crystal(structure))
        except InputError:
            left_out += 1
            continue
        if unknown in numbers:
            left_out += 1
        else:
            texts.append(np.array(numbers, np.uint16))
    if len(texts) < 2:
        raise InputError(f"training needs at least 2 crystals, and {len(texts)} can be used.")
    order = np.random.default_rng(seed).permutation(len(texts))
    held_out = max(1, round(validation * len(texts)))
    parts = [np.concatenate([texts[i] for i in rows]) for rows in np.split(order, [held_out])]
    return parts[1], parts[0], left_out


def _claim(folder: Path, plan: TrainingPlan) -> None:
    """Make the folder, or see that it holds a run of the same plan."""
    if (folder / _PLAN).is_file():
        before = json.loads((folder / _PLAN).read_text())
        changed = sorted(k for k, v in asdict(plan).items() if before.get(k) != v)
        if changed:
            raise InputError(
                f"{folder} holds a run with another {', '.join(changed)}; pass the same plan to "
                "go on with it, or another folder."
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder; choose another.")
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / _PLAN, lambda path: path.write_text(json.dumps(asdict(plan), indent=1)))


def _tokens(
    structures: Any, folder: Path, plan: TrainingPlan, skip_bad: bool, verbose: int
) -> dict[str, np.ndarray]:
    path = folder / _TOKENS
    if path.is_file():
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    from tqdm import tqdm

    source = tqdm(
        _structures(structures, skip_bad), desc="texts", disable=not verbose, file=sys.stderr
    )
    train, held_out, left_out = token_streams(source, validation=plan.validation, seed=plan.seed)
    if left_out:
        warnings.warn(
            f"{left_out} crystals have no text, or an element or space group without a token, "
            "and are left out.",
            CompositionWarning,
            stacklevel=3,
        )
    for name, stream in (("training", train), ("validation", held_out)):
        if len(stream) <= plan.context:
            raise InputError(
                f"the {name} texts have {len(stream)} tokens together, and a window has "
                f"{plan.context}; pass more crystals, a smaller context or a larger validation."
            )
    arrays = {"train": train, "validation": held_out}

    def save(partial: Path) -> None:
        with partial.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    _replace(path, save)
    return arrays


def _structures(source: Any, skip_bad: bool) -> Iterable[Structure]:
    if isinstance(source, str | Path) and str(source).endswith(".jsonl.gz"):
        from pymatgen.core import Lattice, Structure

        for row in read_rows(Path(source)):
            species = [symbol for symbol, count in row["species"] for _ in range(count)]
            yield Structure(Lattice.from_parameters(*row["lattice"]), species, row["coords"])
    else:
        for candidate in read_structures(source, skip_bad=skip_bad):
            yield candidate.structure


def _run(
    model: CrystaLLM,
    tokens: dict[str, np.ndarray],
    folder: Path,
    plan: TrainingPlan,
    device: str,
    verbose: int,
) -> list[dict[str, float]]:
    import torch
    from tqdm import tqdm

    network = model.network.to(device).train()
    decayed = [p for p in network.parameters() if p.ndim >= 2]
    others = [p for p in network.parameters() if p.ndim < 2]
    optimiser = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": plan.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=plan.learning_rate,
        betas=(0.9, 0.99),
    )
    first, history = _restore(folder / _STATE, network, optimiser)
    progress = tqdm(
        total=plan.steps, initial=first, desc="steps", disable=not verbose, file=sys.stderr
    )
    with torch.random.fork_rng(devices=[]):
        for step in range(first, plan.steps):
            for group in optimiser.param_groups:
                group["lr"] = plan.learning_rate * _rate(step, plan)
            # every step has a seed of its own, so that a resumed run is the same run
            torch.manual_seed(plan.seed * 1_000_003 + step)
            windows = _windows(tokens["train"], plan, np.random.default_rng([plan.seed, step]))
            loss = network(input_ids=windows.to(device), labels=windows.to(device)).loss
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"the loss is not finite at step {step}; lower the learning rate."
                )
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            progress.update()
            done = step + 1
            if done % plan.save_every == 0 or done == plan.steps:
                held_out = _validate(network, tokens["validation"], plan, device)
                history.append({"step": done, "train": float(loss.detach()), "valid": held_out})
                progress.set_postfix(valid=f"{held_out:.3f}")
                state = {
                    "step": done,
                    "history": history,
                    "model": network.state_dict(),
                    "optimiser": optimiser.state_dict(),
                }
                _replace(folder / _STATE, lambda path, state=state: torch.save(state, path))
    progress.close()
    network.eval()
    return history


def _restore(path: Path, network: Any, optimiser: Any) -> tuple[int, list[dict[str, float]]]:
    import torch

    if not path.is_file():
        return 0, []
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        return int(state["step"]), list(state["history"])
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path} is damaged ({type(error).__name__}); remove it to start the run anew."
        ) from error


def _rate(step: int, plan: TrainingPlan) -> float:
    if step < plan.warmup:
        return (step + 1) / plan.warmup
    share = (step - plan.warmup) / max(plan.steps - plan.warmup, 1)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * share))


def _windows(stream: np.ndarray, plan: TrainingPlan, rng: np.random.Generator) -> Any:
    import torch

    starts = rng.integers(0, len(stream) - plan.context, plan.batch_size)
    rows = [stream[start : start + plan.context].astype(np.int64) for start in starts]
    return torch.from_numpy(np.stack(rows))


def _validate(network: Any, stream: np.ndarray, plan: TrainingPlan, device: str) -> float:
    """Mean loss per token of a fixed set of windows."""
    import torch

    network.eval()
    windows = _windows(stream, plan, np.random.default_rng(0)).to(device)
    with torch.no_grad():
        loss = float(network(input_ids=windows, labels=windows).loss)
    network.train()
    return loss


def _write(
    model: CrystaLLM,
    folder: Path,
    plan: TrainingPlan,
    tokens: dict[str, np.ndarray],
    history: Sequence[dict[str, float]],
) -> None:
    model.network.to("cpu").save_pretrained(folder, safe_serialization=True)
    parameters = sum(p.numel() for p in model.network.parameters())
    card = (
        "# CrystaLLM trained by sklearn-kt train-crystallm\n\n"
        f"{parameters:,} parameters, {plan.steps:,} steps on {len(tokens['train']):,} tokens; "
        f"loss per token on crystals that were held out {history[-1]['valid']:.4f}.\n\n"
        f"Plan: {json.dumps(asdict(plan))}\n\nDo not evaluate it on crystals it was trained on.\n"
    )
    _replace(folder / "README.md", lambda path: path.write_text(card, encoding="utf-8"))


def _replace(path: Path, write: Any) -> None:
    """Write a file beside its place and move it there in one piece."""
    partial = path.with_name(f".{path.name}.part")
    try:
        write(partial)
        shutil.move(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
