"""Pools in folders of checkpoints: what is read back, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sklearn_kt.encoder.pool import POOL_FILE, find_keys, pool_elements, pool_keys
from sklearn_kt.evaluation import CompositionPool
from sklearn_kt.exceptions import DatasetError

STEPS = np.array([[3, 5]], np.uint8)
GOOD: dict[str, Any] = {
    "steps": STEPS,
    "known": np.array([[0b11000000]], np.uint8),
    "properties": np.array(["gap"]),
    "name": np.array("own"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_keys_come_back(folder: Path) -> None:
    np.savez_compressed(folder / POOL_FILE, **GOOD)
    keys = pool_keys(folder)
    assert keys is not None
    assert keys.tolist() == [3, 8]
    assert find_keys(keys, ["NaCl"]).tolist() == [-1]


def test_elements_come_back_if_there_are_some(folder: Path) -> None:
    assert pool_elements(folder) is None
    np.savez_compressed(folder / POOL_FILE, **GOOD)
    assert pool_elements(folder) is None
    assert CompositionPool.load(folder / POOL_FILE).elements is None
    np.savez_compressed(folder / POOL_FILE, **GOOD, elements=np.array(["Na", "Cl"]))
    assert pool_elements(folder) == ["Na", "Cl"]
    for wrong in (["Na", "Xx"], [["Na"]], "Na", [11]):
        np.savez_compressed(folder / POOL_FILE, **GOOD, elements=np.array(wrong))
        with pytest.raises(DatasetError, match=r"not a pool .*no list of symbols"):
            pool_elements(folder)


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        # a few thousand bytes of equal keys, which would take 17 times as many as they unpack to
        (np.zeros((1, 4_000_000), np.uint8), "would unpack to 4,0"),
        (np.zeros((0, 3), np.uint8), "shape \\(0, 3\\)"),
        (np.zeros((8, 0), np.uint8), "shape \\(8, 0\\)"),
        (np.zeros(3, np.uint8), "shape \\(3,\\)"),
        (np.uint8(3), "shape \\(\\)"),
        (np.zeros((1, 3)), "float64"),
        (np.full((1, 3), -1), "int64"),
        (np.zeros((9, 3), np.uint8), "broadcast"),
    ],
    ids=["grows", "no bytes", "no keys", "flat", "alone", "float", "negative", "too long"],
)
def test_what_is_no_list_of_keys_is_refused(steps: Any, reason: str, folder: Path) -> None:
    np.savez_compressed(folder / POOL_FILE, **(GOOD | {"steps": steps}))
    with pytest.raises(DatasetError, match=f"not a pool .*{reason}"):
        pool_keys(folder)


@pytest.mark.parametrize(
    "edited",
    [
        {"known": np.array([[0, 0]], np.uint8)},
        {"known": np.array([[0], [0]], np.uint8)},
        {"known": np.array([[1]])},
        {"known": np.array([0], np.uint8)},
        {"properties": np.array("gap")},
        {"properties": np.array([["gap"]])},
    ],
    ids=["columns", "rows", "numbers", "flat", "no list", "table"],
)
def test_what_is_known_fits_the_keys(edited: dict[str, Any], folder: Path) -> None:
    np.savez_compressed(folder / POOL_FILE, **(GOOD | edited))
    with pytest.raises(DatasetError, match="not a pool"):
        CompositionPool.load(folder / POOL_FILE)


def test_damaged_streams_are_named(folder: Path) -> None:
    path = folder / POOL_FILE
    np.savez_compressed(path, **(GOOD | {"steps": np.arange(200, dtype=np.uint8)[None]}))
    content = bytearray(path.read_bytes())
    # where the first array is packed
    content[60:90] = b"\xff" * 30
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="not a pool"):
        pool_keys(folder)
