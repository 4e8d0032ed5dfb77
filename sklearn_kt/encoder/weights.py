"""The one gate for weights: find, check, load and save backbones.

Nothing here touches the network unless ``local_files_only=False`` is passed
together with the name of a Hugging Face model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn_kt._files import DATA, file_digest, new_folder
from sklearn_kt._model_guards import read_json
from sklearn_kt.exceptions import CheckpointError, InputError, reason_of
from sklearn_kt.hub import model_folder, quiet_transformers, read_settings, weight_files
from sklearn_kt.randomness import torch_generator_kept

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

__all__ = [
    "ENCODER_SIZES",
    "PRESETS",
    "CheckpointFiles",
    "check_extent",
    "check_weights",
    "held_out_scores",
    "list_checkpoints",
    "load_backbone",
    "load_checkpoint",
    "open_checkpoint",
    "save_checkpoint",
    "without_heads",
]

PRESETS: dict[str, dict[str, int]] = {
    "tiny": {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 256,
    },
    "small": {
        "hidden_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 512,
    },
    "base": {
        "hidden_size": 256,
        "num_hidden_layers": 5,
        "num_attention_heads": 8,
        "intermediate_size": 1024,
    },
}
"""Sizes of encoders trained from scratch."""

# layout of a checkpoint folder; raised when an older package could misread it
FORMAT_VERSION = 1

_CHECKPOINTS = DATA / "checkpoints"
_POOLER = "pooler"
_MODEL_TYPE = "composition_encoder"
_WEIGHTS, _CONFIG, _CARD = "model.safetensors", "config.json", "README.md"
_SCORES = "held_out.json"
# of the folder, not of the encoder
_FOLDER_KEYS = ("model_type", "format_version", "sha256")

# sizes of a composition encoder that whoever trains it chooses
ENCODER_SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "drop_path",
    "n_frequencies",
    "n_log_frequencies",
    "amount_attention",
)
# settings that its weights bear out
_SIZES = ("vocab_size", *ENCODER_SIZES, "properties")

# in the files of a Hugging Face model: several times what the largest text encoders have
_MOST_WEIGHTS = 2_000

# in the units of a property, far below what float32 holds
_LARGEST = 1e30

Pretrained = tuple[dict[str, Any], "dict[str, torch.Tensor]"]


def list_checkpoints() -> list[str]:
    """Names of the checkpoints inside the package.

    Returns
    -------
    list of str
        Each can be passed as ``checkpoint=``.

    Examples
    --------
    >>> from sklearn_kt.encoder import list_checkpoints
    >>> isinstance(list_checkpoints(), list)
    True
    """
    return sorted(path.parent.name for path in _CHECKPOINTS.glob(f"*/{_CONFIG}"))


@dataclass(frozen=True)
class CheckpointFiles:
    """Files of a checkpoint that is there and undamaged."""

    folder: Path
    config: dict[str, Any]
    content: bytes = field(repr=False)

    @property
    def identity(self) -> str:
        """Tell it from others: settings, and the SHA-256 of the weights."""
        return json.dumps(self.config, sort_keys=True)

    def load(self) -> Pretrained:
        """Read architecture and weights."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        config = {key: value for key, value in self.config.items() if key not in _FOLDER_KEYS}
        spec = {"kind": "composition", "config": config}
        try:
            weights = {key: value.float() for key, value in load(self.content).items()}
            check_weights(spec, weights)
        except SafetensorError as error:
            raise CheckpointError(
                f"the weights {self.folder / _WEIGHTS} cannot be read ({error}); write the "
                "checkpoint again."
            ) from error
        except CheckpointError as error:
            raise CheckpointError(f"{self.folder}: {error}") from error
        return spec, weights


def open_checkpoint(checkpoint: str | Path) -> CheckpointFiles:
    """Find a checkpoint, and check that this version reads it and that it is undamaged."""
    folder = _find(checkpoint)
    config = _read_config(folder)
    if config.get("model_type") != _MODEL_TYPE:
        raise CheckpointError(
            f"{folder} holds a {config.get('model_type')!r} model, not a composition encoder; "
            "pass a Hugging Face text model as backbone= instead of checkpoint=."
        )
    version = config.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CheckpointError(
            f"{folder} has checkpoint format {version!r}; this sklearn_kt reads formats up to "
            f"{FORMAT_VERSION}. Upgrade sklearn_kt, or use a checkpoint written by this version."
        )
    if "sha256" not in config:
        raise CheckpointError(
            f"{folder / _CONFIG} has no SHA-256 of the weights, so that damage to them would not "
            "be found: copy or write the checkpoint again."
        )
    try:
        content = (folder / _WEIGHTS).read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"the weights {folder / _WEIGHTS} cannot be read ({error}): copy or write the "
            "checkpoint again."
        ) from error
    if hashlib.sha256(content).hexdigest() != config["sha256"]:
        raise CheckpointError(
            f"the weights {folder / _WEIGHTS} cannot be read: they are not those that {_CONFIG} "
            "was written for (their SHA-256 differs), but truncated, damaged or others; copy or "
            "write the checkpoint again."
        )
    return CheckpointFiles(folder, config, content)


def load_checkpoint(checkpoint: str | Path) -> Pretrained:
    """Load a composition encoder's architecture and weights.

    Parameters
    ----------
    checkpoint : str or Path
        A name from :func:`list_checkpoints`, or a folder written by
        :func:`save_checkpoint`.

    Returns
    -------
    spec : dict
        Plain-data architecture.
    weights : dict of str to torch.Tensor
        CPU float32 tensors.

    Raises
    ------
    CheckpointError
        If there is no such checkpoint, or it is damaged (by the SHA-256 in its config),
        of another kind or of a newer format.

    Examples
    --------
    >>> from sklearn_kt.encoder import load_checkpoint
    >>> spec, weights = load_checkpoint("small")
    >>> spec["kind"], spec["config"]["hidden_size"], len(spec["config"]["properties"])
    ('composition', 128, 45)
    >>> round(sum(tensor.numel() for tensor in weights.values()) / 1e6, 2)
    0.65
    """
    return open_checkpoint(checkpoint).load()


def load_backbone(backbone: str | Path, *, local_files_only: bool = True) -> Pretrained:
    """Load a Hugging Face encoder: its architecture without the folder's path, and weights.

    The weights are CPU float32 tensors by name.
    """
    from transformers import PretrainedConfig

    from .modeling import model_class, text_config

    folder = model_folder(backbone, local_files_only=local_files_only)
    config = text_config(read_settings(folder, _CONFIG))
    try:
        with torch_generator_kept(), quiet_transformers():
            check_extent(lambda: model_class(config)(config), config, folder)
            model, report = model_class(config).from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
    # what reads damaged weights raises errors of many classes
    except Exception as error:
        raise CheckpointError(
            f"backbone {str(backbone)!r} cannot be loaded ({reason_of(error)}); it needs "
            f"{_CONFIG} and {_WEIGHTS} as save_pretrained writes them."
        ) from error
    # what is missing was made at random; a pooler is left out of many files, and not run
    missing = set(report["missing_keys"])
    if lacking := sorted(name for name in missing if _POOLER not in name):
        raise CheckpointError(
            f"backbone {str(backbone)!r} lacks {len(lacking)} of its weights, such as"
            f" {lacking[0]!r}: are the settings in {_CONFIG} those of the weights?"
        )
    shared = PretrainedConfig().to_dict()
    settings = {key: value for key, value in config.to_dict().items() if key not in shared}
    spec = {"kind": "text", "config": {"model_type": config.model_type, **settings}}
    weights = {
        f"model.{key}": value.float() * (key not in missing)
        for key, value in model.state_dict().items()
    }
    if bad := [key for key, value in weights.items() if not value.isfinite().all()]:
        raise CheckpointError(f"backbone {str(backbone)!r}: {bad[0]!r} is not finite.")
    return spec, weights


def check_extent(
    make: Callable[[], torch.nn.Module], config: PretrainedConfig, folder: Path
) -> None:
    """Check that files hold as much as the settings describe, before that is built.

    `make` makes the model, of which only the shapes are looked at.
    """
    from safetensors import safe_open

    from .modeling import shapes_only

    files = weight_files(folder)
    names = 0
    for file in files:
        with safe_open(file, "pt") as opened:
            names += len(opened.keys())
    if names > _MOST_WEIGHTS:
        raise ValueError(f"the files hold {names:,} weights; {_MOST_WEIGHTS:,} are the most")
    _check_layers(config.to_dict(), names)
    with shapes_only():
        described = sum(v.numel() for v in make().state_dict().values())
    # each takes a byte or more
    if described > sum(file.stat().st_size for file in files):
        raise ValueError(f"the settings describe {described:,} numbers, more than the files hold")


def save_checkpoint(
    spec: dict[str, Any],
    weights: dict[str, torch.Tensor],
    folder: str | Path,
    *,
    card: str,
    scores: Mapping[str, float] | None = None,
) -> Path:
    """Write a checkpoint folder: config, safetensors, tokenizer, card and held-out scores.

    Parameters
    ----------
    spec : dict
        Architecture, as :func:`load_checkpoint` returns it.
    weights : dict of str to torch.Tensor
        State of the encoder.
    folder : str or Path
        Target; it must not exist, or be an empty folder. It appears in one
        piece: an interrupted call leaves nothing behind.
    card : str
        Markdown text that says what the weights were trained on.
    scores : mapping of str to float or None, default=None
        Of the heads, on what was held out; see :func:`held_out_scores`.

    Returns
    -------
    pathlib.Path
        The folder.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_kt.encoder import load_checkpoint, save_checkpoint
    >>> with tempfile.TemporaryDirectory() as home:
    ...     folder = save_checkpoint(*load_checkpoint("small"), Path(home) / "mine", card="# mine")
    ...     sorted(path.name for path in folder.iterdir())
    ['README.md', 'config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from sklearn_kt.tokenizer import CompositionTokenizer

    folder = Path(folder)
    if spec["kind"] != "composition":
        raise InputError(
            f"only composition encoders are saved as checkpoints; this estimator's backbone is "
            f"of kind {spec['kind']!r}."
        )
    with new_folder(folder) as staging:
        tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
        try:
            save_file(tensors, staging / _WEIGHTS, metadata={"format": "pt"})
        except SafetensorError as error:
            raise OSError(f"the weights cannot be written to {folder.parent}: {error}") from error
        config = {
            "model_type": _MODEL_TYPE,
            "format_version": FORMAT_VERSION,
            "sha256": file_digest(staging / _WEIGHTS),
            **spec["config"],
        }
        (staging / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        CompositionTokenizer("formula").to_pretrained_tokenizer().save_pretrained(staging)
        (staging / _CARD).write_text(card, encoding="utf-8")
        if scores:
            text = json.dumps(dict(scores), indent=2)
            (staging / _SCORES).write_text(f"{text}\n", encoding="utf-8")
    return folder


def held_out_scores(checkpoint: str | Path) -> dict[str, float]:
    """Read how well the heads of a checkpoint did on compositions that it was not trained on.

    Parameters
    ----------
    checkpoint : str or Path
        As for :func:`load_checkpoint`.

    Returns
    -------
    scores : dict of str to float
        As of :meth:`CrossModalPretrainer.evaluate
        <sklearn_kt.pretraining.CrossModalPretrainer.evaluate>`; empty where the folder has none.

    Raises
    ------
    CheckpointError
        If there is no such checkpoint, or its scores cannot be read.

    Examples
    --------
    >>> from sklearn_kt.encoder import held_out_scores
    >>> scores = held_out_scores("default")
    >>> f"{scores['mae_band_gap_mp']:.2f} eV, ROC AUC {scores['auc_is_metal_mp']:.2f}"
    '0.31 eV, ROC AUC 0.93'
    """
    path = _find(checkpoint) / _SCORES
    if not path.is_file():
        return {}
    try:
        scores = read_json(path)
        return {name: float(score) for name, score in scores.items()}
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} does not hold scores ({error}); copy it again, or delete it to do without."
        ) from error


def without_heads(spec: dict[str, Any], weights: dict[str, Any]) -> Pretrained:
    """Leave out the property heads, which do not fit a fine-tuned encoder."""
    config = {key: value for key, value in spec["config"].items() if key != "properties"}
    kept = {key: v for key, v in weights.items() if not key.startswith(("trunk.", "heads."))}
    return {**spec, "config": config}, kept


def checkpoint_folder(checkpoint: str | Path) -> Path:
    """Folder that a ``checkpoint=`` means: a bundled one by its name, or the path itself."""
    name = str(checkpoint)
    return _CHECKPOINTS / name if name in list_checkpoints() else Path(checkpoint)


def _find(checkpoint: str | Path) -> Path:
    folder = checkpoint_folder(checkpoint)
    if not (folder / _CONFIG).is_file():
        names = ", ".join(map(repr, list_checkpoints())) or "none"
        raise CheckpointError(
            f"checkpoint {str(checkpoint)!r} is neither a bundled name (bundled: {names}) nor a "
            f"folder with {_CONFIG} and {_WEIGHTS}; pass checkpoint=None to train from scratch."
        )
    return folder


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / _CONFIG)
    except CheckpointError as error:
        raise CheckpointError(f"{error} Write the checkpoint again.") from error


def check_weights(
    spec: dict[str, Any],
    weights: dict[str, torch.Tensor],
    make: Callable[[], torch.nn.Module] | None = None,
) -> None:
    """Check that weights are those of an architecture, before anything of its size is built.

    Parameters
    ----------
    spec : dict
        Architecture of the backbone, from a file.
    weights : dict of str to torch.Tensor
        State of what `make` gives.
    make : callable, optional
        Makes the module; None means the bare backbone.

    Raises
    ------
    CheckpointError
        If sizes, names or settings differ, or a weight is not finite.
    """
    from .modeling import build_backbone, shapes_only

    try:
        kind, config = spec["kind"], spec["config"]
        if kind == "composition":
            prefix = "" if make is None else "backbone."
            backbone = {k.removeprefix(prefix): v for k, v in weights.items() if prefix in k}
            _check_sizes(config, backbone)
        _check_layers(config, len(weights))
        with shapes_only():
            module = build_backbone(spec) if make is None else make()
        expected = {name: _form(tensor) for name, tensor in module.state_dict().items()}
        for name in expected.keys() | weights.keys():
            if name not in weights or _form(weights[name]) != expected.get(name):
                raise ValueError(f"the weights {name[:80]!r} are missing or of another size")
        for name, tensor in weights.items():
            if not tensor.isfinite().all():
                raise ValueError(f"{name[:80]} holds values that are not finite")
    except (RuntimeError, TypeError, KeyError, ValueError, AttributeError, IndexError) as error:
        raise CheckpointError(
            f"the weights of an encoder do not fit its settings ({reason_of(error)}); "
            "it is damaged or was edited."
        ) from error


def _check_layers(config: dict[str, Any], n_weights: int) -> None:
    """Count layers first, as none is without weights: it bounds the time that building takes."""
    for name, value in config.items():
        if name.endswith(("layer", "layers")) and type(value) in (int, float) and value > n_weights:
            raise ValueError(f"{name}={value}, which is more than the weights have")


def _form(tensor: torch.Tensor) -> tuple[torch.Size, bool, bool]:
    return tensor.shape, tensor.is_floating_point(), tensor.is_complex()


def _check_sizes(config: dict[str, Any], weights: dict[str, Any]) -> None:
    """Check that a config describes these weights, before anything of its size is built."""
    from .modeling import CompositionEncoderConfig

    known = asdict(CompositionEncoderConfig())
    config = {name: config.get(name, known[name]) for name in _SIZES} | config
    tokens = weights["tokens.weight"].shape
    pairs = (weights["amounts.project.weight"].shape[1] - 2) / 2
    found = {
        "vocab_size": tokens[0],
        "hidden_size": tokens[1],
        "num_hidden_layers": sum(name.endswith(".qkv.weight") for name in weights),
        "intermediate_size": weights["blocks.0.up.weight"].shape[0],
        "n_frequencies": pairs - config["n_log_frequencies"],
        "n_log_frequencies": pairs - config["n_frequencies"],
    }
    for name, size in found.items():
        if type(config[name]) is not int or config[name] != size or size < 0:
            raise ValueError(f"{name} is {config[name]!r} where the weights have {size}")
    heads = config["num_attention_heads"]
    if type(heads) is not int or heads < 1 or config["hidden_size"] % heads:
        raise ValueError(f"num_attention_heads={heads!r} does not divide hidden_size")
    drop_path = config["drop_path"]
    if type(drop_path) not in (int, float) or not 0 <= drop_path < 1:
        raise ValueError(f"drop_path={drop_path!r} is no probability")
    for entry in config["properties"]:
        centred = [type(entry[key]) in (int, float) for key in ("center", "scale")]
        if type(entry["name"]) is not str or not all(centred):
            raise ValueError(f"the property {str(entry)[:80]} is not name, unit, center and scale")
        # also where one is nan, which max would pass over
        if not all(abs(entry[key]) < _LARGEST for key in ("center", "scale")):
            raise ValueError(f"center or scale of {entry['name'][:80]!r} is not finite")
