"""The encoder as estimators hold it: from compositions, or rows of numbers, to features."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sklearn_kt._scaling import ColumnScaler
from sklearn_kt.compositions import CompositionBatch
from sklearn_kt.conditions import MeasuredBatch
from sklearn_kt.descriptors import elemental_descriptors
from sklearn_kt.exceptions import CheckpointError, InputError
from sklearn_kt.tokenizer import composition_text, load_text_tokenizer, token_matrix

from .weights import PRESETS, load_backbone, open_checkpoint, without_heads

if TYPE_CHECKING:
    import torch

    from .modeling import FrozenEncoder
    from .training import Inputs

__all__ = [
    "Data",
    "ElementInputs",
    "Encoder",
    "NumberInputs",
    "TextInputs",
    "chunks",
    "element_inputs",
    "side_by_side",
]

Data = CompositionBatch | np.ndarray

# Rows handled at a time, so that memory stays flat.
_CHUNK = 16_384
# Checkpoints kept in memory; few programs use more than one.
_KEPT = 4

_loaded: dict[str, Encoder] = {}
_loading = threading.Lock()


def element_inputs(batch: CompositionBatch) -> dict[str, np.ndarray]:
    """Tokens of elements (int64) and their fractions (float32), 1 under [CLS] and 0 under [PAD]."""
    ids, amounts = token_matrix(batch)
    return {"input_ids": ids, "fractions": (amounts / amounts[:, :1]).astype(np.float32)}


class _CompositionInputs:
    """What a formula says by itself, without a network."""

    blocks: ClassVar = ("descriptors", "fractions")

    def features(self, data: CompositionBatch, name: str) -> np.ndarray:
        """Compute one of the `blocks`."""
        return elemental_descriptors(data) if name == "descriptors" else data.fractions()


class ElementInputs(_CompositionInputs):
    """A set of element tokens with fractions."""

    def __call__(self, data: CompositionBatch) -> Inputs:
        """Make the inputs of the backbone."""
        from .training import Inputs

        return Inputs(element_inputs(data), data.n_elements + 1)


class TextInputs(_CompositionInputs):
    """Tokens of a text that spells out elements and amounts, at most so many."""

    def __init__(self, tokenizer: Any, longest: float, vocab_size: float) -> None:
        self.tokenizer = tokenizer
        self.longest = longest
        self.vocab_size = vocab_size

    @classmethod
    def of(cls, spec: dict[str, Any], tokenizer: Any) -> TextInputs:
        """Make them for a backbone of this architecture."""
        sizes = spec["config"]
        longest = sizes.get("max_position_embeddings", np.inf)
        return cls(tokenizer, longest, sizes.get("vocab_size", np.inf))

    def __call__(self, data: CompositionBatch) -> Inputs:
        """Make the inputs of the backbone."""
        from .training import Inputs

        encoded = self.tokenizer.encode_batch(composition_text(data))
        mask = np.array([row.attention_mask for row in encoded])
        lengths = mask.sum(axis=1)
        if lengths.max() > self.longest:
            raise InputError(
                f"{data[[int(lengths.argmax())]].formulas()[0]!r} spelled out takes "
                f"{lengths.max()} tokens, but the backbone reads at most {self.longest}; use an "
                "element encoder (backbone=None) for such formulas."
            )
        ids = np.array([row.ids for row in encoded])
        if ids.max() >= self.vocab_size:
            raise CheckpointError(
                f"the tokenizer gives the token {ids.max()}, but the backbone knows "
                f"{self.vocab_size}: are they of one model?"
            )
        return Inputs({"input_ids": ids, "attention_mask": mask}, lengths)


class NumberInputs:
    """Standardised columns; rows of numbers are features as they are."""

    blocks: ClassVar = ("columns",)

    def __init__(self, scaler: ColumnScaler) -> None:
        self.scaler = scaler

    def __call__(self, data: np.ndarray) -> Inputs:
        """Make the inputs of the backbone."""
        from .training import Inputs

        return Inputs({"features": self.scaler.transform(data).astype(np.float32)})

    def features(self, data: np.ndarray, name: str) -> np.ndarray:
        """Give the rows as they are."""
        return data


@dataclass(frozen=True, eq=False)
class Encoder:
    """How compositions, or rows of numbers, become what networks and readouts read.

    It may be shared by estimators and threads: nothing in it changes.

    Parameters
    ----------
    spec : dict
        Architecture of the backbone, as of :func:`~sklearn_kt.encoder.load_checkpoint`.
    reader : ElementInputs, TextInputs or NumberInputs
        Makes the backbone's inputs.
    network : FrozenEncoder or None, default=None
        The pretrained backbone; None without weights: random ones know nothing.
    scaler : ColumnScaler or None, default=None
        Of the conditions beside compositions; None where there are none.

    Examples
    --------
    >>> from sklearn_kt import read_compositions
    >>> from sklearn_kt.encoder import Encoder
    >>> encoder = Encoder.load("default")
    >>> encoder.blocks
    ('embedding', 'properties', 'descriptors', 'fractions')
    >>> encoder.features(read_compositions(["NaCl", "Si"]), ["embedding"])["embedding"].shape
    (2, 512)
    """

    spec: dict[str, Any]
    reader: ElementInputs | TextInputs | NumberInputs
    network: FrozenEncoder | None = None
    scaler: ColumnScaler | None = None

    @classmethod
    def load(
        cls,
        checkpoint: str | Path | None = None,
        backbone: str | Path | None = None,
        *,
        local_files_only: bool = True,
    ) -> Encoder:
        """Load an encoder of compositions.

        Parameters
        ----------
        checkpoint : str, Path or None, default=None
            As for :func:`~sklearn_kt.encoder.load_checkpoint`. Each is built once in a process,
            as long as its files stay the same.
        backbone : str, Path or None, default=None
            Without a checkpoint: one of :data:`~sklearn_kt.encoder.PRESETS` (None is
            ``"small"``) to train from random weights, or a Hugging Face text encoder as for
            :func:`~sklearn_kt.encoder.load_backbone`.
        local_files_only : bool, default=True
            Never use the network.

        Returns
        -------
        encoder : Encoder
            With a `network` if there are pretrained weights.

        Raises
        ------
        CheckpointError
            If weights are missing or damaged.
        InputError
            If both a checkpoint and a backbone are given.
        """
        if checkpoint is not None:
            if backbone is not None:
                raise InputError(
                    f"the checkpoint {str(checkpoint)!r} brings its own architecture; to use "
                    f"backbone={str(backbone)!r}, pass checkpoint=None as well."
                )
            return _of_checkpoint(checkpoint)
        name = str(backbone or "small")
        if name in PRESETS:
            return cls({"kind": "composition", "config": dict(PRESETS[name])}, ElementInputs())
        tokenizer = load_text_tokenizer(name, local_files_only=local_files_only)
        # the bare tokenizer: transformers' wrapper would carry the folder's path into pickles
        bare = tokenizer.backend_tokenizer
        bare.no_truncation()
        bare.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
        return cls.of_weights(*load_backbone(name, local_files_only=local_files_only), bare)

    @classmethod
    def of_weights(
        cls, spec: dict[str, Any], weights: dict[str, torch.Tensor], tokenizer: Any = None
    ) -> Encoder:
        """Build a frozen encoder from an architecture and the backbone's state."""
        from .modeling import FrozenEncoder

        reader = ElementInputs() if tokenizer is None else TextInputs.of(spec, tokenizer)
        return cls(spec, reader, FrozenEncoder(spec, weights))

    @classmethod
    def of_numbers(
        cls,
        X: np.ndarray,
        backbone: str | Path | None = None,
        sample_weight: np.ndarray | None = None,
    ) -> Encoder:
        """Make an encoder of rows of numbers, which has no pretrained weights."""
        preset = str(backbone or "small")
        if preset not in PRESETS:
            raise InputError(
                f"the backbone {preset!r} reads compositions, but X is a numeric matrix; pass "
                "formulas, or a preset as backbone."
            )
        config = {"n_features": X.shape[1], "hidden_size": PRESETS[preset]["hidden_size"]}
        scaler = ColumnScaler().fit(X, sample_weight=sample_weight)
        return cls({"kind": "features", "config": config}, NumberInputs(scaler))

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the blocks of features that :meth:`features` gives."""
        learned = ("embedding", "properties") if self.property_names else ("embedding",)
        beside = () if self.scaler is None else ("conditions",)
        return (*(() if self.network is None else learned), *self.reader.blocks, *beside)

    @property
    def embedding_size(self) -> int:
        """Columns of the block ``"embedding"``."""
        return 0 if self.network is None else self.network.embedding_size

    @property
    def n_conditions(self) -> int:
        """Columns of the block ``"conditions"``."""
        return 0 if self.scaler is None else self.scaler.n_features_in_

    @property
    def property_names(self) -> list[str]:
        """Columns of the block ``"properties"``."""
        return [] if self.network is None else self.network.property_names

    def inputs(self, data: Data) -> Inputs:
        """Make what a network is given, of rows that are all valid."""
        inputs = self.reader(data)  # type: ignore[arg-type]
        if self.scaler is not None:
            assert isinstance(data, MeasuredBatch)
            inputs.conditions = self.scaler.transform(data.conditions).astype(np.float32)
        return inputs

    def states(self, inputs: Inputs, n_blocks: int, device: str) -> np.ndarray:
        """Run the lower blocks of the pretrained network, (n, length, width) in float16.

        Networks that leave them as they are need not run them in every pass over the rows.
        """
        from .modeling import LowerBlocks
        from .training import Inputs, forward

        assert self.network is not None
        lower = LowerBlocks(self.network.backbone, n_blocks)  # type: ignore[arg-type]
        # conditions are the head's alone
        given = Inputs(inputs.arrays, inputs.lengths)
        return forward(lower, given, device=device).astype(np.float16)

    def features(
        self, data: Data, names: Collection[str], *, device: str = "auto"
    ) -> dict[str, np.ndarray]:
        """Compute blocks of features, running the network once for all.

        Parameters
        ----------
        data : CompositionBatch or ndarray
            Rows, all valid.
        names : collection of str
            Some of `blocks`.
        device : str, default="auto"
            Where the network runs.

        Returns
        -------
        blocks : dict of str to ndarray of shape (n, width)
            By name.
        """
        parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for rows in chunks(len(data)):
            part = data[rows]
            given = self._learned(part, device) if {"embedding", "properties"} & {*names} else {}
            if isinstance(part, MeasuredBatch):
                given["conditions"] = part.conditions
            for name, blocks in parts.items():
                known = name in given
                blocks.append(given[name] if known else self.reader.features(part, name))  # type: ignore[arg-type]
        return {name: _joined(blocks) for name, blocks in parts.items()}

    def trainable(self) -> tuple[dict[str, Any], dict[str, torch.Tensor] | None]:
        """Give the architecture and state that fine-tuning starts from; no state is a random one.

        Property heads are left out: they would not fit what becomes of the backbone.
        """
        state = {} if self.network is None else self.network.backbone.state_dict()
        spec, weights = without_heads(self.spec, state)
        return spec, weights or None

    def for_rows(self, data: Data, sample_weight: np.ndarray | None = None) -> Encoder:
        """Scale conditions as those of these rows, if they have any."""
        if not isinstance(data, MeasuredBatch):
            return self
        scaler = ColumnScaler().fit(data.conditions, sample_weight=sample_weight)
        return replace(self, scaler=scaler)

    def without_network(self) -> Encoder:
        """Leave out the weights, for what predicts without them."""
        return replace(self, network=None)

    def _learned(self, data: Data, device: str) -> dict[str, np.ndarray]:
        from .training import forward, resolve_device

        assert self.network is not None
        inputs = self.reader(data)  # type: ignore[arg-type]
        out = forward(self.network, inputs, device=resolve_device(device))
        split = self.embedding_size
        return {"embedding": out[:, :split], "properties": out[:, split:]}


def side_by_side(blocks: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Columns of the named blocks, in that order."""
    # one alone is not copied into another layout, on which products of matrices would depend
    return blocks[names[0]] if len(names) == 1 else np.hstack([blocks[name] for name in names])


def chunks(n: int) -> Iterator[slice]:
    """Slices that cover n rows."""
    for start in range(0, n, _CHUNK):
        yield slice(start, min(start + _CHUNK, n))


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _of_checkpoint(checkpoint: str | Path) -> Encoder:
    """Build each checkpoint once; what it is, its files say each time."""
    files = open_checkpoint(checkpoint)
    with _loading:
        if files.identity not in _loaded:
            if len(_loaded) == _KEPT:
                del _loaded[next(iter(_loaded))]
            _loaded[files.identity] = Encoder.of_weights(*files.load())
        return _loaded[files.identity]
