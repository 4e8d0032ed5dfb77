"""Declared ranges, pinned versions and what is installed agree; nothing comes unpinned."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINNED = "constraints.txt"
LOWEST = "constraints-lowest.txt"
# its lower end is allowed, but not at hand to prove
UNPROVEN = {"torch"}


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = {}
    for line in lines:
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"([a-zA-Z0-9._-]+)==([0-9][0-9a-z.]*)", line)
        assert match, f"{name}: {line!r} is not one exact version from the usual index"
        key = canonicalize_name(match[1])
        assert key not in found, f"{name} pins {key} twice"
        found[key] = match[2]
    return found


def declared(*extras: str) -> dict[str, Requirement]:
    texts = [*PROJECT["dependencies"], *(text for extra in extras for text in EXTRAS[extra])]
    found = {}
    for text in texts:
        requirement = Requirement(text)
        assert requirement.url is None, f"{text} is not from the usual index"
        if requirement.name != "sklearn_kt":
            found[canonicalize_name(requirement.name)] = requirement
    return found


def test_pinned_versions_lie_in_the_declared_ranges() -> None:
    pinned = pins(PINNED)
    for name, requirement in declared(*EXTRAS).items():
        assert name in pinned, f"{PINNED} does not pin {name}"
        assert requirement.specifier.contains(pinned[name]), f"{requirement} is not {pinned[name]}"


def test_lowest_versions_are_the_lower_ends() -> None:
    lowest = pins(LOWEST)
    for name, requirement in declared("test").items():
        assert name in lowest, f"{LOWEST} does not pin {name}"
        lower = [s.version for s in requirement.specifier if s.operator == ">="]
        assert len(lower) == 1, f"{requirement} has no lower end"
        if name not in UNPROVEN:
            same = Requirement(f"{name}=={lower[0]}").specifier.contains(lowest[name])
            assert same, f"{requirement} is proven with {lowest[name]} only"


def test_every_extra_asks_for_the_same() -> None:
    for name, texts in EXTRAS.items():
        for other, more in EXTRAS.items():
            mine = {Requirement(t).name: t for t in texts}
            theirs = {Requirement(t).name: t for t in more}
            for package in mine.keys() & theirs.keys():
                assert mine[package] == theirs[package], f"{name} and {other} differ on {package}"


def test_nothing_is_installed_without_a_pin() -> None:
    pinned = pins(PINNED)
    if importlib.metadata.version("numpy") != pinned["numpy"]:
        pytest.skip(f"this environment was not installed from {PINNED}")
    todo = [(name, tuple(r.extras)) for name, r in declared("test").items()]
    seen, wrong = set(), set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        # builds of torch for one kind of processor add their name
        found = importlib.metadata.version(name).partition("+")[0]
        if pinned.get(name) != found:
            wrong.add(f"{name}=={found}")
        for text in importlib.metadata.requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in (*extras, "")
            ):
                todo.append((canonicalize_name(requirement.name), tuple(requirement.extras)))
    assert len(seen) > 50
    assert not wrong, f"{PINNED} does not have {sorted(wrong)}"
