"""Explanations: what each element, and each group of elements, adds to a prediction.

The elements of a formula are the players of a cooperative game, the prediction for
those present is what a coalition is worth, and Shapley values and Shapley
interactions of any order share the prediction out among them. shapiq does the
mathematics; this package turns coalitions into compositions and asks the model.

Notes
-----
**What "absent" means** changes what is explained, so it is a choice (`baseline`):

``"drop"``
    The element is taken out and the others are renormalised: LiFePO4 without Li is
    FePO4. It works for every model. Nothing is left of the empty coalition, which is
    worth the mean prediction over `background`; without one, over the pure elements
    hydrogen to plutonium, just as a coalition of one is worth a pure element.
``"background"``
    The element's share of the atoms is filled with a composition of `background`, and
    the predictions are averaged over the whole background: ``x_S + (1 - sum(x_S)) b``.
    The empty coalition is worth the mean over the background. Unlike ``"drop"`` it is
    continuous: an element of which there is next to nothing has next to no effect. It
    costs ``len(background)`` predictions per coalition.
``"mask"``
    The element's token becomes ``[MASK]`` and its amount is hidden, as while the encoder
    was pretrained; the visible amounts stay what they were. Only networks on the element
    encoder can see this (``readout="head"``). Readouts cannot, for they see atomic
    fractions and descriptors too, and a hidden fraction is no number; nor can a text encoder
    or a pipeline. The network's head was trained on whole formulas, so that its answers to
    masked ones are extrapolations.

**Conditions** beside a formula, such as a temperature, are players too. Absent, a condition is what
it typically is (median or most frequent value of `background`, else of the training table), and
with ``"background"`` what it is in the row that also fills in for elements.

**Efficiency.** Values of k-SII, STII, FSII and SV add up to the prediction minus
the baseline; those of SII do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .explain import explain, explain_dataset
from .values import INDICES

if TYPE_CHECKING:
    from .games import CompositionInteractions

__all__ = ["INDICES", "CompositionInteractions", "explain", "explain_dataset"]


def __getattr__(name: str) -> object:
    # its base class is shapiq's, which takes seconds to import
    if name == "CompositionInteractions":
        from .games import CompositionInteractions

        return CompositionInteractions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
