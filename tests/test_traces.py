"""Traces: how far elements are there, and which compositions are others with traces."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from sklearn_kt import read_compositions
from sklearn_kt.compositions import CompositionBatch, composition_keys
from sklearn_kt.traces import TRACE, find_hosts, presence

KNOWN = ("GaAs", "PbTe", "SrTiO3", "Fe", "GaAsMn0.001", "Fe0.9985C0.0008Mn0.0007")


def find(batch: CompositionBatch, known: tuple[str, ...] = KNOWN) -> np.ndarray:
    keys = composition_keys(read_compositions(list(known))).tolist()
    return np.array([keys.index(k) if k in keys else -1 for k in composition_keys(batch).tolist()])


@pytest.mark.parametrize(
    ("formula", "host", "part"),
    [
        ("GaAs", 0, 1),
        ("Ga2As2", 0, 1),
        ("GaAsN0.0005", 0, 0.75),
        # on either site, and of several elements on one
        ("Ga0.9998Al0.0002As", 0, 0.9),
        ("GaAs0.9998P0.0002", 0, 0.9),
        ("Sr0.9999Ca0.0001TiO3", 2, 0.98),
        ("SrTi0.9998Nb0.0001V0.0001O3", 2, 0.96),
        ("SrTiO2.9995F0.0005", 2, 0.9),
        ("Fe0.99999C0.00001", 3, 0.99),
        ("Pb0.9985Na0.0005Ag0.001Te", 1, 0.25),
        # on several sites, by unequal parts, or on one and beside
        ("Pb0.9999Na0.0001Te0.9998Se0.0002", 1, 0.85),
        ("Pb0.9998Na0.0002TeAg0.0002", 1, 0.8),
        # of what has traces itself, as many as there may be
        ("GaAsMn0.001Cs0.0001", 4, 0.95),
        ("Fe0.9985C0.0008Mn0.0007Cs0.00001", 5, 0.99),
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
    batch = read_compositions(["NaClF0.0001", formula, "GaAsIn0.0001"])
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
    places, parts = find_hosts(partial(find, known=()), read_compositions(["GaAsN0.0005"]))
    assert (places.tolist(), parts.tolist()) == ([-1], [0])


def test_presence_grows_up_to_a_trace() -> None:
    assert presence(np.array([0, TRACE / 4, TRACE, 1])).tolist() == [0, 0.25, 1, 1]


def test_what_finds_keeps_what_it_gave() -> None:
    kept = np.array([-1])
    places, _ = find_hosts(
        lambda b: kept if len(b) == 1 else find(b), read_compositions(["GaAsN1e-5"])
    )
    assert places.tolist() == [0]
    assert kept.tolist() == [-1]


def test_many_traces_on_few_sites_go_to_one() -> None:
    symbols = ("Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr")
    dopants = "".join(f"{symbol}0.00001" for symbol in symbols)
    batch = read_compositions([f"Ga0.99992{dopants}As", f"GaAs{dopants}", f"ZnS{dopants}"])
    places, parts = find_hosts(find, batch)
    assert places.tolist() == [0, 0, -1]
    assert parts == pytest.approx([0.96, 0.96, 0], abs=1e-3)
