"""What a warning of an example looks like on its page: without the folders of who built it."""

from __future__ import annotations

import warnings
from typing import Any


def reset(gallery_conf: dict[str, Any], fname: str) -> None:
    """Before each example: processes of a parallel build start anew."""
    del gallery_conf, fname
    # of libraries, about themselves
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.formatwarning = spelled


def spelled(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """Give the kind of a warning and what it says, as Python does, without the file."""
    del filename, lineno, line
    return f"{category.__name__}: {message}\n"
