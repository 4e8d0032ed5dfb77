"""The command line: ``sklearn-kt`` and ``python -m sklearn_kt``.

One file a command, with its arguments and what it does; ``main.py`` lists them. Results go to
stdout, progress and messages to stderr. What a user can correct ends with one line on stderr and
exit code 2; files are written under a temporary name and renamed when complete, and Ctrl-C,
SIGTERM and SIGHUP leave none of those behind.
"""

from .main import build_parser, main

__all__ = ["build_parser", "main"]
