"""What README.md shows is what a user sees."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sklearn_kt.cli import build_parser, main
from sklearn_kt.properties import list_properties

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"-?\d+\.?\d*")


def _block(language: str, page: str = README) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    assert found, f"there is no {language} block"
    return found.group(1)


def test_python_example_prints_what_is_shown() -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(_block("python"), "README.md", "exec"), {})
    # every digit: the compounds are such that none is near where it would be rounded otherwise
    _assert_alike(printed.getvalue(), _block("text"), partial(pytest.approx, abs=0.01))


@pytest.mark.parametrize("language", ["python", "text"])
def test_start_page_shows_the_same(language: str) -> None:
    start = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert _block(language, start) == _block(language)


def test_first_command_prints_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    *_, command, shown = re.split(r"^\$ (.*)\n", _block("console"), flags=re.MULTILINE)
    assert main(shlex.split(command)[1:]) == 0
    _assert_alike(capsys.readouterr().out, shown, partial(pytest.approx, rel=0.02))


def _assert_alike(printed: str, shown: str, expected: Callable[[list[float]], Any]) -> None:
    """The same words, and close numbers."""
    assert NUMBER.sub("#", printed).split() == NUMBER.sub("#", shown).split()
    found, told = ([float(n) for n in NUMBER.findall(text)] for text in (printed, shown))
    assert found == expected(told)


def test_command_line_is_understood() -> None:
    commands = re.findall(r"^\$ sklearn-kt (.*)", README, flags=re.MULTILINE)
    assert commands
    for command in commands:
        build_parser().parse_args(shlex.split(command))


def test_make_targets_exist() -> None:
    commands = re.findall(r"`?make ([a-z-]+)", README)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert {"demo", "test"} <= set(commands) <= set(targets)


def test_reads_well_outside_the_repository() -> None:
    targets = re.findall(r"(!?)\[([^\]]*)\]\(([^)]*)\)", README)
    links = [target for picture, _, target in targets if not picture]
    assert all(link.startswith("https://") for link in links)
    # the one picture has no address outside: its text says what it shows where it is not there
    assert [(len(text) > 50, target) for picture, text, target in targets if picture] == [
        (True, "docs/_static/headline.svg")
    ]


def test_it_counts_the_properties() -> None:
    n = list_properties()["property"].nunique()
    assert f"{n} properties as density-functional theory calculates them" in README
    assert f"{n} computed ones" in README
