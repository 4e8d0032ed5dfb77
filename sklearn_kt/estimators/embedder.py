"""Reading X and embedding it: what every estimator on an encoder shares.

:class:`CompositionEmbedder` turns compositions into columns for a scikit-learn model.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from sklearn_kt._settings import own_settings
from sklearn_kt.compositions import (
    ELEMENTS,
    CompositionBatch,
    is_composition_input,
    read_compositions,
)
from sklearn_kt.descriptors import descriptor_names, elemental_descriptors
from sklearn_kt.encoder import PRESETS, load_backbone, load_checkpoint
from sklearn_kt.exceptions import CompositionWarning, InputError
from sklearn_kt.fitting import fit_context
from sklearn_kt.tokenizer import (
    batch_from_tokens,
    composition_text,
    is_token_matrix,
    load_text_tokenizer,
    token_matrix,
)

if TYPE_CHECKING:
    from sklearn_kt.encoder.training import Inputs

__all__ = ["CompositionEmbedder"]

# Rows handled at a time, so that memory stays flat.
_CHUNK = 16_384
_BLOCKS = ("embedding", "properties", "descriptors", "fractions")

Data = CompositionBatch | np.ndarray
Weights = dict[str, Any] | None  # name -> torch.Tensor


def _is_matrix(X: Any) -> bool:
    """Whether rows hold several values each, as those of CompositionTokenizer do."""
    shape = X.shape if hasattr(X, "shape") else np.asarray(X, dtype=object).shape
    return len(shape) == 2 and shape[1] > 1


def chunks(n: int) -> Iterator[slice]:
    """Slices that cover n rows."""
    for start in range(0, n, _CHUNK):
        yield slice(start, min(start + _CHUNK, n))


def frozen_encoder(spec: dict[str, Any], weights: Weights) -> Any:
    """Backbone with pretrained weights; None without them: random ones know nothing."""
    if weights is None:
        return None
    from sklearn_kt.encoder.modeling import FrozenEncoder

    return FrozenEncoder(spec, weights)


def available_blocks(encoder: Any) -> tuple[str, ...]:
    """Blocks of features that an encoder, or None, gives."""
    if encoder is None:
        return _BLOCKS[2:]
    return _BLOCKS if encoder.property_names else (_BLOCKS[0], *_BLOCKS[2:])


class Features:
    """Blocks of frozen features of the same rows; numeric rows are their own features."""

    def __init__(self, blocks: Mapping[str, np.ndarray] | np.ndarray) -> None:
        self._blocks = blocks

    def side_by_side(self, names: Sequence[str]) -> np.ndarray:
        """Columns of the named blocks, in that order."""
        if isinstance(self._blocks, np.ndarray):
            return self._blocks
        return np.hstack([self._blocks[name] for name in names])


class BackboneMixin:
    """Reading X and feeding a backbone, shared by the estimators and the embedder."""

    backbone: str | Path | None
    checkpoint: str | Path | None
    local_files_only: bool
    errors: str
    device: str
    encoder_: Any
    input_kind_: str

    def _read(self, X: Any, *, reset: bool) -> Data:
        """Compositions as a batch or rows of numbers, checked against ``fit``."""
        data: Data
        expected = None if reset else self.input_kind_
        if is_composition_input(X) or (expected == "compositions" and not _is_matrix(X)):
            data = read_compositions(X, errors="raise" if reset else self.errors)
            if hasattr(X, "columns"):
                # remembers and compares the column's name
                validate_data(self, X, skip_check_array=True, reset=reset)
            elif reset:
                self.n_features_in_ = 1
            if len(data) == 0:
                raise InputError(
                    "Found array with 0 sample(s) while a minimum of 1 is required: X is empty."
                )
        elif expected != "compositions":
            data = validate_data(self, X, reset=reset, dtype=np.float64)
        else:
            data = check_array(X, dtype=np.float64, input_name="X")
        if isinstance(data, np.ndarray) and is_token_matrix(data):
            data = batch_from_tokens(data)
        kind = "compositions" if isinstance(data, CompositionBatch) else "features"
        if reset:
            self.input_kind_ = kind
        elif kind != expected:
            raise InputError(
                f"{type(self).__name__} was fitted on {expected}, but X holds {kind}; "
                "pass the kind of X that fit saw."
            )
        return data

    def _read_labels(self, y: Any) -> np.ndarray:
        """Targets as class labels."""
        y = column_or_1d(validate_data(self, y=y), warn=True)
        check_classification_targets(y)
        return y

    def _remember_elements(self, data: Data) -> None:
        """Set ``elements_``; columns of numbers have none."""
        if isinstance(data, CompositionBatch):
            self.elements_ = np.array(sorted(ELEMENTS[z - 1] for z in set(data.atomic_numbers)))

    def _resolve_backbone(self, data: Data) -> Weights:
        """Set ``spec_`` from ``checkpoint`` and ``backbone``; return pretrained weights."""
        if self.backbone is not None and self.checkpoint is not None:
            raise InputError(
                f"the checkpoint {str(self.checkpoint)!r} brings its own architecture; to use "
                f"backbone={str(self.backbone)!r}, pass checkpoint=None as well."
            )
        self.spec_: dict[str, Any]
        self.text_tokenizer_: Any = None
        preset = str(self.backbone or "small")
        if isinstance(data, np.ndarray):
            if preset not in PRESETS:
                raise InputError(
                    f"the backbone {preset!r} reads compositions, but X is a numeric matrix; pass "
                    "formulas, or a preset as backbone."
                )
            if self.checkpoint is not None:
                warnings.warn(
                    f"X is a numeric matrix: the checkpoint {str(self.checkpoint)!r} reads "
                    "compositions and has no part in this model; pass checkpoint=None to say so.",
                    CompositionWarning,
                    stacklevel=3,
                )
            self.feature_scaler_ = StandardScaler().fit(data)
            width = PRESETS[preset]["hidden_size"]
            self.spec_ = {"kind": "features", "config": {"n_features": data.shape[1]}}
            self.spec_["config"]["hidden_size"] = width
            return None
        if self.checkpoint is not None:
            self.spec_, weights = load_checkpoint(self.checkpoint)
            return weights
        if preset in PRESETS:
            self.spec_ = {"kind": "composition", "config": dict(PRESETS[preset])}
            return None
        local = self.local_files_only
        tokenizer = load_text_tokenizer(preset, local_files_only=local)
        # the bare tokenizer: transformers' wrapper would carry the folder's path into pickles
        self.text_tokenizer_ = tokenizer.backend_tokenizer
        self.text_tokenizer_.no_truncation()
        self.text_tokenizer_.enable_padding(
            pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token
        )
        self.spec_, weights = load_backbone(preset, local_files_only=local)
        return weights

    def _inputs(self, data: Data) -> Inputs:
        """Arrays that the backbone's ``forward`` takes."""
        from sklearn_kt.encoder.training import Inputs

        if isinstance(data, np.ndarray):
            return Inputs({"features": self.feature_scaler_.transform(data).astype(np.float32)})
        if self.text_tokenizer_ is not None:
            encoded = self.text_tokenizer_.encode_batch(composition_text(data))
            arrays = {
                "input_ids": np.array([row.ids for row in encoded]),
                "attention_mask": np.array([row.attention_mask for row in encoded]),
            }
            lengths = arrays["attention_mask"].sum(axis=1)
            limit = self.spec_["config"].get("max_position_embeddings", np.inf)
            if lengths.max() > limit:
                raise InputError(
                    f"{data[[int(lengths.argmax())]].formulas()[0]!r} spelled out takes "
                    f"{lengths.max()} tokens, but the backbone reads at most {limit}; use an "
                    "element encoder (backbone=None) for such formulas."
                )
            return Inputs(arrays, lengths)
        ids, amounts = token_matrix(data)
        fractions = (amounts / amounts[:, :1]).astype(np.float32)
        return Inputs({"input_ids": ids, "fractions": fractions}, data.n_elements + 1)

    def _frozen_features(self, data: Data, names: Collection[str]) -> Features:
        """Compute blocks of frozen features, running the encoder once for all."""
        from sklearn_kt.encoder.training import forward, resolve_device

        if isinstance(data, np.ndarray):
            return Features(data)
        parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for rows in chunks(len(data)):
            batch = data[rows]
            block: dict[str, np.ndarray] = {}
            if {"embedding", "properties"} & set(names):
                device = resolve_device(self.device)
                out = forward(self.encoder_, self._inputs(batch), device=device)
                split = self.encoder_.embedding_size
                block["embedding"], block["properties"] = out[:, :split], out[:, split:]
            if "descriptors" in names:
                block["descriptors"] = elemental_descriptors(batch)
            if "fractions" in names:
                block["fractions"] = batch.fractions()
            for name, part in parts.items():
                part.append(block[name])
        return Features({name: np.concatenate(part) for name, part in parts.items()})


class CompositionEmbedder(BackboneMixin, TransformerMixin, BaseEstimator):
    """Frozen embeddings of compositions, for a scikit-learn model of your own.

    Parameters
    ----------
    checkpoint : str, Path or None, default="default"
        Pretrained composition encoder, as for :class:`ImplicitKTRegressor`.
        None, without a ``backbone``, leaves descriptors and fractions.
    backbone : str, Path or None, default=None
        Hugging Face text encoder: a local folder, or a name; needs ``checkpoint=None``.
    local_files_only : bool, default=True
        Never use the network.
    blocks : "all" or sequence of str, default="all"
        Columns to return, in this order:

        - ``"embedding"``: the encoder's pooled state, for kernels and linear models;
        - ``"properties"``: computed properties that the checkpoint predicts (formation
          energy, band gap, moduli, ...; units in the checkpoint's card), for trees;
        - ``"descriptors"``: statistics of element properties
          (:func:`~sklearn_kt.descriptors.elemental_descriptors`);
        - ``"fractions"``: the 118 atomic fractions.

        ``"all"`` is every block that the checkpoint has.
    errors : {"raise", "nan"}, default="raise"
        What ``transform`` does with a row that is not a composition: raise, or
        return a row of NaN and warn once with the count.
    device : str, default="auto"
        ``"auto"`` (a GPU when there is one), ``"cpu"``, ``"cuda"``, ...

    Attributes
    ----------
    encoder_ : torch.nn.Module or None
        The frozen encoder, if there are pretrained weights.
    blocks_ : tuple of str
        The blocks returned.
    n_features_in_ : int
        1.

    See Also
    --------
    ImplicitKTRegressor : ``readout=model`` does the same as this in a pipeline.

    Examples
    --------
    >>> from sklearn.ensemble import ExtraTreesRegressor
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_kt import CompositionEmbedder
    >>> embedder = CompositionEmbedder(blocks=["properties", "fractions"])
    >>> model = make_pipeline(embedder, ExtraTreesRegressor(10, random_state=0))
    >>> model.fit(["NaCl", "MgO", "Si"], [8.5, 7.8, 1.1]).predict(["MgO"])
    array([7.8])
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "checkpoint": [str, Path, None],
        "backbone": [str, Path, None],
        "local_files_only": ["boolean"],
        "blocks": [StrOptions({"all"}), list, tuple],
        "errors": [StrOptions({"raise", "nan"})],
        "device": [str],
    }

    def __init__(
        self,
        checkpoint: str | Path | None = "default",
        *,
        backbone: str | Path | None = None,
        local_files_only: bool = True,
        blocks: str | Sequence[str] = "all",
        errors: str = "raise",
        device: str = "auto",
    ) -> None:
        self.checkpoint = checkpoint
        self.backbone = backbone
        self.local_files_only = local_files_only
        self.blocks = blocks
        self.errors = errors
        self.device = device

    @own_settings()
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> CompositionEmbedder:
        """Load the backbone; nothing is learned from X.

        Parameters
        ----------
        X : array-like of compositions
            As in :meth:`ImplicitKTRegressor.fit`.
        y : ignored
            For pipelines.

        Returns
        -------
        self : object
            The fitted transformer.
        """
        data = self._read_compositions(X, reset=True)
        weights = self._resolve_backbone(data)
        self.encoder_ = frozen_encoder(self.spec_, weights)
        available = available_blocks(self.encoder_)
        wanted = available if isinstance(self.blocks, str) else tuple(self.blocks)
        missing = [name for name in wanted if name not in available]
        if missing or not wanted:
            raise InputError(
                f"blocks={self.blocks!r} asks for {missing[0] if missing else 'nothing'!r}; this "
                f"checkpoint and backbone have the blocks {available}."
            )
        self.blocks_ = wanted
        return self

    @own_settings()
    def transform(self, X: Any) -> np.ndarray:
        """Embed compositions.

        Parameters
        ----------
        X : array-like of compositions
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
            The columns that :meth:`get_feature_names_out` names.
        """
        check_is_fitted(self)
        data = self._read_compositions(X, reset=False)
        out = np.full((len(data), len(self.get_feature_names_out())), np.nan)
        valid = np.flatnonzero(data.valid)
        # of a long table only the result is held whole
        for part in chunks(len(valid)):
            rows = valid[part]
            out[rows] = self._frozen_features(data[rows], self.blocks_).side_by_side(self.blocks_)
        return out

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the output columns.

        Parameters
        ----------
        input_features : ignored
            For scikit-learn's interface.

        Returns
        -------
        ndarray of str
            Such as ``embedding_0``, ``property_band_gap_mp``,
            ``mean_electronegativity``, ``fraction_Fe``.
        """
        check_is_fitted(self)
        names = {
            "descriptors": descriptor_names(),
            "fractions": [f"fraction_{symbol}" for symbol in ELEMENTS],
        }
        if self.encoder_ is not None:
            width = self.encoder_.embedding_size
            names["embedding"] = [f"embedding_{i}" for i in range(width)]
            names["properties"] = [f"property_{name}" for name in self.encoder_.property_names]
        return np.array([name for block in self.blocks_ for name in names[block]], dtype=object)

    def _read_compositions(self, X: Any, *, reset: bool) -> CompositionBatch:
        data = self._read(X, reset=reset)
        if isinstance(data, np.ndarray):
            raise InputError(
                "CompositionEmbedder embeds compositions, but X is a numeric matrix that "
                "CompositionTokenizer did not make; pass formulas."
            )
        return data

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags
