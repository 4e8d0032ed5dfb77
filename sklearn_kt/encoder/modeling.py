"""The compact composition encoder, and the modules that training wraps.

This module imports torch; everything outside :mod:`sklearn_kt.encoder` and
:mod:`sklearn_kt.encoder.training` imports it inside functions, so that ``import sklearn_kt`` stays
light. transformers, whose models take longer to import than torch, is imported for text encoders
alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode

from sklearn_kt.exceptions import CheckpointError, InputError, reason_of
from sklearn_kt.hub import check_settings
from sklearn_kt.randomness import torch_generator_kept
from sklearn_kt.tokenizer import CLS_ID, N_TOKENS, PAD_ID

if TYPE_CHECKING:
    from transformers import PretrainedConfig

__all__ = [
    "CompositionEncoder",
    "CompositionEncoderConfig",
    "FeatureEncoder",
    "FrozenEncoder",
    "LowerBlocks",
    "PropertyNetwork",
    "TextEncoder",
    "build_backbone",
    "model_class",
    "shapes_only",
    "text_config",
]

# Smallest fraction the logarithmic amount features resolve: 1e-6 of an atom.
_LOG_RANGE = 6.0

# Text encoders of transformers that are sizes and weights: nothing to fetch, run or compile.
_TEXT_MODELS = (
    "bert",
    "camembert",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "mpnet",
    "roberta",
    "xlm-roberta",
)
_PLAIN = (bool, float, int, str, type(None))

# attention to an element is proportional to a power of its fraction; the heads take turns
AMOUNT_POWERS: dict[str, tuple[float, ...]] = {
    "none": (0.0,),
    "linear": (1.0,),
    "mixed": (1.0, 0.5),
}


@dataclass(frozen=True)
class CompositionEncoderConfig:
    """Sizes of a :class:`CompositionEncoder`.

    Parameters
    ----------
    vocab_size : int
        Number of tokens (special tokens and elements).
    hidden_size, num_hidden_layers, num_attention_heads, intermediate_size : int
        As in any transformer encoder.
    drop_path : float, default=0.1
        Probability of skipping a residual branch for a row while training.
    n_frequencies : int, default=8
        Sine/cosine pairs for an element's fraction; the k-th has a period of 2 / 2**k.
    n_log_frequencies : int, default=8
        The same for its logarithm, in units of six decades.
    amount_attention : {"none", "linear", "mixed"}, default="none"
        How an element's share of attention follows from its fraction f. "none": not at all,
        so that a trace has the say of a main component. "linear": it is proportional to f.
        "mixed": in every second head, and to sqrt(f) in the others. Under the latter two an
        element whose amount vanishes has no say, whatever the weights.
    properties : sequence of dict, default=()
        What the pretrained property heads predict: ``name``, ``unit``, and ``center`` and
        ``scale`` of the standardised output. Empty without heads.
    """

    vocab_size: int = N_TOKENS
    hidden_size: int = 128
    num_hidden_layers: int = 3
    num_attention_heads: int = 4
    intermediate_size: int = 512
    drop_path: float = 0.1
    n_frequencies: int = 8
    n_log_frequencies: int = 8
    amount_attention: str = "none"
    properties: Sequence[dict[str, Any]] = ()

    def __post_init__(self) -> None:
        if self.amount_attention not in AMOUNT_POWERS:
            raise InputError(
                f"amount_attention must be one of {sorted(AMOUNT_POWERS)}, "
                f"got {self.amount_attention!r}."
            )


class _AmountFeatures(nn.Module):
    """Atomic fractions as smooth features, linear and logarithmic.

    The linear sinusoids separate LiFePO4 from Li3FePO4; the logarithmic ones
    keep a dopant of 5.7e-5 visible. A negative fraction marks a hidden amount
    (masked modelling) and gets a vector of its own.
    """

    frequencies: torch.Tensor
    log_frequencies: torch.Tensor

    def __init__(self, config: CompositionEncoderConfig) -> None:
        super().__init__()
        sizes = {
            "frequencies": config.n_frequencies,
            "log_frequencies": config.n_log_frequencies,
        }
        for name, n in sizes.items():
            octaves = torch.tensor([torch.pi * 2.0**k for k in range(n)], dtype=torch.float32)
            self.register_buffer(name, octaves, persistent=False)
        self.project = nn.Linear(2 * sum(sizes.values()) + 2, config.hidden_size)
        self.masked = nn.Parameter(torch.zeros(config.hidden_size))

    def forward(self, fractions: torch.Tensor) -> torch.Tensor:
        x = fractions.clamp(min=0.0).unsqueeze(-1)
        log = torch.log10(x.clamp(min=10.0**-_LOG_RANGE)) / _LOG_RANGE
        angles = torch.cat([x * self.frequencies, log * self.log_frequencies], dim=-1)
        out = self.project(torch.cat([x, log, angles.sin(), angles.cos()], dim=-1))
        return torch.where((fractions < 0).unsqueeze(-1), self.masked.to(out.dtype), out)


class _DropPath(nn.Module):
    """Stochastic depth: skip a residual branch for random rows.

    G. Huang et al., "Deep networks with stochastic depth", ECCV 2016. One random
    number a row; drawing one per activation would cost a fifth of a CPU step.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = torch.rand(len(x), 1, 1, device=x.device) >= self.rate
        return x * keep / (1 - self.rate)


class _Block(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, config: CompositionEncoderConfig) -> None:
        super().__init__()
        d = config.hidden_size
        self.heads = config.num_attention_heads
        self.norm1 = nn.LayerNorm(d)
        self.qkv = nn.Linear(d, 3 * d)
        self.out = nn.Linear(d, d)
        self.norm2 = nn.LayerNorm(d)
        self.up = nn.Linear(d, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, d)
        self.drop_path = _DropPath(config.drop_path)
        # None: that of x
        self.product_dtype: torch.dtype | None = None

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        n, length, d = x.shape
        dtype = self.product_dtype or x.dtype
        normed = self.norm1(x).to(dtype)
        qkv = self.qkv(normed).view(n, length, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        # for the few tokens of a formula F.scaled_dot_product_attention is no faster on a CPU
        scores = (q @ k.transpose(-1, -2)).to(x.dtype) * (d // self.heads) ** -0.5
        attended = (scores + bias).softmax(dim=-1).to(v.dtype) @ v
        x = x + self.drop_path(self.out(attended.transpose(1, 2).reshape(n, length, d)))
        return x + self.drop_path(self.down(F.gelu(self.up(self.norm2(x).to(dtype)))))


class CompositionEncoder(nn.Module):
    """Transformer encoder over the elements of a composition.

    A composition is a set: there are no positions, each token is an element
    embedding plus features of its atomic fraction, and padding is masked. The
    pooled output is the [CLS] state beside the fraction-weighted mean of the
    element states, ``2 * hidden_size`` numbers. A pretrained encoder may bring heads
    that read computed properties from it.
    """

    def __init__(self, config: CompositionEncoderConfig) -> None:
        super().__init__()
        self.config = config
        # lower blocks that are not trained
        self.n_frozen = 0
        self.tokens = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=PAD_ID)
        self.amounts = _AmountFeatures(config)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size)
        if config.properties:
            self.trunk = nn.Sequential(
                nn.Linear(self.output_size, config.hidden_size), nn.GELU(), nn.Dropout(0.1)
            )
            self.heads = nn.Linear(config.hidden_size, len(config.properties))
        self.apply(_init_weights)

    @property
    def output_size(self) -> int:
        """Width of the pooled output."""
        return 2 * self.config.hidden_size

    def freeze(self, n_blocks: int) -> None:
        """Leave the lower blocks untrained: `forward` then takes what they give."""
        self.n_frozen = n_blocks
        for module in (self.tokens, self.amounts, *self.blocks[:n_blocks]):
            module.requires_grad_(False)

    def lower(
        self, input_ids: torch.Tensor, fractions: torch.Tensor, n_blocks: int
    ) -> torch.Tensor:
        """Token states after so many blocks, (n, length, hidden_size)."""
        bias = self._attention_bias(input_ids, fractions)
        return self._pass(self._embed(input_ids, fractions), bias, self.blocks[:n_blocks])

    def encode(
        self,
        input_ids: torch.Tensor,
        fractions: torch.Tensor,
        states: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Token states, (n, length, hidden_size), perhaps from those after the frozen blocks."""
        bias = self._attention_bias(input_ids, fractions)
        done = self.n_frozen
        if states is None:
            states, done = self._embed(input_ids, fractions), 0
        return self.norm(self._pass(states, bias, self.blocks[done:]))

    def _embed(self, input_ids: torch.Tensor, fractions: torch.Tensor) -> torch.Tensor:
        return self.tokens(input_ids) + self.amounts(fractions)

    @staticmethod
    def _pass(x: torch.Tensor, bias: torch.Tensor, blocks: nn.ModuleList) -> torch.Tensor:
        for block in blocks:
            x = block(x, bias)
        return x

    def _attention_bias(self, input_ids: torch.Tensor, fractions: torch.Tensor) -> torch.Tensor:
        """Logarithm of each token's share before any is looked at, (n, 1 or heads, 1, length)."""
        present = input_ids != PAD_ID
        powers = AMOUNT_POWERS[self.config.amount_attention]
        # a hidden amount counts as an equal share, which tells nothing of it
        equal = 1.0 / (present.sum(dim=1, keepdim=True) - 1).clamp(min=1)
        share = torch.where(fractions < 0, equal, fractions)
        log = share.clamp(min=torch.finfo(share.dtype).tiny).log()
        turns = self.config.num_attention_heads if len(powers) > 1 else 1
        bias = torch.stack([powers[i % len(powers)] * log for i in range(turns)], dim=1)
        return bias.masked_fill(~present[:, None], -torch.inf)[:, :, None]

    def reduce_precision(self) -> None:
        """Keep the weights of all blocks in bfloat16, for inference.

        Amounts, norms, sums and property heads stay in float32: they take little time, and
        eight bits are too few for an amount.
        """
        for block in self.blocks:
            assert isinstance(block, _Block)
            block.product_dtype = torch.bfloat16
            for layer in (block.qkv, block.out, block.up, block.down):
                layer.bfloat16()

    def pool(
        self, states: torch.Tensor, input_ids: torch.Tensor, fractions: torch.Tensor
    ) -> torch.Tensor:
        """[CLS] state and fraction-weighted mean, (n, 2 * hidden_size)."""
        weights = fractions.clamp(min=0.0) * (input_ids > CLS_ID)
        weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-12)
        mean = (weights.unsqueeze(-1) * states).sum(dim=1)
        return torch.cat([states[:, 0], mean], dim=-1)

    def properties(self, pooled: torch.Tensor) -> torch.Tensor:
        """Standardised properties, logits where they are yes or no, (n, n_properties)."""
        return self.heads(self.trunk(pooled))

    def forward(
        self,
        input_ids: torch.Tensor,
        fractions: torch.Tensor,
        states: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Pooled embedding, (n, 2 * hidden_size)."""
        return self.pool(self.encode(input_ids, fractions, states), input_ids, fractions)


class LowerBlocks(nn.Module):
    """What the lower blocks of an encoder say of a composition, token by token."""

    def __init__(self, encoder: CompositionEncoder, n_blocks: int) -> None:
        super().__init__()
        self.encoder, self.n_blocks = encoder, n_blocks

    def forward(self, input_ids: torch.Tensor, fractions: torch.Tensor) -> torch.Tensor:
        """Token states, (n, length, hidden_size)."""
        return self.encoder.lower(input_ids, fractions, self.n_blocks)


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.5)
        with torch.no_grad():
            module.weight[PAD_ID].zero_()
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, _AmountFeatures):
        nn.init.zeros_(module.masked)


def text_config(settings: Mapping[str, Any]) -> PretrainedConfig:
    """Make the configuration of a text encoder from settings in a file.

    ``model_type`` and what that architecture knows are taken, if they are plain values; the rest
    (labels, versions) says nothing about an encoder. Other types, and settings that name code or
    another model, are refused.
    """
    from transformers import CONFIG_MAPPING, PretrainedConfig

    check_settings(settings, "the text encoder's configuration")
    kind = settings.get("model_type")
    if kind not in _TEXT_MODELS:
        raise CheckpointError(
            f"{str(kind)[:80]!r} is none of the text encoders that are read: "
            f"{', '.join(_TEXT_MODELS)}."
        )
    config_class = CONFIG_MAPPING[kind]
    known = config_class().to_dict().keys() - PretrainedConfig().to_dict().keys()
    plain = {name: settings[name] for name in known & settings.keys()}
    for name, value in plain.items():
        parts = value if isinstance(value, list | tuple) else [value]
        if not all(type(part) in _PLAIN for part in parts):
            raise CheckpointError(f"{name}={str(value)[:80]} is no setting of a {kind} encoder.")
    try:
        return config_class(**plain)
    # each version of transformers checks them in its own way
    except Exception as error:
        raise CheckpointError(
            f"the settings are not those of a {kind} encoder: {reason_of(error)}"
        ) from error


def model_class(config: PretrainedConfig) -> Any:
    """Class of transformers for a configuration of :func:`text_config`.

    Not by way of AutoModel, which follows what a configuration says about code.
    """
    from transformers import MODEL_MAPPING

    return MODEL_MAPPING[type(config)]


class TextEncoder(nn.Module):
    """Text encoder of Hugging Face: first state beside the mean over unpadded states."""

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        self.model = model_class(config)(config)
        self.output_size = 2 * config.hidden_size

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Pooled embedding, (n, 2 * hidden_size)."""
        states = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.pool(states, attention_mask)

    def pool(self, states: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """First state, and the mean over unpadded ones."""
        weights = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * weights).sum(dim=1) / weights.sum(dim=1)
        return torch.cat([states[:, 0], mean], dim=-1)


class FeatureEncoder(nn.Module):
    """Residual multilayer perceptron for rows of standardised numbers."""

    def __init__(self, n_features: int, hidden_size: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.inp = nn.Linear(n_features, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)
        self.up = nn.Linear(hidden_size, 2 * hidden_size)
        self.down = nn.Linear(2 * hidden_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.output_size = hidden_size

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Hidden representation, (n, hidden_size)."""
        x = self.inp(features)
        return x + self.dropout(self.down(F.gelu(self.up(self.norm(F.gelu(x))))))


class PropertyNetwork(nn.Module):
    """A backbone and the head that is trained with it.

    Parameters
    ----------
    spec : dict
        What :func:`build_backbone` takes.
    n_outputs : int
        Target columns, or classes.
    dropout : float, default=0.1
        Dropout in front of the last layer.
    amp : bool, default=False
        Run the backbone in bfloat16 on a GPU; the output is always float32.
    n_conditions : int, default=0
        Scaled conditions that the head reads beside the backbone's output.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        n_outputs: int,
        dropout: float = 0.1,
        amp: bool = False,
        n_conditions: int = 0,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(spec)
        width = int(self.backbone.output_size)  # type: ignore[arg-type]
        self.head = nn.Sequential(
            nn.Linear(width + n_conditions, width // 2),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width // 2, n_outputs),
        )
        self.amp = amp

    def forward(
        self, conditions: torch.Tensor | None = None, **inputs: torch.Tensor
    ) -> torch.Tensor:
        """Property (scaled units) or class logits, (n, n_outputs)."""
        return self.output(self.embed(**inputs), conditions)

    def embed(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Backbone's output, (n, width)."""
        with self._autocast(next(iter(inputs.values()))):
            return self.backbone(**inputs)

    def output(
        self, embedding: torch.Tensor, conditions: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Head's output, (n, n_outputs), of the backbone's."""
        with self._autocast(embedding):
            if conditions is not None:
                embedding = torch.cat([embedding, conditions], dim=-1)
            return self.head(embedding).float()

    def _autocast(self, given: torch.Tensor) -> torch.autocast:
        device = given.device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.amp and device != "cpu")


def build_backbone(spec: dict[str, Any]) -> nn.Module:
    """Build an untrained backbone.

    Parameters
    ----------
    spec : dict
        ``{"kind": "composition" | "text" | "features", "config": {...}}``: plain
        data, so that a pickled net carries neither modules nor paths.

    Returns
    -------
    torch.nn.Module
        With an ``output_size`` attribute.

    Raises
    ------
    CheckpointError
        If the architecture is none of these, or has settings that it does not know.
    """
    kind, config = spec["kind"], dict(spec["config"])
    if kind == "text":
        return TextEncoder(text_config(config))
    make = {"composition": CompositionEncoderConfig, "features": FeatureEncoder}.get(kind)
    if make is None:
        raise CheckpointError(f"{str(kind)[:80]!r} is no kind of backbone.")
    known = inspect.signature(make).parameters.keys()
    unknown = sorted(map(str, config.keys() - known))
    if unknown:
        raise CheckpointError(f"{unknown[0][:80]!r} is no setting of a {kind} encoder.")
    return CompositionEncoder(make(**config)) if kind == "composition" else make(**config)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Build modules that have the shapes of their weights, and neither memory nor values."""
    with torch.device("meta"), _Unfilled():
        yield


class _Unfilled(TorchFunctionMode):
    """Leave out random numbers: on the meta device torch imports its compiler to draw none."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.__name__ in ("kaiming_uniform_", "normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


class FrozenEncoder(nn.Module):
    """A pretrained backbone that is read, not trained.

    Its output is the pooled embedding, then the properties that the pretrained heads
    predict, in their units.

    Parameters
    ----------
    spec : dict
        What :func:`build_backbone` takes.
    weights : dict of str to torch.Tensor
        The backbone's whole state.
    """

    center: torch.Tensor
    scale: torch.Tensor

    def __init__(self, spec: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.spec = spec
        # initialising must not move torch's global generator
        with torch_generator_kept():
            self.backbone = build_backbone(spec)
        self.backbone.load_state_dict(weights)
        self.embedding_size = int(self.backbone.output_size)  # type: ignore[arg-type]
        properties = spec["config"].get("properties", [])
        self.property_names = [entry["name"] for entry in properties]
        for key in ("center", "scale"):
            values = torch.tensor([float(entry[key]) for entry in properties])
            self.register_buffer(key, values, persistent=False)
        self.eval()

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Embedding and properties, (n, embedding_size + n_properties)."""
        pooled = self.backbone(**inputs)
        if not self.property_names:
            return pooled
        values = self.backbone.properties(pooled)  # type: ignore[operator]
        return torch.cat([pooled, values * self.scale + self.center], dim=-1)
