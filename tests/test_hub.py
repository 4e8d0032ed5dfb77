"""Folders of models from strangers: nothing in them runs, asks or reaches for the network."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch

from sklearn_kt import CompositionEmbedder
from sklearn_kt.encoder.modeling import build_backbone
from sklearn_kt.encoder.weights import load_backbone
from sklearn_kt.exceptions import CheckpointError
from sklearn_kt.hub import model_folder, read_settings
from sklearn_kt.persistence import StoredEncoder, load_model, save_model
from sklearn_kt.structures.crystallm import load_crystallm
from sklearn_kt.tokenizer import load_text_tokenizer

TINY = {
    "model_type": "bert",
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 12,
}


class _Nobody:
    """A terminal that fails the test if anybody asks it anything."""

    asked = False

    def readline(self, *args: object) -> str:
        type(self).asked = True
        return "y\n"

    read = readline

    def fileno(self) -> int:
        return 0

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def sealed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take away what else hides a reach for the network or a question on stdin."""
    # conftest fails the test at the first look-up; offline mode would only hide it
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(sys, "stdin", _Nobody())
    monkeypatch.setattr(_Nobody, "asked", False)
    yield
    assert not _Nobody.asked


@pytest.fixture
def trap(tmp_path: Path) -> tuple[Path, Path]:
    """A folder with code, and the trace that running it leaves."""
    trace = tmp_path / "ran"
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "evil.py").write_text(
        f"import pathlib\npathlib.Path({str(trace)!r}).touch()\nclass Evil: pass\n"
    )
    return folder, trace


REACHING: list[dict[str, Any]] = [
    {"auto_map": {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}},
    {"name_or_path": "owner/name", "auto_map": {"AutoModel": "owner/name--evil.Evil"}},
    {"text_config": {"auto_map": {"AutoModel": "evil.Evil"}}},
    {"backbone": "owner/name", "use_timm_backbone": False},
    {"use_timm_backbone": True},
    {"backbone_config": {"model_type": "resnet"}},
    {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
    {"kernel_config": {"kernel_mapping": {"RMSNorm": "owner/name:RMSNorm"}}},
    {"_attn_implementation": "owner/name"},
    {"attn_implementation": "kernels-community/flash-attn"},
    {"custom_pipelines": {"x": {"impl": "evil.Evil"}}},
]
# architectures that look for others, run code of their own, or are no encoders of text
OTHER_TYPES = [
    "clap_text_model",
    "detr",
    "gpt2",
    "timm_wrapper",
    "encoder-decoder",
    "no-such",
    None,
]


@pytest.mark.parametrize(
    "settings",
    [*({**TINY, **more} for more in REACHING), *({**TINY, "model_type": t} for t in OTHER_TYPES)],
)
def test_settings_that_reach_further_are_refused_everywhere(
    settings: dict[str, Any], trap: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, trace = trap
    if settings.get("name_or_path"):
        settings = {**settings, "name_or_path": str(folder)}
    if settings["model_type"] == "detr":
        settings = {**settings, "backbone": "owner/name", "use_timm_backbone": False}
    with pytest.raises(CheckpointError):
        build_backbone({"kind": "text", "config": settings})
    stored = object.__new__(StoredEncoder)
    stored.spec, stored.weights = {"kind": "text", "config": settings}, {}
    embedder = CompositionEmbedder()
    embedder.encoder_ = stored
    with pytest.raises(CheckpointError):
        load_model(save_model(embedder, tmp_path / "model"))
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError):
        load_backbone(folder)
    if "model_type" in settings and settings.keys() - TINY.keys():
        with pytest.raises(CheckpointError, match="names code or another model"):
            load_crystallm(folder)
        with pytest.raises(CheckpointError, match="names code or another model"):
            load_text_tokenizer(folder)
    assert not trace.exists()


@pytest.mark.parametrize("kind", ["composition", "features"])
def test_other_encoders_know_their_settings_only(kind: str) -> None:
    for name in ("auto_map", "name_or_path", "_attn_implementation", "dtype"):
        with pytest.raises(CheckpointError, match=f"{name}.* is no setting of a {kind} encoder"):
            build_backbone({"kind": kind, "config": {name: "owner/name"}})
    with pytest.raises(CheckpointError, match="no kind of backbone"):
        build_backbone({"kind": "image", "config": {}})


@pytest.mark.parametrize(
    "kind",
    ["bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "mpnet", "roberta"],
)
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_text_encoders_build_from_plain_settings(kind: str) -> None:
    sizes = dict(TINY, model_type=kind, max_position_embeddings=12, labels={"LABEL": 0})
    if kind == "distilbert":
        sizes |= {"dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 8}
    with torch.random.fork_rng():
        encoder = build_backbone({"kind": "text", "config": sizes}).eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    assert encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).shape == (1, 16)


@pytest.mark.parametrize("value", [{"a": 1}, [[1]], [{}]])
def test_settings_of_odd_values_are_refused(value: Any) -> None:
    with pytest.raises(CheckpointError, match=r"hidden_size=.* is no setting of a bert encoder"):
        build_backbone({"kind": "text", "config": {**TINY, "hidden_size": value}})


def test_tokenizers_with_code_are_refused(
    minilm_dir: Path, trap: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, trace = trap
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(minilm_dir / name, folder)
    load_text_tokenizer(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["auto_map"] = {"AutoTokenizer": [None, "evil.Evil"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match="names code or another model"):
        load_text_tokenizer(folder)
    assert not trace.exists()


def test_folders_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="local_files_only=False"):
        model_folder("nobody/no-such-model")
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/name"}')
    with pytest.raises(CheckpointError, match="merge the adapter"):
        load_backbone(tmp_path)
    (tmp_path / "config.json").write_text("[" * 10_000)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_settings(tmp_path, "config.json")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="not a JSON object"):
        read_settings(tmp_path, "config.json")
