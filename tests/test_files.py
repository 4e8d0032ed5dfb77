"""Files and folders appear in one piece, whatever is there and however it ends."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sklearn_kt._files import check_place, file_digest, new_folder, remove_folder, replacing
from sklearn_kt.exceptions import InputError


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _write(path: str | Path, text: str = "new") -> None:
    with replacing(path) as temporary:
        temporary.write_text(text)


@pytest.mark.usefixtures("umask")
def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    for before in (None, "old"):
        if before:
            path.write_text(before)
            path.chmod(0o604)
        with replacing(path) as temporary:
            assert (temporary.parent, temporary.suffix) == (tmp_path, ".csv")
            temporary.write_text("new")
            assert not before or path.read_text() == before
        assert path.read_text() == "new"
        # of a new file by the umask, of one that was there as they were
        assert _mode(path) == (0o604 if before else 0o640)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_nothing_is_left_of_what_failed(error: type[BaseException], tmp_path: Path) -> None:
    def fail(half: Path) -> None:
        half.write_text("half")
        raise error

    (tmp_path / "there").write_text("old")
    for name in ("there", "new"):
        with pytest.raises(error), replacing(tmp_path / name) as temporary:
            fail(temporary)
    with pytest.raises(error), new_folder(tmp_path / "folder") as staging:
        fail(staging / "half")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_text() == "old"


@pytest.mark.parametrize("opened", [replacing, new_folder])
def test_errors_of_a_full_disk_name_the_file(opened: Any, tmp_path: Path) -> None:
    path = tmp_path / "out"
    full = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
    with full, pytest.raises(OSError, match="No space left") as caught, opened(path):
        full.write(b"1")
    assert caught.value.filename == str(path)
    # also where a library names what it wrote to, which has another name later
    with pytest.raises(OSError, match="No space left") as caught, opened(path) as temporary:
        raise OSError(errno.ENOSPC, "No space left", f"{temporary}")
    assert caught.value.filename == str(path)
    # others are about something else
    with pytest.raises(OSError, match="No space left") as caught, opened(path):
        raise OSError(errno.ENOSPC, "No space left", "elsewhere")
    assert caught.value.filename == "elsewhere"
    with pytest.raises(OSError, match="no route") as caught, opened(path):
        raise OSError(errno.EHOSTUNREACH, "no route")
    assert caught.value.filename is None


def test_names_are_not_those_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # in a container every process may have the number 1, and an earlier one was killed
    monkeypatch.setattr(os, "getpid", lambda: 1)
    path = tmp_path / ("x" * 240 + ".parquet")
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        assert len(os.fsencode(first.name)) < 100
        first.write_text("1")
        second.write_text("2")
    assert path.read_text() == "1"


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target = tmp_path / "far" / "target"
    link, relative = tmp_path / "link", tmp_path / "relative"
    link.symlink_to(target)
    relative.symlink_to("link")
    for text in ("into nothing", "into a file"):
        _write(relative, text)
        assert target.read_text() == text
        assert relative.is_symlink()
        assert link.is_symlink()
    link.unlink()
    link.symlink_to(relative)
    with pytest.raises(OSError, match="symbolic links"):
        _write(link)


@pytest.mark.parametrize("write", [_write, check_place])
def test_what_is_no_place_for_a_file(write: Callable[..., object], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        write(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        write(tmp_path / "no" / "file")
    listening = socket.socket(socket.AF_UNIX)
    with contextlib.closing(listening), contextlib.chdir(tmp_path):
        listening.bind("socket")
        with pytest.raises(InputError, match="neither a file nor a stream"):
            write("socket")
    assert [path.name for path in tmp_path.iterdir()] == ["socket"]


def test_checking_a_place_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kept").write_text("old")
    for path in (tmp_path / "kept", tmp_path / "new", Path(os.devnull), Path("/dev/stdout")):
        check_place(path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_text() == "old"
    # root may write everything
    monkeypatch.setattr(os, "access", lambda path, _: path != tmp_path)
    with pytest.raises(PermissionError, match="new"):
        check_place(tmp_path / "new")


def test_a_file_that_may_not_be_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept"
    path.write_text("old")
    # root may write everything
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="kept"):
        _write(path)
    assert path.read_text() == "old"


def test_streams_are_written_to(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()))
    reader.start()
    _write(fifo, "through")
    reader.join(20)
    assert read == ["through"]
    assert fifo.is_fifo()
    link = tmp_path / "null"
    link.symlink_to(os.devnull)
    for path in (Path(os.devnull), link):
        _write(path)
        assert path.is_char_device()


_STDOUT = """
import sys
from sklearn_kt._files import replacing
sys.stdout.write("before ")
with replacing(sys.argv[1]) as temporary:
    temporary.write_text("written ")
print("after")
"""


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_standard_output_goes_on(name: str, tmp_path: Path) -> None:
    if name == "link":
        name = str(tmp_path / "link")
        Path(name).symlink_to("/dev/stdout")
    command = [sys.executable, "-c", _STDOUT, name]
    expected = "before written after\n"
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == expected
    # also where it is a file that somebody else has begun
    with (tmp_path / "log").open("w") as log:
        log.write("log: ")
        log.flush()
        subprocess.run(command, stdout=log, check=True)
        log.seek(0, os.SEEK_END)
        log.write("end")
    assert (tmp_path / "log").read_text() == f"log: {expected}end"


@pytest.mark.usefixtures("umask")
def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "above" / "folder"
    with new_folder(path) as staging:
        (staging / "a").touch()
        assert not path.exists()
    assert _mode(path) == 0o750
    with pytest.raises(InputError, match="not an empty folder"), new_folder(path):
        pass
    (path / "a").unlink()
    path.chmod(0o705)
    link = tmp_path / "link"
    link.symlink_to(path)
    with new_folder(link) as staging:
        (staging / "b").touch()
    assert [entry.name for entry in path.iterdir()] == ["b"]
    assert _mode(path) == 0o705
    assert list(path.parent.iterdir()) == [path]
    remove_folder(path)
    assert list(path.parent.iterdir()) == []


_CHILD = """
import signal, sys, time
from sklearn_kt.cli import main, tokenize
from sklearn_kt._files import file_digest, new_folder, replacing

def run(args):
    with replacing("out.csv") as file, new_folder("folder") as folder:
        file.write_text("half")
        print("ready", flush=True)
        # a signal that comes just before a sleep is handled only after it
        for _ in range(6000):
            time.sleep(0.01)

tokenize.run = run
# under nohup it is ignored, and stays so
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.exit(main(["tokenize", "in.csv"]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_leave_nothing_behind(number: int, code: int, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _CHILD],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert len(list(tmp_path.iterdir())) == 2
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code
    assert err == "sklearn-kt: interrupted: no file was written\n"
    assert list(tmp_path.iterdir()) == []


def test_two_threads_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out"

    def write(text: str) -> None:
        for _ in range(20):
            _write(path, text * 1000)
            time.sleep(0)

    threads = [threading.Thread(target=write, args=(text,)) for text in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in ("a" * 1000, "b" * 1000)
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_while_a_folder_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a").touch()
    rmtree, calls = shutil.rmtree, []

    def interrupted(*arguments: Any, **options: Any) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise KeyboardInterrupt
        rmtree(*arguments, **options)

    monkeypatch.setattr("shutil.rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        remove_folder(tmp_path / "parts")
    assert list(tmp_path.iterdir()) == []


def test_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    # of FIPS 180-2
    assert file_digest(tmp_path / "file").startswith("ba7816bf8f01cfea")
