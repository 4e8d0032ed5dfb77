"""Screening of large tables and enumerations of compositions by a fitted model.

:func:`screen` streams formulas through a model into a table, in constant memory; a run
that was stopped goes on. :func:`charge_neutral_formulas` enumerates candidates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .enumeration import charge_neutral_formulas
    from .screener import ScreeningResult, screen

__all__ = ["ScreeningResult", "charge_neutral_formulas", "screen"]


def __getattr__(name: str) -> object:
    # late: the command line reads filters before the seconds that torch takes to load
    if name in __all__:
        from . import enumeration, screener

        return getattr(enumeration if name == "charge_neutral_formulas" else screener, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
