"""Files and folders that appear in one piece, or not at all.

What is written gets its name when it is complete. Until then it lies beside its place, under a
random name that begins with a dot; with any exception, also that of Ctrl-C, it disappears.
SIGTERM and SIGHUP end Python without an exception and so leave it there: the command line turns
them into one, and a program that uses the package may do the same.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .exceptions import InputError

__all__ = [
    "DATA",
    "check_place",
    "file_digest",
    "image_format",
    "new_folder",
    "remove_folder",
    "replacing",
]

DATA = Path(__file__).parent / "data"
"""What the package ships beside code; its README.md says what each file is."""

# what a write says of a full disk, a limit or a quota, without the name of the file
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
# of links that lead to one another
_MAX_LINKS = 40


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty file that takes the place of another once all went well.

    Parameters
    ----------
    path : path-like
        Where it goes. A file that is there is replaced, and its permissions are kept; of a
        link, the file that it leads to. A FIFO, a terminal, ``/dev/null`` and ``/dev/stdout``
        are written to at the end.

    Yields
    ------
    temporary : Path
        File to write, with the ending of `path`.

    Raises
    ------
    InputError
        If `path` is a folder, lies in one that does not exist, or is nothing that can be
        written to.
    OSError
        If it may not be written.
    """
    path = Path(path)
    target = _place(path)
    if isinstance(target, int) or _is_stream(target):
        with _stream(path, target) as temporary, _naming(path, temporary):
            yield temporary
        return
    before = target.stat() if target.exists() else None
    temporary = _beside(target)
    try:
        try:
            # at once: better to learn before a long run that the folder cannot be written
            mode = 0o666 if before is None else stat.S_IMODE(before.st_mode)
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        except OSError as error:
            error.filename = str(path)
            raise
        with _naming(path, temporary):
            yield temporary
            written = os.open(temporary, os.O_WRONLY)
            try:
                # the name must not outlive a power cut that the content does not
                os.fsync(written)
            finally:
                os.close(written)
        if before is not None:
            temporary.chmod(stat.S_IMODE(before.st_mode))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def check_place(path: str | os.PathLike[str]) -> None:
    """Check that :func:`replacing` could write a file, without a trace of it.

    Parameters
    ----------
    path : path-like
        As of :func:`replacing`, which raises the same errors: after whatever is done before it.
    """
    path = Path(path)
    target = _place(path)
    if isinstance(target, int) or _is_stream(target):
        return
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def _place(path: Path) -> Path | int:
    """Find where a file goes: a place for one, a stream, or a descriptor."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file.")
    target = _followed(path)
    if isinstance(target, int) or _is_stream(target):
        return target
    if not target.parent.is_dir():
        raise InputError(f"The folder {target.parent} for {path.name} does not exist.")
    if target.exists():
        if not target.is_file():
            raise InputError(f"{path} is neither a file nor a stream; name another file.")
        if not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return target


def _is_stream(target: Path) -> bool:
    """Tell a FIFO, a terminal or ``/dev/null``, which are written to where they are."""
    return target.is_fifo() or target.is_char_device()


def image_format(path: str | os.PathLike[str]) -> str:
    """Tell the format of a picture by its name; without an ending it is PNG."""
    from matplotlib.backend_bases import FigureCanvasBase

    ending = Path(path).suffix[1:].lower() or "png"
    known = FigureCanvasBase.get_supported_filetypes()
    if ending not in known:
        raise InputError(
            f"{path}: pictures cannot be written as .{ending}. The formats are {', '.join(known)}."
        )
    return ending


@contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty folder that gets its name once all went well.

    Parameters
    ----------
    path : path-like
        Where it goes: nothing may be there, or an empty folder, whose permissions are kept. The
        folders above it are made.

    Yields
    ------
    temporary : Path
        Folder to fill.

    Raises
    ------
    InputError
        If `path` exists and is no empty folder.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{path} exists and is not an empty folder; choose another.")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(target)
    try:
        temporary.mkdir()
        with _naming(path, temporary):
            yield temporary
        if target.exists():
            shutil.copymode(target, temporary)
            target.rmdir()
        temporary.rename(target)
    finally:
        _remove_all(temporary)


@contextmanager
def _naming(path: str | os.PathLike[str], temporary: Path) -> Iterator[None]:
    """Name the file that a full disk has no place for, not what stood for it."""
    try:
        yield
    except OSError as error:
        passing = str(error.filename or temporary).startswith(str(temporary))
        if error.errno in _FULL and passing:
            error.filename = str(path)
        raise


def remove_folder(path: Path) -> None:
    """Remove a folder so that nobody ever finds a part of it under its name.

    Parameters
    ----------
    path : Path
        Folder. What of it cannot be deleted stays under a random name that begins with a dot.
    """
    dead = _beside(path)
    try:
        path.rename(dead)
    finally:
        _remove_all(dead)


def file_digest(path: Path) -> str:
    """Tell a file from others by its bytes: their SHA-256, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_all(folder: Path) -> None:
    try:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        # once more where Ctrl-C or a signal stopped it
        shutil.rmtree(folder, ignore_errors=True)


def _beside(target: Path) -> Path:
    """Think of a name that no other process thinks of, not longer than is allowed."""
    return target.with_name(f".{target.stem[:40]}-{secrets.token_hex(8)}{target.suffix[:16]}")


def _followed(path: Path) -> Path | int:
    """Follow links to what is none, or to a descriptor that this process has open."""
    for _ in range(_MAX_LINKS):
        here = Path(os.path.realpath(path.parent), path.name)
        # a file there is not replaced: others, such as a shell, write to it too
        if found := re.fullmatch(rf"(?:/dev|/proc/{os.getpid()})/fd/(\d+)", str(here)):
            return int(found[1])
        if not here.is_symlink():
            return here
        path = here.parent / here.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


@contextmanager
def _stream(path: Path, target: Path | int) -> Iterator[Path]:
    """Give a file whose bytes go to a stream at the end."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / f"output{path.suffix}"
        temporary.touch()
        yield temporary
        if isinstance(target, int) and sys.stdout is not None:
            # what was printed came before
            sys.stdout.flush()
        try:
            opened = os.dup(target) if isinstance(target, int) else os.open(target, os.O_WRONLY)
            with temporary.open("rb") as content, os.fdopen(opened, "wb") as stream:
                shutil.copyfileobj(content, stream)
        except OSError as error:
            error.filename = str(path)
            raise
