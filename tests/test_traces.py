"""Traces: how far elements are there, and which compositions are others with traces."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from sklearn_kt import read_compositions
from sklearn_kt.compositions import CompositionBatch, composition_keys
from sklearn_kt.traces import TRACE, find_hosts, presence

KNOWN = ("GaAs", "PbTe", "SrTiO3", "Fe")


def find(batch: CompositionBatch, known: tuple[str, ...] = KNOWN) -> np.ndarray:
    keys = composition_keys(read_compositions(list(known))).tolist()
    return np.array([keys.index(k) if k in keys else -1 for k in composition_keys(batch).tolist()])


@pytest.mark.parametrize(
    ("formula", "host", "part"),
    [
        ("GaAs", 0, 1),
        ("Ga2As2", 0, 1),
        ("GaAsMn0.0005", 0, 0.75),
        # on either site, and of several elements on one
        ("Ga0.9998Al0.0002As", 0, 0.9),
        ("GaAs0.9998P0.0002", 0, 0.9),
        ("Sr0.9999Ca0.0001TiO3", 2, 0.98),
        ("SrTi0.9998Nb0.0001V0.0001O3", 2, 0.96),
        ("SrTiO2.9995F0.0005", 2, 0.9),
        ("Fe0.99999C0.00001", 3, 0.99),
        ("Pb0.9985Na0.0005Ag0.001Te", 1, 0.25),
        # not known, too much, or too much of several
        ("ZnSMn0.0005", -1, 0),
        ("Ga0.997Al0.003As", -1, 0),
        ("Pb0.997Na0.0015Ag0.0015Te", -1, 0),
        ("InAs", -1, 0),
    ],
)
def test_a_composition_with_traces_is_found_as_its_host(
    formula: str, host: int, part: float
) -> None:
    # whatever stands beside it
    batch = read_compositions(["NaClF0.0001", formula, "GaAsMn0.0001"])
    places, parts = find_hosts(find, batch)
    assert places.tolist() == [-1, host, 0]
    assert parts == pytest.approx([0, part, 0.95], abs=1e-3)
    assert find_hosts(find, batch[[1]])[0].tolist() == [host]


def test_it_asks_once_where_there_are_no_traces() -> None:
    asked = []

    def told(batch: CompositionBatch) -> np.ndarray:
        asked.append(len(batch))
        return find(batch)

    places, parts = find_hosts(told, read_compositions(["ZnS", "GaAs", "Ga0.9Al0.1As"]))
    assert (places.tolist(), parts.tolist(), asked) == ([-1, 0, -1], [0, 1, 0], [3])
    places, parts = find_hosts(partial(find, known=()), read_compositions(["GaAsMn0.0005"]))
    assert (places.tolist(), parts.tolist()) == ([-1], [0])


def test_presence_grows_up_to_a_trace() -> None:
    assert presence(np.array([0, TRACE / 4, TRACE, 1])).tolist() == [0, 0.25, 1, 1]
