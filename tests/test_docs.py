"""The pages: complete, their code runs, and the built site works in a browser.

Tests of the built site are skipped where ``make docs`` has not been run.
"""

from __future__ import annotations

import functools
import html.parser
import http.server
import importlib
import inspect
import io
import re
import runpy
import shlex
import shutil
import subprocess
import threading
import urllib.parse
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pytest

from sklearn_kt.cli import build_parser

pytestmark = pytest.mark.usefixtures("few_trees")

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE = DOCS / "_build" / "html"
PAGES = sorted(p for p in DOCS.rglob("*.md") if "_build" not in p.parts)
EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))
# pages that list every public name
API = sorted(p for p in (DOCS / "api").glob("*.rst") if p.stem not in ("index", "commands"))
# modules whose public names other pages than theirs list, or that are for developers
INTERNAL = {
    "sklearn_kt",
    "sklearn_kt.cli",
    "sklearn_kt.estimators",
    "sklearn_kt.fitting",
    "sklearn_kt.hub",
    "sklearn_kt.randomness",
    "sklearn_kt.tables",
}
CONSOLE = re.compile(r":CONSOLE[^\"]*\"(?P<text>.*)\", source: ")
# Chromium writes notices and errors alike; these are the theme's notices
NOTICES = ("[PST]:", "Got invalid theme mode: . Resetting to auto.")


def listed() -> dict[str, set[str]]:
    """Names that the API pages list, by module."""
    names: dict[str, set[str]] = {}
    module = ""
    for line in "\n".join(page.read_text(encoding="utf-8") for page in API).splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.split(":: ")[1]
            names.setdefault(module, set())
        elif line == ".. toctree::":
            module = ""
        elif module and re.fullmatch(r"   [A-Za-z_]\w*", line):
            names[module].add(line.strip())
    return names


def test_api_lists_every_public_name() -> None:
    pages = listed()
    package = ROOT / "sklearn_kt"
    modules = {f"sklearn_kt.{p.stem}" for p in package.glob("[a-z]*.py")}
    modules |= {f"sklearn_kt.{p.parent.name}" for p in package.glob("*/__init__.py")}
    assert modules - INTERNAL <= set(pages), "a module has no section in docs/api/"
    listed_objects = []
    for module, names in pages.items():
        holder = importlib.import_module(module)
        assert names <= set(holder.__all__), f"{module}: {sorted(names - set(holder.__all__))}"
        listed_objects += [id(getattr(holder, name)) for name in names]
    for module in pages:
        holder = importlib.import_module(module)
        # a name may stand in the section of another module that has it
        missing = [n for n in holder.__all__ if id(getattr(holder, n)) not in listed_objects]
        assert set(missing) <= {"__version__"}, f"docs/api/ lacks {module}: {missing}"


def test_every_public_name_has_an_example() -> None:
    without = []
    for module, names in listed().items():
        for name in sorted(names):
            value = getattr(importlib.import_module(module), name)
            is_code = inspect.isclass(value) or inspect.isroutine(value)
            is_error = inspect.isclass(value) and issubclass(value, Exception)
            if is_code and not is_error and ">>> " not in value.__doc__:
                without.append(f"{module}.{name}")
    assert not without, f"no example: {', '.join(without)}"


def test_gallery_has_what_the_start_page_promises() -> None:
    text = (ROOT / "examples" / "README.rst").read_text(encoding="utf-8")
    assert "Fifteen" in text
    assert len(EXAMPLES) == 15
    for path in EXAMPLES:
        assert path.read_text(encoding="utf-8").startswith('"""\n'), f"{path.name} has no title"


def blocks(path: Path, language: str) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", ["guide/checkpoint.md", "guide/conditions.md"])
def test_code_runs_from_top_to_bottom(name: str) -> None:
    namespace: dict[str, object] = {}
    code = blocks(DOCS / name, "python")
    assert code
    printed = io.StringIO()
    with redirect_stdout(printed):
        for block in code:
            exec(compile(block, name, "exec"), namespace)
    assert printed.getvalue()
    assert "False" not in printed.getvalue().splitlines()[-1]


def test_start_page_shows_the_readme_example() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [code] = blocks(DOCS / "index.md", "python")
    assert code.strip() in readme


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(DOCS)))
def test_commands_and_names_exist(path: Path) -> None:
    for block in blocks(path, "console"):
        for command in re.findall(r"^\$ sklearn-kt (?!--version)(.*)", block, flags=re.MULTILINE):
            build_parser().parse_args(shlex.split(command))
    for block in blocks(path, "python"):
        compile(block, path.name, "exec")
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\{py:\w+\}`~?(sklearn_kt[\w.]*)`", text):
        module, _, name = target.rpartition(".")
        if module:
            holder = importlib.import_module(module)
            assert hasattr(holder, name) or importlib.import_module(target), target


def test_warnings_of_examples_name_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert '"gallery_warnings.reset"' in (DOCS / "conf.py").read_text(encoding="utf-8")
    hook = runpy.run_path(str(DOCS / "gallery_warnings.py"))["reset"]
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        # what the hook sets is put back
        patch.setattr(warnings, "formatwarning", warnings.formatwarning)
        patch.setattr(
            warnings, "showwarning", lambda *args: print(warnings.formatwarning(*args[:4]))
        )
        hook({}, "plot_01.py")
        warnings.simplefilter("always", UserWarning)
        warnings.warn("look out", UserWarning, stacklevel=1)
    assert capsys.readouterr().out.strip() == "UserWarning: look out"


# ---------------------------------------------------------------- the built site


class _Page(html.parser.HTMLParser):
    """Links and anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if value and key in ("href", "src"):
                self.links.add(value)
            elif value and (key == "id" or (tag == "a" and key == "name")):
                self.anchors.add(value)


@pytest.fixture(scope="module")
def site() -> Path:
    if not (SITE / "index.html").is_file():
        pytest.skip("docs/_build/html is not there: `make docs` builds the site to test")
    return SITE


def pages_of(site: Path) -> list[Path]:
    """All pages; the theme has templates among its static files."""
    static = site / "_static"
    return [path for path in sorted(site.rglob("*.html")) if static not in path.parents]


@functools.cache
def page(path: Path) -> _Page:
    parsed = _Page()
    parsed.feed(path.read_text(encoding="utf-8"))
    return parsed


def test_no_link_is_broken(site: Path) -> None:
    broken = []
    pages = pages_of(site)
    assert len(pages) > 100
    for path in pages:
        for link in page(path).links:
            target = urllib.parse.urlsplit(link)
            if target.scheme or target.netloc:
                continue
            file = path.parent / urllib.parse.unquote(target.path) if target.path else path
            if file.is_dir():
                file /= "index.html"
            anchor = urllib.parse.unquote(target.fragment)
            lost = not file.is_file() or (
                anchor and file.suffix == ".html" and anchor not in page(file.resolve()).anchors
            )
            if lost:
                broken.append(f"{path.relative_to(site)}: {link}")
    assert not broken, "\n".join(broken[:20])


def test_gallery_shows_neither_warnings_nor_folders_of_who_built_it(site: Path) -> None:
    for path in sorted((site / "auto_examples").glob("*.html")):
        text = path.read_text(encoding="utf-8")
        outputs = re.findall(r'class="sphx-glr-script-out.*?</pre>', text, flags=re.DOTALL)
        for output in outputs:
            found = re.search(r"\w+Warning: |site-packages", output)
            assert not found, f"{path.name}: {found}"
        assert str(ROOT) not in text, path.name


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for path in pages_of(site):
        text = path.read_text(encoding="utf-8")
        foreign = re.findall(
            r"<(?:script|img|iframe)[^>]+src=\"(?:https?:)?//[^\"]+|"
            r"<link[^>]+rel=\"stylesheet\"[^>]+href=\"(?:https?:)?//[^\"]+",
            text,
        )
        assert not foreign, f"{path.relative_to(site)}: {foreign[0]}"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing: the browser's own complaints are what is tested."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with served(site) as url:
        yield url


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("there is no chromium to open the site with (Debian: apt-get install chromium)")
    return found


def opened(chromium: str, url: str, profile: Path) -> tuple[str, list[str]]:
    """Page after its scripts ran, and what went wrong by the console."""
    done = subprocess.run(
        [
            chromium,
            "--headless",
            # containers run as root, and have little shared memory
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-background-networking",
            f"--user-data-dir={profile}",
            "--enable-logging=stderr",
            "--virtual-time-budget=20000",
            "--dump-dom",
            url,
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    texts = [found["text"] for found in CONSOLE.finditer(done.stderr)]
    return done.stdout, [text for text in texts if not text.startswith(NOTICES)]


def test_errors_of_the_console_are_seen(chromium: str, tmp_path: Path) -> None:
    page = "<script>throw new Error('oops')</script>"
    (tmp_path / "index.html").write_text(page)
    with served(tmp_path) as url:
        _, console = opened(chromium, f"{url}/index.html", tmp_path / "profile")
    assert any("oops" in text for text in console)


@pytest.mark.parametrize(
    ("name", "shows"),
    [
        ("index.html", "First steps"),
        ("guide/transfer.html", "Implicit transfer"),
        ("auto_examples/index.html", "First steps"),
        ("auto_examples/plot_07_explain.html", "band gap"),
        ("api/index.html", "ImplicitKTRegressor"),
        ("api/generated/sklearn_kt.ImplicitKTRegressor.html", "predict_interval"),
    ],
)
def test_pages_load_without_console_errors(
    address: str, chromium: str, tmp_path: Path, name: str, shows: str
) -> None:
    dom, console = opened(chromium, f"{address}/{name}", tmp_path)
    assert shows in dom
    assert not console, console


def test_search_answers(address: str, chromium: str, tmp_path: Path) -> None:
    dom, console = opened(chromium, f"{address}/search.html?q=predict_interval", tmp_path)
    assert not console, console
    [results] = re.findall(r'<div id="search-results">.*?</ul>', dom, flags=re.DOTALL)
    assert "ImplicitKTRegressor" in results
    dom, _ = opened(chromium, f"{address}/search.html?q=zzznothing", tmp_path)
    assert "did not match any documents" in dom
