"""From games to interaction values, by all coalitions or a sample of them; shapiq computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_kt.exceptions import InputError
from sklearn_kt.randomness import random_state_of

if TYPE_CHECKING:
    from sklearn_kt.compositions import CompositionBatch

    from .games import CompositionGame, CompositionInteractions, Worth

__all__ = ["APPROXIMATORS", "CHUNK", "INDICES", "Options", "chunks", "game_of", "play"]

INDICES: tuple[str, ...] = ("k-SII", "SII", "STII", "FSII", "SV")
"""Interaction indices: k-Shapley, Shapley, Shapley-Taylor, faithful Shapley; Shapley values."""

# class of shapiq by approximator and index
APPROXIMATORS: dict[str, dict[str, str]] = {
    "kernel": {
        "k-SII": "KernelSHAPIQ",
        "SII": "KernelSHAPIQ",
        "FSII": "RegressionFSII",
        "SV": "KernelSHAP",
    },
    "svarm": {**dict.fromkeys(INDICES, "SVARMIQ"), "SV": "SVARM"},
    "permutation": {
        "k-SII": "PermutationSamplingSII",
        "SII": "PermutationSamplingSII",
        "STII": "PermutationSamplingSTII",
        "SV": "PermutationSamplingSV",
    },
}
_BUDGET = 2**12
# shapiq's exact FSII holds a matrix of coalitions squared: 134 MB for 12 players
_MAX_EXACT_FSII = 12
# coalitions of a data set that go through the model together
CHUNK = 2**16


class Options:
    """How interaction values are computed from a game."""

    def __init__(
        self,
        index: str,
        max_order: int,
        budget: int | None,
        approximator: str,
        random_state: Any,
    ) -> None:
        # one of shapiq's literals
        self.index: Any = index
        self.max_order = 1 if index == "SV" else max_order
        self.budget = _BUDGET if budget is None else budget
        self.approximator = approximator
        self.random_state = random_state

    def exact(self, n_players: int) -> bool:
        """Tell whether all coalitions of so many players are evaluated."""
        if self.index == "FSII" and self.max_order > 1 and n_players > _MAX_EXACT_FSII:
            return False
        return 2**n_players <= self.budget

    def values(self, game: CompositionGame, formula: str) -> CompositionInteractions:
        """Compute the values of a game, exactly if the budget allows."""
        from shapiq.game_theory.exact import ExactComputer

        from .games import CompositionInteractions

        order = min(self.max_order, game.n_players)
        if self.exact(game.n_players):
            values = ExactComputer(game)(self.index, order)
        else:
            values = self._approximate(game, order)
        return CompositionInteractions.from_values(values, game.players.names, formula)

    def _approximate(self, game: CompositionGame, order: int) -> Any:
        from shapiq import approximator as shapiq_approximators

        name = self.approximator
        if name == "auto":
            name = "permutation" if self.index == "STII" else "kernel"
        if self.index not in APPROXIMATORS[name]:
            able = [a for a, indices in APPROXIMATORS.items() if self.index in indices]
            raise InputError(
                f"approximator={name!r} does not estimate {self.index}; use one of "
                f"{', '.join(map(repr, able))}, or budget={2**game.n_players} for exact values."
            )
        name = APPROXIMATORS[name][self.index]
        seed = random_state_of(self.random_state).randint(np.iinfo(np.int32).max)
        arguments: dict[str, Any] = {"random_state": int(seed)}
        if self.index != "SV":
            arguments["max_order"] = order
            if name in ("KernelSHAPIQ", "SVARMIQ", "PermutationSamplingSII"):
                arguments["index"] = self.index
        sampler = getattr(shapiq_approximators, name)(game.n_players, **arguments)
        # as many coalitions as there are values to find, the two ends, and one permutation
        permutations = name.startswith("Permutation")
        needed = len(sampler.interaction_lookup) + 2 + permutations * sampler.iteration_cost
        if self.budget < needed:
            raise InputError(
                f"budget={self.budget} is too small for {self.index} up to order {order} of "
                f"{game.n_players} players: {name} needs at least {needed} coalitions, and "
                f"{2**game.n_players} give exact values."
            )
        # permutations come a few at a time unless told otherwise
        batch = {"batch_size": self.budget} if permutations else {}
        return sampler.approximate(self.budget, game, **batch)


def game_of(
    row: CompositionBatch,
    players: str,
    baseline: str,
    worth: Worth,
    conditions: Mapping[str, Any] | None = None,
) -> CompositionGame:
    """Make the players of a composition, and its conditions, play."""
    try:
        from .games import CompositionGame, Players
    except ImportError as error:
        raise InputError(
            "explanations need the package shapiq: pip install 'sklearn_kt[explain]'."
        ) from error
    if players == "elements":
        return CompositionGame(Players.elements(row, conditions), worth)
    return CompositionGame(Players.tokens(row, conditions, ones=baseline == "mask"), worth)


def play(games: Sequence[CompositionGame], worth: Callable) -> None:
    """Evaluate every coalition of every game in one batch."""
    from .games import Coalitions, all_coalitions

    requests = [Coalitions(game.players, all_coalitions(game.n_players)) for game in games]
    if requests:
        for game, request, values in zip(games, requests, worth(requests), strict=True):
            game.store(request.members, values)


def chunks(n_players: np.ndarray, options: Options) -> list[slice]:
    """Cut games into runs that have so many coalitions together."""
    sizes = [2**n if options.exact(n) else 0 for n in n_players.tolist()]
    parts = np.cumsum(sizes) // CHUNK
    cuts = [0, *(np.flatnonzero(np.diff(parts)) + 1).tolist(), len(sizes)]
    return [slice(a, b) for a, b in pairwise(cuts)]
