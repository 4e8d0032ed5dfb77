"""The encoder, and the gate that its weights go through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BertConfig, BertModel

from sklearn_kt import read_compositions
from sklearn_kt.encoder import PRESETS, list_checkpoints, load_checkpoint, save_checkpoint
from sklearn_kt.encoder.modeling import CompositionEncoder, FrozenEncoder, build_backbone
from sklearn_kt.encoder.weights import load_backbone, without_heads
from sklearn_kt.exceptions import CheckpointError, InputError
from sklearn_kt.tokenizer import token_matrix

SPEC = {"kind": "composition", "config": dict(PRESETS["tiny"])}


def tensors(formulas: list[str], length: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    ids, amounts = token_matrix(read_compositions(formulas), length)
    return torch.from_numpy(ids), torch.from_numpy(amounts / amounts[:, :1]).float()


@pytest.fixture
def encoder() -> CompositionEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_backbone(SPEC).eval()


@pytest.fixture
def folder(encoder: CompositionEncoder, tmp_path: Path) -> Path:
    return save_checkpoint(SPEC, encoder.state_dict(), tmp_path / "saved", card="# Test\n")


def test_embedding_ignores_order_padding_and_formula_units(encoder: CompositionEncoder) -> None:
    with torch.no_grad():
        once = encoder(*tensors(["LiFePO4"]))
        for formula, length in [("O4PFeLi", None), ("Li2Fe2P2O8", None), ("LiFePO4", 12)]:
            torch.testing.assert_close(encoder(*tensors([formula], length)), once)
        assert not torch.allclose(encoder(*tensors(["Li2FePO4"])), once)


def test_embedding_sees_traces(encoder: CompositionEncoder) -> None:
    with torch.no_grad():
        trace = encoder(*tensors(["Fe0.9999C5.7e-5", "Fe0.9999C5.7e-4"]))
    assert (trace[0] - trace[1]).abs().max() > 1e-3


def smooth(amount_attention: str, scale: float = 1.0) -> CompositionEncoder:
    """An encoder with weights larger than training makes them."""
    config = {**PRESETS["tiny"], "n_frequencies": 3, "n_log_frequencies": 3}
    spec = {"kind": "composition", "config": {**config, "amount_attention": amount_attention}}
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        built = build_backbone(spec).eval()
        for parameter in built.parameters():
            parameter.mul_(scale)
    return built


@pytest.mark.parametrize("amount_attention", ["none", "linear", "mixed"])
def test_hidden_amount_is_not_read(amount_attention: str) -> None:
    ids, fractions = tensors(["Fe2O3", "Fe3O4"])
    fractions[:, 1:] = -1.0
    with torch.no_grad():
        states = smooth(amount_attention).encode(ids, fractions)
    torch.testing.assert_close(states[0], states[1])


@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("amount_attention", ["linear", "mixed"])
def test_vanishing_element_has_no_say_whatever_the_weights(
    amount_attention: str, scale: float
) -> None:
    ids, fractions = tensors(["Zn0.5S0.5Mn0.5"])
    rest = torch.tensor([1.0, 0.5, 0.0, 0.5])
    assert ids[0, 2] == 4 + 25
    changes = []
    with torch.no_grad():
        encoder = smooth(amount_attention, scale)
        host = encoder(*tensors(["ZnS"]))
        for amount in (1e-4, 1e-8, 1e-30, 0.0):
            fractions[0] = rest
            fractions[0, 2] = amount
            changes.append(float((encoder(ids, fractions) - host).abs().max()))
    assert changes == sorted(changes, reverse=True)
    assert changes[0] > 1e-5
    assert max(changes[2:]) < 1e-4


def test_traces_have_the_say_of_main_components_without_amount_attention() -> None:
    with torch.no_grad():
        one, two = (smooth("none")(*tensors([f])) for f in ("ZnS", "ZnSMn0.00000002"))
    assert (one - two).abs().max() > 0.05


def test_save_and_load_round_trip(encoder: CompositionEncoder, folder: Path) -> None:
    spec, weights = load_checkpoint(folder)
    again = FrozenEncoder(spec, weights)
    ids, fractions = tensors(["NaCl", "LiFePO4"])
    with torch.no_grad():
        out = again(input_ids=ids, fractions=fractions)
        assert (out == encoder(ids, fractions)).all()
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer("NaCl")["input_ids"] == [2, 4 + 11, 4 + 17, 3]


def test_heads_are_saved_in_their_units_and_can_be_left_out(tmp_path: Path) -> None:
    heads = [
        {"name": "gap", "unit": "eV", "center": 2.0, "scale": 3.0},
        {"name": "is_metal", "unit": "logit", "center": 0.0, "scale": 1.0},
    ]
    spec = {"kind": "composition", "config": {**PRESETS["tiny"], "properties": heads}}
    backbone = build_backbone(spec)
    save_checkpoint(spec, backbone.state_dict(), tmp_path / "heads", card="")
    spec, weights = load_checkpoint(tmp_path / "heads")
    frozen = FrozenEncoder(spec, weights)
    assert frozen.property_names == ["gap", "is_metal"]
    ids, fractions = tensors(["NaCl", "LiFePO4"])
    with torch.no_grad():
        out = frozen(input_ids=ids, fractions=fractions)
        raw = backbone.eval().properties(out[:, : frozen.embedding_size])
    expected = raw * torch.tensor([3.0, 1.0]) + torch.tensor([2.0, 0.0])
    torch.testing.assert_close(out[:, frozen.embedding_size :], expected)
    bare, kept = without_heads(spec, weights)
    assert FrozenEncoder(bare, kept).property_names == []
    assert len(kept) == len(weights) - 4


def test_save_leaves_existing_folders_alone(encoder: CompositionEncoder, folder: Path) -> None:
    before = (folder / "config.json").read_bytes()
    with pytest.raises(InputError, match="not an empty folder"):
        save_checkpoint(SPEC, encoder.state_dict(), folder, card="")
    assert (folder / "config.json").read_bytes() == before


def test_failed_save_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        save_checkpoint(SPEC, {"tokens.weight": None}, tmp_path / "new", card="")  # type: ignore[dict-item]
    assert list(tmp_path.iterdir()) == []


def test_unknown_checkpoint_names_the_bundled_ones(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="checkpoint=None to train from scratch"):
        load_checkpoint("no-such-checkpoint")
    with pytest.raises(CheckpointError, match="neither a bundled name"):
        load_checkpoint(tmp_path)
    assert all(load_checkpoint(name) for name in list_checkpoints())


@pytest.mark.parametrize("damage", ["truncated", "missing", "garbage", "empty"])
def test_damaged_weights_are_refused(folder: Path, damage: str) -> None:
    file = folder / "model.safetensors"
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        kept = {"truncated": content[: len(content) // 2], "garbage": b"x" * 100, "empty": b""}
        file.write_bytes(kept[damage])
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "reads formats up to 1"),
        ({"format_version": None}, "format None"),
        ({"model_type": "bert"}, "pass a Hugging Face text model as backbone="),
        ({"hidden_size": 32}, "do not fit"),
        ({"n_frequencies": 5}, "n_frequencies is 5 where the weights have 8"),
        ({"n_log_frequencies": 5}, "where the weights have"),
        ({"n_frequencies": 17, "n_log_frequencies": -1}, "n_log_frequencies is -1"),
        ({"amount_attention": "square"}, "amount_attention must be one of"),
        ({"num_hidden_layers": 9}, "do not fit"),
        ({"surprise": 1}, "'surprise' is no setting"),
        # nothing of such a size is built
        ({"hidden_size": 10**9}, "do not fit"),
        ({"num_hidden_layers": 10**12}, "do not fit"),
        ({"num_attention_heads": 0}, "num_attention_heads=0"),
        ({"num_attention_heads": 1.5}, "num_attention_heads=1.5"),
        ({"drop_path": float("nan")}, "no probability"),
        ({"properties": [{"name": "gap", "center": "1", "scale": 1}]}, "is not name, unit"),
        ({"properties": [{"name": "g", "center": float("inf"), "scale": 1}]}, "not finite"),
        ({"properties": [{"name": "g", "center": 1, "scale": float("nan")}]}, "not finite"),
        ({"properties": 5}, "do not fit"),
        ({"sha256": "0" * 64}, "SHA-256 differs"),
    ],
)
def test_config_that_does_not_fit_is_refused(folder: Path, change: dict, message: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_weights_without_a_checksum_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["sha256"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="no SHA-256"):
        load_checkpoint(folder)


def test_every_flipped_bit_of_the_weights_is_found(folder: Path) -> None:
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    rng = np.random.default_rng(0)
    for position in rng.integers(len(content), size=20):
        content[position] ^= 1
        file.write_bytes(content)
        with pytest.raises(CheckpointError):
            load_checkpoint(folder)
        content[position] ^= 1
    file.write_bytes(content)
    load_checkpoint(folder)


def test_weights_that_are_not_finite_are_refused(
    encoder: CompositionEncoder, tmp_path: Path
) -> None:
    weights = encoder.state_dict()
    weights["norm.bias"] = torch.full_like(weights["norm.bias"], torch.nan)
    save_checkpoint(SPEC, weights, tmp_path / "nan", card="")
    with pytest.raises(CheckpointError, match=r"norm\.bias holds values that are not finite"):
        load_checkpoint(tmp_path / "nan")


@pytest.mark.parametrize("text", ["{", "[]", "", "[" * 100_000])
def test_unreadable_config_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_checkpoint(folder)


def test_hugging_face_encoder_loads_from_a_folder(
    minilm_dir: Path, untouched_globals: None
) -> None:
    spec, weights = load_backbone(minilm_dir)
    assert str(minilm_dir) not in json.dumps(spec, default=str)
    backbone = FrozenEncoder(spec, weights)
    ids = torch.tensor([[101, 2000, 102, 0], [101, 2000, 3000, 102]])
    mask = (ids > 0).long()
    with torch.no_grad():
        out = backbone(input_ids=ids, attention_mask=mask)
        alone = backbone(input_ids=ids[:1, :3], attention_mask=mask[:1, :3])
    assert out.shape == (2, backbone.embedding_size)
    np.testing.assert_allclose(out[:1].numpy(), alone.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights, settings: weights.pop("encoder.layer.0.output.dense.weight"), "lacks 1 "),
        (lambda weights, settings: settings.update(num_hidden_layers=3), "lacks 16 "),
        (lambda weights, settings: settings.update(num_hidden_layers=10**6), "more than the wei"),
        (lambda weights, settings: settings.update(hidden_size=2**13), "more than the files"),
        (
            lambda weights, settings: weights["encoder.layer.1.output.dense.bias"].fill_(np.nan),
            "not finite",
        ),
        (lambda weights, settings: weights.clear(), "more than the weights have"),
        (lambda weights, settings: None, "no .safetensors"),
    ],
)
def test_nothing_of_a_hugging_face_encoder_is_made_up(
    change: Any, message: str, tmp_path: Path
) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 30}
    config = BertConfig(**sizes, intermediate_size=8, max_position_embeddings=8)
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    # a pooler that is not there is not run, and is the same each time
    weights = [load_backbone(tmp_path)[1] for _ in range(2)]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])
    tensors = load_file(tmp_path / "model.safetensors")
    settings = json.loads((tmp_path / "config.json").read_text())
    change(tensors, settings)
    (tmp_path / "config.json").write_text(json.dumps(settings))
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    if ".safetensors" in message:
        (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=message):
        load_backbone(tmp_path)


def test_missing_hugging_face_encoder_says_how_to_get_it() -> None:
    with pytest.raises(CheckpointError, match="local_files_only=False"):
        load_backbone("nobody/no-such-model")
