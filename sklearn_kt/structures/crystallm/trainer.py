"""Training CrystaLLM on crystals, with resuming.

Every row of a batch is one text from its beginning; batches are of texts of like
lengths, with a limit on tokens. What is saved is the moving average of the weights.
"""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_kt._files import file_digest, replacing
from sklearn_kt.exceptions import CheckpointError, CompositionWarning, InputError
from sklearn_kt.hub import quiet_transformers
from sklearn_kt.structures.reading import read_rows, read_structure, read_structures

from .cif_tokenizer import CIFTokenizer
from .model import CrystaLLM, load_crystallm, new_crystallm
from .short import shorten
from .text import text_of_crystal

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = ["TrainingPlan", "export_crystallm", "token_texts", "train_crystallm"]

_TOKENS = "tokens.npz"
_PLAN = "plan.json"


@dataclass(frozen=True)
class TrainingPlan:
    """How to train.

    Parameters
    ----------
    n_layer, n_head, n_embd : int, default=4, 4, 256
        Size of the network (3.3 million parameters with a context of 256).
    context : int, default=256
        Most tokens of a text; longer ones are left out.
    form : {"short", "full"}, default="short"
        Texts without what follows from the rest, a third of the length
        (:mod:`sklearn_kt.structures.crystallm.short`), or the published form,
        which needs a context of about 1024.
    steps : int, default=20000
        Updates of the weights.
    batch_tokens : int, default=4096
        Tokens per update, padding included.
    learning_rate : float, default=2e-3
        Peak rate of AdamW, after a warm-up and before a cosine decay to a
        hundredth.
    warmup : int, default=200
        Steps of the warm-up.
    weight_decay : float, default=0.1
        Of AdamW, for matrices.
    dropout : float, default=0.1
        Of embeddings and of what each block adds.
    average : float, default=0.998
        Decay of the moving average of the weights, which is what is saved; 0 is
        the last weights.
    bf16 : bool, default=False
        Compute in bfloat16 with weights in single precision; about twice as fast
        on processors that have it.
    validation : float, default=0.02
        Share of the crystals that is never trained on.
    save_every : int, default=500
        Steps between states that a stopped run goes on from.
    seed : int, default=0
        Of weights, split and batches.

    Examples
    --------
    >>> from sklearn_kt.structures.crystallm import TrainingPlan
    >>> plan = TrainingPlan(n_layer=2, steps=1000)
    >>> plan.form, plan.context, plan.batch_tokens * plan.steps
    ('short', 256, 4096000)
    """

    n_layer: int = 4
    n_head: int = 4
    n_embd: int = 256
    context: int = 256
    form: str = "short"
    steps: int = 20_000
    batch_tokens: int = 4096
    learning_rate: float = 2e-3
    warmup: int = 200
    weight_decay: float = 0.1
    dropout: float = 0.1
    average: float = 0.998
    bf16: bool = False
    validation: float = 0.02
    save_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        positive = ("n_layer", "n_head", "n_embd", "context", "steps", "batch_tokens")
        for name in (*positive, "learning_rate", "save_every"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be positive, got {getattr(self, name)}.")
        for name in ("dropout", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be 0 or less than 1, got {getattr(self, name)}.")
        if self.n_embd % self.n_head:
            raise InputError(f"n_embd={self.n_embd} is not a multiple of n_head={self.n_head}.")
        if not 0 < self.validation < 1:
            raise InputError(f"validation must lie between 0 and 1, got {self.validation}.")
        if self.form not in ("short", "full"):
            raise InputError(f"form must be 'short' or 'full', got {self.form!r}.")
        if self.batch_tokens < self.context:
            raise InputError(
                f"batch_tokens={self.batch_tokens} is less than one text of {self.context} tokens."
            )

    def untrained(self) -> CrystaLLM:
        """Make a model of these sizes.

        Returns
        -------
        model : CrystaLLM
            With random weights.
        """
        return new_crystallm(
            n_layer=self.n_layer,
            n_head=self.n_head,
            n_embd=self.n_embd,
            context=self.context,
            dropout=self.dropout,
            form=self.form,
            seed=self.seed,
        )


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
    structures : str, Path or iterable of pymatgen.core.Structure
        A folder of CIF files or a table, as for
        :class:`~sklearn_kt.structures.StructureLookup`; a ``.jsonl.gz`` file with
        ``lattice``, ``species`` and ``coords``; the crystals themselves; or an
        iterator over crystals or their texts in the published form. None goes on
        with those that a stopped run began with.
    folder : str or Path
        Where the model goes. If it holds a stopped run of the same plan and crystals,
        that goes on. The number of steps may be another one;
        the rate then follows the new schedule from there.
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
        With the averaged weights, as saved.

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
    from .text_run import TextRun

    plan = plan or TrainingPlan()
    folder = Path(folder)
    _claim(folder, plan)
    tokens, source = _tokens(structures, folder, plan, skip_bad, verbose)
    TextRun(tokens, source, folder, plan, device).train("steps", verbose=verbose)
    return export_crystallm(folder)


def export_crystallm(folder: str | Path, output: str | Path | None = None) -> CrystaLLM:
    """Write the model of a run as far as it has come; :func:`train_crystallm` does so at its end.

    It has the averaged weights in half precision. None as `output` is the run's folder.
    """
    import torch

    from sklearn_kt.encoder.resumable import STATE_FILE, read_state

    folder = Path(folder)
    output = folder if output is None else Path(output)
    plan = TrainingPlan(**json.loads((folder / _PLAN).read_text()))
    model = plan.untrained()
    if not (folder / STATE_FILE).is_file():
        raise CheckpointError(f"{folder} has no {STATE_FILE}: the run has not come so far yet.")
    state = read_state(folder / STATE_FILE)
    model.network.load_state_dict(state["average"])
    with quiet_transformers():
        model.network.to(torch.float16).save_pretrained(output, safe_serialization=True)
    parameters = sum(p.numel() for p in model.network.parameters())
    last = state["history"][-1]
    card = (
        "# CrystaLLM trained by sklearn-kt train-crystallm\n\n"
        f"{parameters:,} parameters; {last['step']:,} of {plan.steps:,} steps; "
        f"{last['texts']:,} texts, {last['epochs']:.1f} times each; "
        f"loss per token on crystals that were held out {last['valid']:.4f}.\n\n"
        f"Plan: {json.dumps(asdict(plan))}\n\nDo not evaluate it on crystals it was trained on.\n"
    )
    with replacing(output / "README.md") as partial:
        partial.write_text(card, encoding="utf-8")
    return load_crystallm(output)


def token_texts(
    structures: Iterable[Structure | str], plan: TrainingPlan
) -> tuple[list[np.ndarray], int, int]:
    """Tokenise ordered crystals, or their texts in the published form, as a plan says.

    Each text ends with a blank line. Left out and counted are crystals without a text, or with a
    word that has no token; and those whose texts are longer than the context.
    """
    tokenizer = CIFTokenizer()
    unknown = tokenizer.tokens.index("<unk>")
    texts, wordless, long = [], 0, 0
    for structure in structures:
        try:
            text = structure if isinstance(structure, str) else text_of_crystal(structure)
            numbers = tokenizer.encode(shorten(text) if plan.form == "short" else text)
        except InputError:
            numbers = [unknown]
        if unknown in numbers:
            wordless += 1
        elif len(numbers) > plan.context:
            long += 1
        else:
            texts.append(np.array(numbers, np.uint16))
    return texts, wordless, long


def _claim(folder: Path, plan: TrainingPlan) -> None:
    """Make the folder, or see that it holds a run of the same plan."""
    if (folder / _PLAN).is_file():
        before = json.loads((folder / _PLAN).read_text())
        changed = sorted(k for k, v in asdict(plan).items() if before.get(k) != v)
        if changed == ["steps"]:
            _write_plan(folder, plan)
        elif changed:
            raise InputError(
                f"{folder} holds a run with another {', '.join(changed)}; pass the same plan to "
                "go on with it, or another folder."
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder; choose another.")
    folder.mkdir(parents=True, exist_ok=True)
    _write_plan(folder, plan)


def _write_plan(folder: Path, plan: TrainingPlan) -> None:
    with replacing(folder / _PLAN) as partial:
        partial.write_text(json.dumps(asdict(plan), indent=1))


def _tokens(
    structures: Any,
    folder: Path,
    plan: TrainingPlan,
    skip_bad: bool,
    verbose: int,
) -> tuple[dict[str, list[np.ndarray]], str]:
    """Texts for training and validation, remembered in the folder, and a digest of the source."""
    path = folder / _TOKENS
    if path.is_file():
        with np.load(path, allow_pickle=False) as file:
            texts_of = {
                name: np.split(file[name], np.cumsum(file[f"{name}_lengths"])[:-1])
                for name in ("train", "validation")
            }
            source = str(file["source"])
        if structures is not None and _Crystals(structures, skip_bad).digest() != source:
            raise InputError(
                f"{folder} holds a run with other crystals; pass the same, or None, to go on with "
                "it, or another folder."
            )
        return texts_of, source
    if structures is None:
        raise InputError(f"{folder} holds no run to go on with: pass structures.")
    from tqdm import tqdm

    crystals = _Crystals(structures, skip_bad)
    texts, wordless, long = token_texts(
        tqdm(crystals, desc="texts", disable=not verbose, file=sys.stderr), plan
    )
    if wordless or long:
        warnings.warn(
            f"{wordless} crystals have no text, or an element or space group without a token, and "
            f"{long} have texts of more than {plan.context} tokens; they are left out.",
            CompositionWarning,
            stacklevel=3,
        )
    if len(texts) < 2:
        raise InputError(f"training needs at least 2 crystals, and {len(texts)} can be used.")
    order = np.random.default_rng(plan.seed).permutation(len(texts))
    held_out = max(1, round(plan.validation * len(texts)))
    parts = {
        "train": [texts[i] for i in order[held_out:]],
        "validation": [texts[i] for i in order[:held_out]],
    }
    arrays = {name: np.concatenate(part) for name, part in parts.items()}
    arrays |= {f"{name}_lengths": np.array([*map(len, part)]) for name, part in parts.items()}
    source = crystals.digest()
    arrays["source"] = np.array(source)
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return parts, source


class _Crystals:
    """What a run learns from, and a digest of it."""

    def __init__(self, source: Any, skip_bad: bool) -> None:
        self.source = source
        self.skip_bad = skip_bad
        self.hashed = hashlib.sha256(str(skip_bad).encode())
        self.read = False

    def __iter__(self) -> Iterator[Structure | str]:
        for crystal in _structures(self.source, self.skip_bad):
            text = crystal
            if not isinstance(crystal, str):
                sites = [str(site.species) for site in crystal]
                parts = [crystal.lattice.matrix.tolist(), sites, crystal.frac_coords.tolist()]
                text = json.dumps(parts)
            self.hashed.update(f"{len(text)} {text}".encode())
            yield crystal
        self.read = True

    def digest(self) -> str:
        """Read what has not been read yet; files by their bytes, without making crystals."""
        if isinstance(self.source, str | Path):
            root = Path(self.source)
            files = sorted(path for path in root.rglob("*") if path.is_file())
            self.hashed = hashlib.sha256(str(self.skip_bad).encode())
            for path in files if root.is_dir() else [root]:
                self.hashed.update(f"{path.relative_to(root)} {file_digest(path)}".encode())
        elif not self.read:
            for _ in self:
                pass
        return self.hashed.hexdigest()


def _structures(source: Any, skip_bad: bool) -> Iterable[Structure | str]:
    if isinstance(source, str | Path) and str(source).endswith(".jsonl.gz"):
        yield from map(read_structure, read_rows(Path(source)))
    elif isinstance(source, Iterator):
        yield from source
    else:
        for candidate in read_structures(source, skip_bad=skip_bad):
            yield candidate.structure
