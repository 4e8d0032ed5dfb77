"""Folders of models from strangers: nothing in them runs, asks or reaches for the network."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from sklearn_kt import CompositionEmbedder, read_compositions
from sklearn_kt.encoder import Encoder
from sklearn_kt.encoder.modeling import build_backbone
from sklearn_kt.encoder.weights import load_backbone, open_checkpoint
from sklearn_kt.exceptions import CheckpointError
from sklearn_kt.hub import model_folder, quiet_transformers, read_settings
from sklearn_kt.persistence import StoredEncoder, load_model, save_model
from sklearn_kt.structures.crystallm import load_crystallm
from sklearn_kt.tokenizer import _ELEMENT_NAMES, load_text_tokenizer

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


@pytest.fixture
def text_folder(tmp_path: Path) -> Path:
    """A text encoder of a few weights, with its tokenizer."""
    folder = tmp_path / "text"
    words = ["[PAD]", "[UNK]", *_ELEMENT_NAMES.split(), *"0123456789."]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    with torch.random.fork_rng(), quiet_transformers():
        BertModel(BertConfig(**{**TINY, "vocab_size": len(words)})).save_pretrained(folder)
    return folder


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("name", "file"),
    [("AutoProcessor", "processor_config.json"), ("AutoProcessorFast", "processor_config.json"),
     ("AutoFeatureExtractor", "preprocessor_config.json"), ("BertModel", "config.json")],
)  # fmt: skip
def test_the_class_of_a_tokenizer_is_not_for_its_folder_to_name(
    name: str, file: str, text_folder: Path, trap: tuple[Path, Path]
) -> None:
    evil, trace = trap
    shutil.copy(evil / "evil.py", text_folder)
    expected = Encoder.load(backbone=text_folder).reader.tokenizer.to_str()
    _edit(text_folder / "tokenizer_config.json", tokenizer_class=name)
    if file != "config.json":
        (text_folder / file).write_text(json.dumps({"auto_map": {name: "evil.Evil"}}))
    assert Encoder.load(backbone=text_folder).reader.tokenizer.to_str() == expected
    assert not trace.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "((a|b)+ )+$!"}}}, "a step"),
        ({"normalizer": {"type": "Replace", "pattern": {"String": "o"}, "content": "o" * 99}},
         "a step"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "cannot be read"),
        ({"model": {"type": "Unigram", "unk_id": None, "vocab": []}}, "cannot be read"),
        ({"model": {"type": "WordLevel", "vocab": {"a": 10**9}, "unk_token": "a"}}, "far apart"),
        ({"model": [[]] * 300_001}, "300,000 parts"),
    ],
)  # fmt: skip
def test_tokenizers_of_folders_are_held_to_what_those_of_models_are(
    changes: dict[str, Any], message: str, text_folder: Path
) -> None:
    _edit(text_folder / "tokenizer.json", **changes)
    with pytest.raises(CheckpointError, match=message):
        Encoder.load(backbone=text_folder)


def test_a_tokenizer_of_another_model_is_named(text_folder: Path) -> None:
    stored = json.loads((text_folder / "tokenizer.json").read_text())
    stored["model"]["vocab"]["sodium"] = 500
    _edit(text_folder / "tokenizer.json", model=stored["model"])
    encoder = Encoder.load(backbone=text_folder)
    with pytest.raises(CheckpointError, match="the token 500, but the backbone knows 131"):
        encoder.inputs(read_compositions(["NaCl"]))


def test_weights_are_safetensors_of_the_folder(text_folder: Path) -> None:
    index = text_folder / "model.safetensors.index.json"
    (text_folder / "model.safetensors").rename(text_folder / "part.safetensors")
    with safe_open(text_folder / "part.safetensors", "pt") as opened:
        names = list(opened.keys())
    os.mkfifo(text_folder / "pipe.safetensors")
    for place in ("evil.bin", "../text/part.safetensors", "pipe.safetensors"):
        index.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, place)}))
        with pytest.raises(CheckpointError, match="no safetensors of this folder"):
            load_backbone(text_folder)
        _edit(text_folder / "config.json", n_embd=8, n_layer=1)
        with pytest.raises(CheckpointError, match="no safetensors of this folder"):
            load_crystallm(text_folder)
    index.write_text(
        json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, "part.safetensors")})
    )
    load_backbone(text_folder)


def test_sizes_are_checked_before_anything_is_built(text_folder: Path) -> None:
    sizes = {"model_type": "gpt2", "n_embd": 2**16, "n_layer": 2, "n_head": 2}
    (text_folder / "config.json").write_text(json.dumps(sizes))
    with pytest.raises(CheckpointError, match="more than the files hold"):
        load_crystallm(text_folder)
    save_file({f"w{i}": torch.zeros(0) for i in range(2001)}, text_folder / "model.safetensors")
    (text_folder / "config.json").write_text(json.dumps({**TINY, "num_hidden_layers": 2001}))
    with pytest.raises(CheckpointError, match="2,001 weights"):
        load_backbone(text_folder)


@pytest.mark.parametrize("text", ['{"a":[' + "[]," * 300_001 + "1]}", '{"a":' * 5000])
def test_settings_that_grow_are_refused_unread(text: str, text_folder: Path) -> None:
    (text_folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_settings(text_folder, "config.json")
    with pytest.raises(CheckpointError, match="cannot be read"):
        open_checkpoint(text_folder)


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
