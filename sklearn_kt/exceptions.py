"""Errors and warnings of :mod:`sklearn_kt`.

Every error derives from :class:`SklearnKTError`; those about input are also
:class:`ValueError`, so scikit-learn's machinery and a user's ``except
ValueError`` both catch them.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "CompositionError",
    "CompositionWarning",
    "ConditionWarning",
    "DatasetError",
    "EngineError",
    "ExplanationWarning",
    "InputError",
    "IntervalWarning",
    "MissingStructureWarning",
    "NearFormulaWarning",
    "PretrainingOverlapWarning",
    "SklearnKTError",
    "TrainingError",
    "TrainingWarning",
    "UnseenElementWarning",
]

# characters of an error of a library that are quoted
_QUOTED = 200


class SklearnKTError(Exception):
    """Base class of every error raised by :mod:`sklearn_kt`."""


class InputError(SklearnKTError, ValueError):
    """Input or a parameter that cannot be used; the text names the way out."""


class CompositionError(InputError):
    """A row that is not a composition.

    Parameters
    ----------
    message : str
        What the user reads: row, value, reason and remedy.
    row : int or None, default=None
        Position of the first bad row.
    value : object, default=None
        The value found there.
    reason : str, default=""
        Why it is not a composition.
    """

    def __init__(
        self, message: str, *, row: int | None = None, value: object = None, reason: str = ""
    ) -> None:
        super().__init__(message)
        self.row = row
        self.value = value
        self.reason = reason

    def __reduce__(self) -> tuple:
        # keyword-only arguments would be lost when joblib sends the error back
        state = {"row": self.row, "value": self.value, "reason": self.reason}
        return type(self), (self.args[0],), state


class DatasetError(InputError):
    """A data set that is missing, incomplete or not what it claims to be."""


class CheckpointError(InputError):
    """Weights that are missing, damaged or of an unknown format."""


class EngineError(SklearnKTError, RuntimeError):
    """A cluster that cannot go on, such as one whose workers die of a task."""


class TrainingError(SklearnKTError, RuntimeError):
    """Training that cannot go on, such as a loss that is not finite."""


class PretrainingOverlapWarning(UserWarning):
    """A benchmark whose answers the bundled checkpoint was pretrained on."""


class CompositionWarning(UserWarning):
    """Rows that were read in a way the user should know about."""


class ConditionWarning(UserWarning):
    """A condition tells nothing, or is unlike those of the training table."""


class MissingStructureWarning(CompositionWarning):
    """Rows have no crystal structure, and so are left out or have no prediction of a model."""


class NearFormulaWarning(CompositionWarning):
    """Crystals are of the integer formula nearest to a composition, not of the composition."""


class UnseenElementWarning(CompositionWarning):
    """Rows to predict hold elements that no training row, or no formula of pretraining, had."""


class TrainingWarning(UserWarning):
    """Training that went on otherwise than it was asked to."""


class IntervalWarning(UserWarning):
    """Intervals that are asked to hold more truths than a table has rows to vouch for."""


class ExplanationWarning(UserWarning):
    """An explanation that says less than it seems to."""


def reason_of(error: BaseException) -> str:
    """Give the first line of a library's error, to quote in ours; its class if it is mute."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(". ")[:_QUOTED]
