"""What every ``fit`` of the package runs in: it ends complete, or leaves nothing behind."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from sklearn.base import BaseEstimator, _fit_context

__all__ = ["fit_context"]

_Fit = TypeVar("_Fit", bound=Callable[..., Any])


def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[_Fit], _Fit]:
    """Decorate a ``fit``: it checks the parameters, and ends complete or not at all.

    Parameters
    ----------
    prefer_skip_nested_validation : bool
        As in scikit-learn's ``_fit_context``: True unless parameters hold estimators.

    Returns
    -------
    decorator : callable
        For methods that fit an estimator from the beginning, set attributes whose names end in
        an underscore, and return it.

    Notes
    -----
    An exception, Ctrl-C included, leaves the estimator without any fit, also where it had one
    before: it raises ``NotFittedError`` rather than predict by halves of two fits. The method
    runs on a twin of the estimator, and all that it has learned is handed over at once, which
    no interrupt can divide; there is nothing to clean up that a second one could prevent.
    """

    def decorate(fit: _Fit) -> _Fit:
        run = _fit_context(prefer_skip_nested_validation=prefer_skip_nested_validation)(fit)

        @functools.wraps(fit)
        def whole_fit(self: BaseEstimator, *args: Any, **kwargs: Any) -> BaseEstimator:
            kept = [k for k in vars(self) if not k.endswith("_")]
            self.__dict__ = {name: vars(self)[name] for name in kept}
            twin = copy.copy(self)
            run(twin, *args, **kwargs)
            self.__dict__ = vars(twin)
            return self

        return cast("_Fit", whole_fit)

    return decorate
