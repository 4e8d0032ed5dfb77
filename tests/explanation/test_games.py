"""Games of compositions: players, coalitions, named values."""

from __future__ import annotations

import copy
import pickle
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from shapiq.game_theory.exact import ExactComputer

from sklearn_kt.compositions import read_compositions
from sklearn_kt.explanation.games import (
    Coalitions,
    CompositionGame,
    CompositionInteractions,
    Players,
    all_coalitions,
)


def test_elements_play_in_written_order() -> None:
    players = Players.elements(read_compositions(["LiFePO4"]))
    assert players.names == ("Li", "Fe", "P", "O")
    coalitions = Coalitions(players, np.array([[True, False, False, True]]))
    assert coalitions.present.tolist() == coalitions.known.tolist() == [[True, False, False, True]]


@pytest.mark.parametrize(
    ("ones", "names"),
    [(False, ("Fe", "2 (Fe)", "O")), (True, ("Fe", "2 (Fe)", "O", "1 (O)"))],
)
def test_tokens_are_symbols_and_amounts(ones: bool, names: tuple[str, ...]) -> None:
    players = Players.tokens(read_compositions(["Fe2O"]), ones=ones)
    assert players.names == names
    members = np.zeros((1, len(names)), dtype=bool)
    members[0, 1:3] = True
    coalitions = Coalitions(players, members)
    assert coalitions.present.tolist() == [[False, True]]
    # an amount that does not play is always known
    assert coalitions.known.tolist() == [[True, not ones]]


def test_all_coalitions_are_different_and_begin_with_nobody() -> None:
    members = all_coalitions(5)
    assert members.shape == (32, 5)
    assert not members[0].any()
    assert len(np.unique(members, axis=0)) == 32


def test_stored_values_are_not_asked_for_again() -> None:
    calls = []

    def worth(requests):
        calls.append(sum(map(len, requests)))
        return [request.members.sum(axis=1) ** 2.0 for request in requests]

    game = CompositionGame(Players.elements(read_compositions(["ABaC".replace("A", "K")])), worth)
    members = all_coalitions(3)
    game.store(members, members.sum(axis=1) ** 2.0)
    assert game(members).tolist() == (members.sum(axis=1) ** 2.0).tolist()
    assert not calls
    # (x + y + z)^2 shared out equally
    assert ExactComputer(game)("SV", 1)[(0,)] == pytest.approx(3)


@pytest.fixture
def values() -> CompositionInteractions:
    return CompositionInteractions(
        {(): 1.0, (0,): -3.0, (0, 1): 2.0},
        index="k-SII",
        max_order=2,
        n_players=2,
        min_order=0,
        baseline_value=1.0,
        estimated=False,
        player_names=["Na", "Cl"],
        formula="NaCl",
    )


def test_table_lists_also_what_is_zero(values: CompositionInteractions) -> None:
    table = values.to_frame()
    assert table["interaction"].tolist() == ["Na", "Na-Cl", "Cl"]
    assert table["order"].tolist() == [1, 2, 1]
    assert table["value"].tolist() == [-3.0, 2.0, 0.0]


def test_text_shows_names(values: CompositionInteractions) -> None:
    assert str(values).startswith("NaCl: k-SII up to order 2, exact, baseline 1\n")
    assert "Na-Cl" in str(values)


@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))]
)
def test_copies_keep_the_names(values: CompositionInteractions, twin) -> None:
    other = twin(values)
    assert type(other) is CompositionInteractions
    assert (other.player_names, other.formula) == (["Na", "Cl"], "NaCl")
    assert other.interactions == values.interactions
    assert other.interactions is not values.interactions


def test_players_without_names_are_numbered(values: CompositionInteractions) -> None:
    plain = CompositionInteractions(
        values.interactions, index="k-SII", max_order=2, n_players=2, min_order=0
    )
    assert plain.player_names == ["0", "1"]


def test_values_show_themselves() -> None:
    values = CompositionInteractions(
        {(0,): 1.0, (1,): -0.5, (0, 1): 0.25},
        index="k-SII",
        max_order=2,
        n_players=2,
        min_order=1,
        estimated=False,
        baseline_value=2.0,
        player_names=["Na", "Cl"],
        formula="NaCl, <b>route</b> = a",
    )
    page = values._repr_html_()
    assert (
        "<p>NaCl, &lt;b&gt;route&lt;/b&gt; = a: k-SII up to order 2, exact, baseline 2</p>" in page
    )
    assert page.count("data:image/png;base64,") == 1
    assert re.findall(r"<td>([^<]+)</td>", page)[:3] == ["Na", "1", "+1"]
    assert "more" not in page
    # nothing is left open for a notebook to show again
    assert plt.get_fignums() == []
    display = values.plot("waterfall", label="gap (eV)", ax=plt.figure().subplots())
    assert display.ax_.get_xlabel() == "gap (eV)"
    assert display.values is values
    plt.close("all")
