"""Compositions as cooperative games of shapiq.

This module imports shapiq, which takes seconds: it is imported inside functions.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from shapiq.game import Game
from shapiq.interaction_values import InteractionValues

from sklearn_kt.compositions import ELEMENTS, CompositionBatch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sklearn_kt.plotting import InteractionDisplay

__all__ = ["Coalitions", "CompositionGame", "CompositionInteractions", "Players", "all_coalitions"]

_JOINT = "-"
# interactions that print shows
_SHOWN = 10


@dataclass(frozen=True, eq=False)
class Players:
    """Who plays for one composition.

    Parameters
    ----------
    atomic_numbers, amounts : ndarray of shape (n_elements,)
        The composition as written.
    names : tuple of str
        One per player.
    symbol : ndarray of int, shape (n_elements,)
        Player without whom the element is absent.
    amount : ndarray of int, shape (n_elements,)
        Player without whom the element's amount is not known; -1 for nobody.
    conditions : mapping of str to object, default={}
        Value of each condition, which are the last players, in this order.
    """

    atomic_numbers: np.ndarray
    amounts: np.ndarray
    names: tuple[str, ...]
    symbol: np.ndarray
    amount: np.ndarray
    conditions: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def elements(
        cls, row: CompositionBatch, conditions: Mapping[str, Any] | None = None
    ) -> Players:
        """One player per element, its symbol together with its amount, and per condition.

        Parameters
        ----------
        row : CompositionBatch
            Of one row.
        conditions : mapping of str to object or None, default=None
            Value of each.

        Returns
        -------
        Players
            In written order.
        """
        names = tuple(ELEMENTS[z - 1] for z in row.atomic_numbers)
        each = np.arange(len(names))
        conditions = conditions or {}
        return cls(row.atomic_numbers, row.amounts, (*names, *conditions), each, each, conditions)

    @classmethod
    def tokens(
        cls, row: CompositionBatch, conditions: Mapping[str, Any] | None = None, *, ones: bool
    ) -> Players:
        """Symbols and amounts as players of their own, and conditions.

        Parameters
        ----------
        row : CompositionBatch
            Of one row.
        conditions : mapping of str to object or None, default=None
            Value of each.
        ones : bool
            Whether an amount of 1, which a formula does not spell, plays too.

        Returns
        -------
        Players
            In written order.
        """
        names: list[str] = []
        symbol, amount = [], []
        numbers = row.amounts.tolist()
        for z, number in zip(row.atomic_numbers.tolist(), numbers, strict=True):
            symbol.append(len(names))
            names.append(ELEMENTS[z - 1])
            if ones or number != 1:
                amount.append(len(names))
                names.append(f"{number:g} ({ELEMENTS[z - 1]})")
            else:
                amount.append(-1)
        conditions = conditions or {}
        return cls(
            row.atomic_numbers,
            row.amounts,
            (*names, *conditions),
            np.array(symbol),
            np.array(amount),
            conditions,
        )


@dataclass(frozen=True, eq=False)
class Coalitions:
    """Coalitions of one composition's players.

    Parameters
    ----------
    players : Players
        Of one composition.
    members : ndarray of bool, shape (n_coalitions, n_players)
        Who takes part.
    """

    players: Players
    members: np.ndarray

    def __len__(self) -> int:
        return len(self.members)

    @property
    def present(self) -> np.ndarray:
        """Which elements take part, bool, shape (n_coalitions, n_elements)."""
        return self.members[:, self.players.symbol]

    @property
    def known(self) -> np.ndarray:
        """Of which elements the amount takes part, bool, shape (n_coalitions, n_elements)."""
        return self.members[:, self.players.amount] | (self.players.amount < 0)

    @property
    def given(self) -> np.ndarray:
        """Which conditions take part, bool, shape (n_coalitions, n_conditions)."""
        return self.members[:, self.members.shape[1] - len(self.players.conditions) :]


Worth = Callable[[Sequence[Coalitions]], list[np.ndarray]]
"""What the coalitions of several compositions are worth."""


def all_coalitions(n_players: int) -> np.ndarray:
    """Every coalition, the empty one first.

    Parameters
    ----------
    n_players : int
        Number of players.

    Returns
    -------
    ndarray of bool, shape (2**n_players, n_players)
        Row ``i`` is ``i`` in binary.
    """
    numbers = np.arange(1 << n_players)
    return (numbers[:, None] >> np.arange(n_players)) & 1 == 1


class CompositionGame(Game):
    """A cooperative game of the players of one composition.

    Parameters
    ----------
    players : Players
        Of the composition.
    worth : callable
        Takes a list of :class:`Coalitions`, gives a list of arrays.

    Notes
    -----
    The game is not normalised: the empty coalition is worth the baseline.
    """

    def __init__(self, players: Players, worth: Worth) -> None:
        super().__init__(len(players.names), normalize=False, player_names=list(players.names))
        self.players = players
        self._worth = worth

    def value_function(self, coalitions: np.ndarray) -> np.ndarray:
        """Ask the model about coalitions, all in one batch."""
        return self._worth([Coalitions(self.players, np.asarray(coalitions, dtype=bool))])[0]

    def store(self, members: np.ndarray, values: np.ndarray) -> None:
        """Remember what coalitions are worth, so that the model is not asked again."""
        for row, value in zip(members, values.tolist(), strict=True):
            self.game_values[tuple(np.flatnonzero(row).tolist())] = value


class CompositionInteractions(InteractionValues):
    """Interaction values of one composition, with the names of its players.

    Everything of :class:`shapiq.InteractionValues` is there; its plots take
    ``feature_names=values.player_names``. A notebook shows the values as pictures and a table.

    Parameters
    ----------
    *args
        Of :class:`shapiq.InteractionValues`.
    player_names : sequence of str
        One per player; interactions are tuples of positions in it.
    formula : str
        The composition.
    **kwargs
        Of :class:`shapiq.InteractionValues`.

    Attributes
    ----------
    player_names : list of str
        One per player.
    formula : str
        The composition.
    interactions : dict of tuple of int to float
        Value of each interaction; those that are missing are 0.
    baseline_value : float
        What the empty coalition is worth.
    estimated : bool
        Whether an approximator sampled the coalitions.

    Examples
    --------
    >>> from sklearn_kt import explain
    >>> values = explain(lambda formulas: [len(f) for f in formulas], "NaCl", max_order=1)
    >>> values.player_names
    ['Na', 'Cl']
    """

    def __init__(
        self, *args: Any, player_names: Sequence[str] = (), formula: str = "", **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.player_names = [*player_names] or [str(i) for i in range(self.n_players)]
        self.formula = formula

    @classmethod
    def from_values(
        cls, values: InteractionValues, player_names: Sequence[str], formula: str
    ) -> CompositionInteractions:
        """Name the players of shapiq's values.

        Parameters
        ----------
        values : shapiq.InteractionValues
            Of a game of one composition.
        player_names : sequence of str
            One per player.
        formula : str
            The composition.

        Returns
        -------
        CompositionInteractions
            The same values.
        """
        return cls(
            {players: float(value) for players, value in values.interactions.items()},
            index=values.index,
            max_order=values.max_order,
            n_players=values.n_players,
            min_order=values.min_order,
            estimated=values.estimated,
            estimation_budget=values.estimation_budget,
            baseline_value=float(values.baseline_value),
            player_names=player_names,
            formula=formula,
        )

    def subsets(self) -> list[tuple[int, ...]]:
        """Every interaction from order 1 to ``max_order``.

        Returns
        -------
        list of tuple of int
            Also those of value 0, which ``interactions`` may leave out.
        """
        players = range(self.n_players)
        return [s for k in range(1, self.max_order + 1) for s in combinations(players, k)]

    def name(self, interaction: tuple[int, ...]) -> str:
        """Spell an interaction.

        Parameters
        ----------
        interaction : tuple of int
            Positions of its players.

        Returns
        -------
        str
            Such as ``"Fe-O"``.
        """
        return _JOINT.join(self.player_names[player] for player in interaction)

    def to_frame(self) -> pd.DataFrame:
        """Table of all interactions, the strongest first.

        Returns
        -------
        pandas.DataFrame
            ``interaction``, ``order`` and ``value``; the baseline is not a row.
        """
        subsets = self.subsets()
        table = pd.DataFrame(
            {
                "interaction": [self.name(subset) for subset in subsets],
                "order": [len(subset) for subset in subsets],
                "value": [self[subset] for subset in subsets],
            }
        )
        order = table["value"].abs().sort_values(ascending=False, kind="stable").index
        return table.loc[order].reset_index(drop=True)

    def plot(
        self,
        kind: str = "network",
        *,
        label: str = "prediction",
        max_display: int = 12,
        ax: Axes | None = None,
    ) -> InteractionDisplay:
        """Plot the values.

        Parameters
        ----------
        kind : {"network", "waterfall", "force", "upset"}, default="network"
            As for :meth:`sklearn_kt.plotting.InteractionDisplay.plot`.
        label : str, default="prediction"
            What is predicted, with its unit.
        max_display : int, default=12
            Largest values that are shown one by one.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        sklearn_kt.plotting.InteractionDisplay
            Plotted.
        """
        from sklearn_kt.plotting import InteractionDisplay

        return InteractionDisplay(self).plot(kind, label=label, max_display=max_display, ax=ax)

    def _repr_html_(self) -> str:
        from sklearn_kt.plotting._style import embedded
        from sklearn_kt.plotting.interactions import draw_explanation

        head, table = self._head(), self.to_frame()
        more = f"<p>and {len(table) - _SHOWN} more</p>" if len(table) > _SHOWN else ""
        rows = table.head(_SHOWN).to_html(index=False, border=0, float_format="{:+.4g}".format)
        return (
            f"<p>{html.escape(head)}</p>"
            f'<img src="{embedded(draw_explanation(self))}" alt="{html.escape(head)}"'
            f' style="max-width:100%;background:#fff">{rows}{more}'
        )

    def _head(self) -> str:
        """Say what the values are."""
        kind = "estimated" if self.estimated else "exact"
        head = f"{self.formula}: {self.index} up to order {self.max_order}, {kind}"
        return f"{head}, baseline {self.baseline_value:.6g}"

    def __str__(self) -> str:
        return f"{self._head()}\n{self.to_frame().head(_SHOWN).to_string(index=False)}"

    def __copy__(self) -> CompositionInteractions:
        return self.from_values(self, self.player_names, self.formula)
