"""Folders of Hugging Face models: the one place that may download, and what their settings may say.

The libraries behind these files run code, fetch other models and look names up where a setting
asks them to. Here a model is a folder before anything of it is read, and such settings are refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ._model_guards import read_json
from .exceptions import CheckpointError, reason_of

__all__ = [
    "check_settings",
    "model_folder",
    "quiet_transformers",
    "read_settings",
    "weight_files",
]

# what weights and tokenizers are made of, without pickles and without code
_FILES = ["*.json", "*.safetensors"]
# settings that name code, or other models, adapters and kernels to fetch
_REACHING = re.compile(
    "auto_map|name_or_path|backbone|timm|quantization|kernel|adapter|peft|custom_|remote_code", re.I
)
# computation by a kernel of the hub, such as "owner/name"; other values name functions of torch
_COMPUTED_BY = "implementation"
# where a model was copied from: a note that nobody follows
_ORIGIN = "_name_or_path"
_ADAPTER = "adapter_config.json"
# which of several files holds which weight
_INDEX = "model.safetensors.index.json"


def model_folder(name: str | os.PathLike, *, local_files_only: bool = True) -> Path:
    """Find the folder of a Hugging Face model; reading it needs no network.

    `name` is a folder, or that of a model in the local cache (or on the hub, with
    ``local_files_only=False``). What is an adapter of another model is refused.
    """
    folder = Path(name)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        try:
            folder = Path(
                snapshot_download(
                    os.fspath(name), allow_patterns=_FILES, local_files_only=local_files_only
                )
            )
        # the hub's errors share no class, and a connection can fail in any way
        except Exception as error:
            remedy = (
                "pass the path of a folder saved by save_pretrained, or a name together with "
                "local_files_only=False to allow a download"
                if local_files_only
                else "check the name and the connection"
            )
            raise CheckpointError(
                f"{os.fspath(name)!r} is no folder, and no model of that name was found "
                f"({reason_of(error)}); {remedy}."
            ) from error
    if (folder / _ADAPTER).exists():
        raise CheckpointError(
            f"{os.fspath(name)!r} holds {_ADAPTER}, which changes the weights of another model: "
            "merge the adapter and save the whole model."
        )
    return folder


def read_settings(folder: Path, file: str) -> dict[str, Any]:
    """Read a JSON file of a model's folder, and check what it asks for.

    The settings come without the note of their origin; there are none where there is no such file.
    """
    path = folder / file
    if not path.is_file():
        return {}
    settings = read_json(path)
    for origin in (_ORIGIN, _ORIGIN.removeprefix("_")):
        settings.pop(origin, None)
    check_settings(settings, str(path))
    return settings


def check_settings(settings: Mapping[str, Any], where: str) -> None:
    """Refuse settings that name code, or anything to fetch, at any depth."""
    pending: list[Any] = [settings]
    while pending:
        part = pending.pop()
        if isinstance(part, Mapping):
            for key, value in part.items():
                by_kernel = _COMPUTED_BY in str(key) and "/" in str(value)
                if by_kernel or (_REACHING.search(str(key)) and value):
                    raise CheckpointError(
                        f"{where} has the setting {str(key)[:80]!r}, which names code or another "
                        "model; only encoders of plain settings and weights are loaded."
                    )
            pending.extend(part.values())
        elif isinstance(part, list | tuple):
            pending.extend(part)


def weight_files(folder: Path) -> list[Path]:
    """Find the weights in a model's folder: safetensors, never pickles nor what lies elsewhere."""
    # to open a pipe would wait for ever
    files = [path for path in sorted(folder.glob("*.safetensors")) if path.is_file()]
    if not files:
        raise CheckpointError(f"{folder} has no .safetensors files, and pickles are not read.")
    index = folder / _INDEX
    if index.is_file():
        shards = read_json(index).get("weight_map")
        known = {path.name for path in files}
        if not isinstance(shards, dict) or not all(str(name) in known for name in shards.values()):
            raise CheckpointError(f"{index} names files that are no safetensors of this folder.")
    return files


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from bars and remarks about weights that are loaded or saved."""
    from transformers.utils import logging

    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
