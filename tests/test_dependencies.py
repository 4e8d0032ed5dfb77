"""Declared ranges, pinned versions and what is installed agree; nothing comes unpinned."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from sklearn_kt import __version__

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
            for package in mine.keys() & theirs.keys() - {PROJECT["name"]}:
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


# --- ways to get it -----------------------------------------------------------------------------

# those of what conda-forge calls otherwise
CONDA = {"matplotlib": "matplotlib-base", "torch": "pytorch"}


def test_all_has_what_users_may_need() -> None:
    names = {Requirement(text).name for text in EXTRAS["all"]}
    assert names == {"sklearn_kt"}
    [extras] = [Requirement(text).extras for text in EXTRAS["all"]]
    for name in EXTRAS.keys() - {"all", "dev", "docs", "pretrain", "test"}:
        assert declared(name).keys() <= declared(*extras).keys(), f"all lacks {name}"


def test_conda_takes_the_same() -> None:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    found = {
        name: rest for name, _, rest in (line.partition(" ") for line in listed["dependencies"])
    }
    assert found.pop("python") == PROJECT["requires-python"]
    assert "pip" in found
    del found["pip"]
    expected = {CONDA.get(name, name): r.specifier for name, r in declared().items()}
    assert {name: SpecifierSet(rest) for name, rest in found.items()} == expected


def test_image_is_built_of_what_there_is() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    steps = [line.partition(" ")[::2] for line in lines if line and not line.startswith("#")]
    [base] = [rest for word, rest in steps if word == "FROM"]
    version = re.fullmatch(r"python:([\d.]+)-slim", base)
    assert version
    assert SpecifierSet(PROJECT["requires-python"]).contains(version[1])
    copied = [name for word, rest in steps if word == "COPY" for name in rest.split()[:-1]]
    assert {"pyproject.toml", PINNED, "sklearn_kt", PROJECT["readme"]} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    [run] = [rest for word, rest in steps if word == "RUN"]
    assert f"-c {PINNED}" in run
    assert "'.[all]'" in run
    assert ("ENTRYPOINT", f'["{next(iter(PROJECT["scripts"]))}"]') in steps


def test_citation_is_complete() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == __version__
    assert cited["license"] == PROJECT["license"]
    assert cited["keywords"] == PROJECT["keywords"]
    paper = cited["preferred-citation"]
    assert {"title", "journal", "year", "doi"} <= paper.keys()
    assert all(author["given-names"] and author["family-names"] for author in paper["authors"])
    assert paper["doi"] in (ROOT / "README.md").read_text(encoding="utf-8")
