"""Monte-Carlo tree search for texts of crystals that a scorer likes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from .model import Allowed, CrystaLLM

__all__ = ["Found", "tree_search"]

# A token more probable than this is no choice.
_SURE = 0.99
# Steepness of the reward in standard deviations of the scores.
_STEEPNESS = 2.0


@dataclass
class _Node:
    """A text so far, and what came of those that begin with it."""

    ids: list[int]
    prior: float = 1.0
    visits: int = 0
    value: float = 0.0
    children: list[_Node] | None = None


@dataclass
class Found:
    """What a simulation came to.

    Parameters
    ----------
    text : str
        Whole.
    log_likelihood : float
        Mean over the tokens that were drawn after the tree.
    finished : bool
        False if the text was cut off at the length limit.
    score : float, default=nan
        Of the scorer, lower is better; NaN if the text is not valid.
    penalty : float, default=-1.0
        Reward if there is no score.
    """

    text: str
    log_likelihood: float
    finished: bool
    score: float = float("nan")
    penalty: float = -1.0


@dataclass
class _Rewards:
    """Rewards from scores, by the mean and deviation of those seen so far."""

    scores: list[float] = field(default_factory=list)

    def __call__(self, found: Found) -> float:
        if not math.isfinite(found.score):
            return found.penalty
        self.scores.append(found.score)
        deviation = float(np.std(self.scores))
        if deviation == 0:
            return 0.5
        z = (found.score - float(np.mean(self.scores))) / deviation
        return 1 / (1 + math.exp(_STEEPNESS * z))


def tree_search(
    model: CrystaLLM,
    prompt: str,
    judge: Callable[[Found], None],
    *,
    n_simulations: int,
    exploration: float = 5.0,
    width: int = 10,
    temperature: float = 1.0,
    top_k: int | None = 10,
    top_p: float | None = None,
    max_new_tokens: int = 3000,
    allowed: Allowed | None = None,
    seed: int = 0,
) -> list[Found]:
    """Search for texts, where earlier ones of the same beginning were good.

    Parameters
    ----------
    model : CrystaLLM
        Gives the tokens' probabilities.
    prompt : str
        Start of the text, in the plain dialect.
    judge : callable
        Fills in ``score`` or ``penalty`` of a :class:`Found` that is finished.
    n_simulations : int
        Texts to write.
    exploration : float, default=5.0
        Weight of the model's probabilities against what was found.
    width : int, default=10
        Tokens that are tried at each place.
    temperature, top_k, top_p, max_new_tokens, allowed
        Of the rest of each text, as in :meth:`CrystaLLM.generate`.
    seed : int, default=0
        Of the draws.

    Returns
    -------
    found : list of Found
        One per simulation, in their order.

    Notes
    -----
    Each simulation goes down the tree by the PUCT rule [1]_, adds the next tokens to
    the place it comes to, and lets the model write the rest. The reward is a sigmoid
    of the standardised score, as in CrystaLLM [2]_.

    References
    ----------
    .. [1] D. Silver et al., "Mastering the game of Go without human knowledge",
       Nature 550, 354 (2017).
    .. [2] L. M. Antunes, K. T. Butler, R. Grau-Crespo, "Crystal structure generation
       with autoregressive large language modeling", Nature Communications 15, 10570
       (2024).
    """
    start = model.tokenizer.encode(prompt)
    newline = model.tokenizer.encode("\n")[0]
    root, rewards, found = _Node(start), _Rewards(), []
    # from here on it is asked with the prompt
    free = None if allowed is None else partial(_after_prompt, allowed, len(start))
    for turn in range(n_simulations):
        path = _descend(model, root, newline, exploration, width, free)
        leaf = path[-1]
        digest = hashlib.sha256(f"{seed}\n{turn}".encode()).digest()
        [(ids, likelihood, finished)] = (
            [([], 0.0, True)]
            if leaf.ids[-2:] == [newline, newline]
            else model.extend(
                leaf.ids,
                1,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                max_new_tokens=max_new_tokens - (len(leaf.ids) - len(start)),
                allowed=None if free is None else partial(_continued, free, leaf.ids),
                seed=int.from_bytes(digest[:6], "little"),
            )
        )
        text = prompt + model.tokenizer.decode([*leaf.ids[len(start) :], *ids])
        result = Found(text, likelihood, finished)
        if finished:
            judge(result)
        reward = rewards(result)
        for node in path:
            node.visits += 1
            node.value += reward
        found.append(result)
    return found


def _descend(
    model: CrystaLLM,
    root: _Node,
    newline: int,
    exploration: float,
    width: int,
    allowed: Allowed | None,
) -> list[_Node]:
    """Path to a place that has not been tried yet."""
    path = [root]
    while True:
        node = path[-1]
        if node.ids[-2:] == [newline, newline] or len(node.ids) >= model.context:
            return path
        if node.children is None:
            # one simulation first tells what this place is worth
            if node.visits == 0 and node is not root:
                return path
            node.children = _children(model, node, newline, width, allowed)
        total = math.sqrt(node.visits + 1)

        def merit(child: _Node, total: float = total) -> float:
            mean = child.value / child.visits if child.visits else 0.0
            return mean + exploration * child.prior * total / (1 + child.visits)

        path.append(max(node.children, key=merit))


def _after_prompt(allowed: Allowed, n_prompt: int, ids: Sequence[int]) -> Sequence[int]:
    return allowed(ids[n_prompt:])


def _continued(allowed: Allowed, start: list[int], ids: Sequence[int]) -> Sequence[int]:
    return allowed([*start, *ids])


def _children(
    model: CrystaLLM, node: _Node, newline: int, width: int, allowed: Allowed | None
) -> list[_Node]:
    """Next tokens by probability; those that are no choice are gone through."""
    ids = list(node.ids)
    while True:
        probabilities = model.probabilities(ids)
        if allowed is not None:
            open_ones = np.zeros_like(probabilities)
            tokens = list(allowed(ids))
            open_ones[tokens] = probabilities[tokens]
            probabilities = open_ones / max(open_ones.sum(), np.finfo(float).tiny)
            width = min(width, len(tokens))
        best = np.argsort(-probabilities, kind="stable")[:width]
        ended = ids[-1] == newline and best[0] == newline
        if probabilities[best[0]] < _SURE or ended or len(ids) + 1 >= model.context:
            break
        ids.append(int(best[0]))
    total = max(float(probabilities[best].sum()), np.finfo(float).tiny)
    return [_Node([*ids, int(i)], float(probabilities[i]) / total) for i in best]
