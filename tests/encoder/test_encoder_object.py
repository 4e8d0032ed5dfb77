"""The encoder that estimators hold: three kinds of input, loaded once."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from sklearn_kt import read_compositions
from sklearn_kt.descriptors import elemental_descriptors
from sklearn_kt.encoder import PRESETS, Encoder, load_checkpoint, save_checkpoint
from sklearn_kt.encoder import encoder as module
from sklearn_kt.encoder.encoder import ElementInputs, NumberInputs, TextInputs, side_by_side
from sklearn_kt.encoder.modeling import FrozenEncoder, build_backbone
from sklearn_kt.encoder.training import Inputs, forward
from sklearn_kt.exceptions import CheckpointError, InputError

SPEC = {"kind": "composition", "config": PRESETS["tiny"]}
BATCH = read_compositions(["NaCl", "LiFePO4", "Cu"])


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[FrozenEncoder]:
    """Frozen encoders built in a test, which begins with none loaded."""
    monkeypatch.setattr(module, "_loaded", {})
    made: list[FrozenEncoder] = []
    init = FrozenEncoder.__init__

    def counted(self: FrozenEncoder, *args: object) -> None:
        made.append(self)
        init(self, *args)

    monkeypatch.setattr(FrozenEncoder, "__init__", counted)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_checkpoint(SPEC, build_backbone(SPEC).state_dict(), tmp_path / "one", card="")


def test_each_checkpoint_is_built_once(built: list, folder: Path, tmp_path: Path) -> None:
    first = Encoder.load(folder)
    copied = shutil.copytree(folder, tmp_path / "copy")
    assert Encoder.load(str(copied)) is first
    assert len(built) == 1
    shutil.rmtree(folder)
    save_checkpoint(SPEC, build_backbone(SPEC).state_dict(), folder, card="")
    assert Encoder.load(folder) is not first
    assert len(built) == 2


def test_threads_share_it(built: list, folder: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        loaded = [*pool.map(Encoder.load, [folder] * 8)]
    assert len({id(encoder) for encoder in loaded}) == len(built) == 1


def test_few_are_kept(built: list, tmp_path: Path) -> None:
    for number in range(module._KEPT + 1):
        weights = build_backbone(SPEC).state_dict()
        weights["norm.bias"] += number
        Encoder.load(save_checkpoint(SPEC, weights, tmp_path / str(number), card=""))
    assert len(module._loaded) == module._KEPT
    Encoder.load(tmp_path / "0")
    assert len(built) == module._KEPT + 2


def test_damage_is_found_though_it_is_loaded(folder: Path) -> None:
    Encoder.load(folder)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="SHA-256 differs"):
        Encoder.load(folder)


def test_elements() -> None:
    encoder = Encoder.load("default")
    assert isinstance(encoder.reader, ElementInputs)
    inputs = encoder.inputs(BATCH)
    assert_array_equal(inputs.lengths, [3, 5, 2])
    assert_array_equal(inputs.arrays["fractions"][0, :4], [1, 0.5, 0.5, 0])
    features = encoder.features(BATCH, encoder.blocks)
    assert features["embedding"].shape == (3, encoder.embedding_size)
    assert features["properties"].shape == (3, len(encoder.property_names))
    assert_array_equal(features["descriptors"], elemental_descriptors(BATCH))
    both = side_by_side(features, ("fractions", "embedding"))
    assert_array_equal(both[:, 118:], features["embedding"])
    spec, weights = encoder.trainable()
    assert "properties" not in spec["config"]
    assert weights.keys() < load_checkpoint("default")[1].keys()


def test_from_scratch() -> None:
    encoder = Encoder.load(backbone="tiny")
    assert encoder.blocks == ("descriptors", "fractions")
    assert encoder.trainable() == (SPEC, None)
    assert Encoder.load().spec["config"] == PRESETS["small"]
    with pytest.raises(InputError, match="pass checkpoint=None"):
        Encoder.load("default", "tiny")


def test_numbers() -> None:
    X = np.arange(6.0).reshape(3, 2)
    encoder = Encoder.of_numbers(X, "tiny")
    assert isinstance(encoder.reader, NumberInputs)
    assert encoder.blocks == ("columns",)
    assert_array_equal(encoder.features(X, ["columns"])["columns"], X)
    assert encoder.inputs(X).arrays["features"].mean() == pytest.approx(0, abs=1e-6)
    with pytest.raises(InputError, match="numeric matrix"):
        Encoder.of_numbers(X, "bert")


def test_text(minilm_dir: Path) -> None:
    encoder = Encoder.load(backbone=minilm_dir)
    assert isinstance(encoder.reader, TextInputs)
    assert encoder.blocks == ("embedding", "descriptors", "fractions")
    assert encoder.inputs(BATCH).arrays.keys() == {"input_ids", "attention_mask"}
    short = TextInputs(encoder.reader.tokenizer, 3, 30522)
    with pytest.raises(InputError, match="'LiFePO4' spelled out takes"):
        short(BATCH)


def test_without_its_network_it_reads_all_the_same() -> None:
    encoder = Encoder.load("default")
    bare = encoder.without_network()
    assert bare.blocks == ("descriptors", "fractions")
    for name, array in encoder.inputs(BATCH).arrays.items():
        assert_array_equal(bare.inputs(BATCH).arrays[name], array)
    assert encoder.network is not None


def test_a_network_on_a_device_leaves_the_shared_one_where_it_is() -> None:
    ran = []

    class Seen(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            ran.append(self)
            return x

    network = Seen().eval()
    rows = Inputs({"x": np.zeros((2, 1), np.float32)})
    for device in ("cpu", "cpu:0"):
        forward(network, rows, device=device)
    assert ran[0] is network
    assert ran[1] is not network
