"""Screening of large tables and enumerations of compositions by a fitted model.

:func:`screen` streams formulas through a model into a table, in constant memory; a run
that was stopped goes on. :func:`charge_neutral_formulas` enumerates candidates.
"""

from __future__ import annotations

from .enumeration import charge_neutral_formulas
from .screener import ScreeningResult, screen

__all__ = ["ScreeningResult", "charge_neutral_formulas", "screen"]
