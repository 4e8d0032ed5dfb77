"""The parser, and how the program ends: errors, signals, a reader that goes away."""

from __future__ import annotations

import _thread
import argparse
import contextlib
import io
import os
import shlex
import shutil
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sklearn_kt._version import __version__
from sklearn_kt.exceptions import SklearnKTError

from . import (
    evaluate,
    explain,
    fit,
    info,
    inspect,
    predict,
    pretrain,
    properties,
    screen,
    structures,
    tokenize,
    train_crystallm,
)
from .console import one_line_warnings, printable, tell

__all__ = ["build_parser", "main"]

# in the order of the help; each is a file with ``add_parser(commands)``
COMMANDS = (
    inspect,
    evaluate,
    fit,
    info,
    predict,
    properties,
    screen,
    tokenize,
    explain,
    structures,
    train_crystallm,
    pretrain,
)

# seconds in which a destructor comes to its end
_MOMENT = 0.05


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str or None, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    code : int
        0 on success, 2 for an error that the user can correct, 130 after Ctrl-C, 143 after
        SIGTERM, 129 after SIGHUP, 141 when the reader of stdout went away.
    """
    if sys.stderr is None:
        # messages to None would go to stdout, among the results
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        tell("error", f"stdout is closed; redirect it to a file or to {os.devnull}.")
        return 2
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    if "_ARGCOMPLETE" in os.environ:
        # a shell asks what may come next; this answers and ends the process
        import argcomplete

        argcomplete.autocomplete(parser)
    if not arguments:
        parser.print_help()
        return 0
    args = parser.parse_args(arguments)
    args.command_line = printable(shlex.join(["sklearn-kt", *arguments]))
    if isinstance(sys.stdout, io.TextIOWrapper):
        # formulas and units are not ASCII everywhere, and CSV brings its own line ends
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    try:
        with one_line_warnings(), _signals_unwind():
            args.run(args)
            sys.stdout.flush()
    except BrokenPipeError:
        _let_go_of_stdout()
        return 141
    except (KeyboardInterrupt, _Terminated) as stop:
        tell("interrupted", getattr(args, "interrupted", "no file was written"))
        return getattr(stop, "code", 130)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        tell("error", f"{place}{error.strerror or error}")
        _let_go_of_stdout()
        return 2
    except ValueError as error:
        if not isinstance(error, SklearnKTError) and not _is_parameter_error(error):
            raise
        tell("error", str(error))
        return 2
    return 0


def _is_parameter_error(error: ValueError) -> bool:
    """Tell an option out of the range of the parameter that it sets."""
    from sklearn.utils._param_validation import InvalidParameterError

    return isinstance(error, InvalidParameterError)


def _let_go_of_stdout() -> None:
    """Drop what stdout does not take: the interpreter would try once more at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Terminated(SystemExit):
    """A signal that asks the process to end, with the exit code that tells which."""


@contextlib.contextmanager
def _signals_unwind() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an exception, so that temporary files disappear.

    It ends the program wherever it comes, as that of Ctrl-C does.
    """
    # Windows has no SIGHUP, nohup ignores it, and only the main thread may ask
    numbers = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
    caught = [
        number
        for number in numbers
        if number is not None
        and signal.getsignal(number) is signal.SIG_DFL
        and threading.current_thread() is threading.main_thread()
    ]

    def end(number: int, _: object) -> None:
        # they often come together, and one is enough
        for other in caught:
            signal.signal(other, signal.SIG_IGN)
        raise _Terminated(128 + number)

    for number in caught:
        signal.signal(number, end)
    hook = sys.unraisablehook

    def again(unraisable: Any) -> None:
        # a destructor swallows what stops the program: stop it a moment later
        stop = unraisable.exc_value
        if not isinstance(stop, KeyboardInterrupt | _Terminated):
            hook(unraisable)
            return
        number = int(signal.SIGINT)
        if isinstance(stop, _Terminated):
            number = int(str(stop.code)) - 128
            signal.signal(number, end)
        threading.Timer(_MOMENT, _thread.interrupt_main, [number]).start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


class _Parser(argparse.ArgumentParser):
    """A parser whose help ends with examples, and that takes options by their full names only.

    A script that shortens a name would break when another option with that beginning is added.
    """

    def __init__(self, *, description: str, examples: Sequence[str], **options: Any) -> None:
        # as argparse does with text that it wraps itself, which would run examples together
        width = shutil.get_terminal_size().columns - 2
        super().__init__(
            description=textwrap.fill(description, width),
            epilog="\n".join(["examples:", *(f"  sklearn-kt {line}" for line in examples)]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,
        )


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands.

    Returns
    -------
    parser : argparse.ArgumentParser
        What it parses has ``run``, the function that does it.
    """
    parser = _Parser(
        prog="sklearn-kt",
        description="Predict materials properties from chemical formulas.",
        examples=("properties MgO W BaTiO3", "fit gaps.csv --target gap -o gap.model"),
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser
