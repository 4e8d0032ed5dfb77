"""The command line as a program: help, errors, streams, signals, files."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from _commands import Run, assert_one_line, files
from sklearn.linear_model import BayesianRidge

from sklearn_kt import __version__
from sklearn_kt.cli import main
from sklearn_kt.cli.main import COMMANDS, build_parser
from sklearn_kt.cli.options import DEFAULT_MODELS
from sklearn_kt.evaluation import MODELS
from sklearn_kt.persistence import save_model

NAMES = [command.__name__.rpartition(".")[2].replace("_", "-") for command in COMMANDS]


@pytest.mark.parametrize("command", [[], *([name] for name in NAMES)])
def test_help(command: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as left:
        main([*command, "--help"])
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: {' '.join(['sklearn-kt', *command])}" in out
    lines = out.partition("examples:\n")[2].splitlines()
    examples = [line.removeprefix("  sklearn-kt ") for line in lines]
    assert len(examples) >= 2
    for example in examples:
        args = build_parser().parse_args(shlex.split(example))
        if command:
            assert example.split()[0] == command[0]
            assert args.run


def test_no_command_prints_help(capsys: pytest.CaptureFixture) -> None:
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert "examples:" in out
    assert err == ""


def test_names_of_options_are_whole(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "x.csv", "--targ", "gap", "--output", "m"])
    assert "unrecognized arguments: --targ" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["evaluate"],
        ["evaluate", "--data", "x.csv", "--dataset", "seebeck"],
        ["evaluate", "--dataset", "seebeck", "--folds", "0"],
        ["evaluate", "--dataset", "seebeck", "--n-samples", "many"],
        ["fit", "x.csv"],
        ["predict"],
        ["tokenize", "--scheme", "characters"],
    ],
)
def test_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "error: " in err


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("sklearn-kt ins", {"inspect "}),
        ("sklearn-kt fit t.csv --mi", {"--missing "}),
        ("sklearn-kt fit t.csv --missing ", {"drop", "error"}),
    ],
)
def test_shells_complete(line: str, found: set[str], tmp_path: Path) -> None:
    told = tmp_path / "completions"
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(told),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    subprocess.run([sys.executable, "-m", "sklearn_kt"], env=os.environ | asked, check=True)
    assert set(told.read_text().split("\n")) == found


def test_light_start() -> None:
    code = (
        "import sys; from sklearn_kt.cli import main\n"
        "try: main(['evaluate', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'pandas', 'sklearn', 'torch', 'matminer', 'matplotlib', 'tqdm'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _heavy_after(folder: Path, *commands: tuple[str, ...]) -> list[tuple[int, str, list[str]]]:
    """Run commands where nothing is imported yet: exit code, errors, what has been imported."""
    code = (
        "import contextlib, io, json, sys; from sklearn_kt.cli import main\n"
        "found = []\n"
        f"for arguments in {commands!r}:\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as err:\n"
        "        code = main(arguments)\n"
        "    heavy = {'sklearn', 'skops', 'skorch', 'torch', 'transformers'} & {*sys.modules}\n"
        "    found.append((code, err.getvalue(), sorted(heavy)))\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.usefixtures("model")
def test_what_is_wrong_with_names_is_said_at_once(table: Path) -> None:
    (table.parent / "damaged.model").write_bytes(b"PK")
    commands = {
        ("fit", "gaps.csv", "--target", "gapp", "-o", "m"): "Did you mean 'gap'",
        ("fit", "gaps.csv", "--target", "gap", "--formula-column", "x", "-o", "m"): "'x'",
        ("fit", "gaps.csv", "--target", "gap", "-o", "none/m"): "for m does not exist",
        ("evaluate", "--data", "gaps.csv", "--target", "gapp"): "Did you mean 'gap'",
        ("evaluate", "--data", "gaps.csv", "--target", "gap", "--output-dir", "gaps.csv"): "gaps.",
        ("inspect", "gaps.csv", "-o", "none/look.html"): "for look.html does not exist",
        ("predict", "gap.model", "gaps.csv", "--formula-column", "x"): "'x'",
        ("predict", "gap.model", "gaps.csv", "-o", "p.doc"): "cannot be written as .doc",
        ("predict", "gap.model", "gaps.csv", "-o", "none/p.csv"): "for p.csv does not exist",
        ("predict", "none.model", "gaps.csv"): "no model file none.model",
        ("predict", "damaged.model", "GaN"): "damaged.model",
        ("screen", "gap.model", "gaps.csv", "--formula-column", "x", "-o", "p.csv"): "'x'",
        ("screen", "gap.model", "gaps.csv", "-o", "p.doc"): "cannot be written as .doc",
        ("screen", "gap.model", "gaps.csv", "-o", "none/p.csv"): "for p.csv does not exist",
        ("screen", "none.model", "gaps.csv", "-o", "p.csv"): "no model file none.model",
        ("properties", "gaps.csv", "--formula-column", "x"): "'x'",
        ("properties", "GaN", "-o", "none/p.csv"): "for p.csv does not exist",
        ("tokenize", "GaN", "-o", "none/p.csv"): "for p.csv does not exist",
        ("explain", "none.model", "GaN"): "no model file none.model",
        ("explain", "none.model", "GaN", "-o", "e.xyz"): "cannot be written as .xyz",
        ("explain", "none.model", "GaN", "-o", "none/e.png"): "for e.png does not exist",
        ("structures", "GaN", "--output-dir", "gaps.csv"): "gaps.csv",
        ("info", "none.model"): "no model file none.model",
    }
    found = _heavy_after(table.parent, *commands)
    for (code, err, heavy), (command, said) in zip(found, commands.items(), strict=True):
        assert (code, heavy) == (2, []), (command, err)
        assert_one_line(err, said)
    assert files(table.parent) == ["damaged.model", "gap.model", "gaps.csv"]


def test_the_only_column_of_formulas_is_used(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,composition,gap\n1,MgO,7.8\n2,NaCl,8.5\n3,,1\n")
    code, out, err = run("tokenize", "t.csv", "--scheme", "fraction")
    assert code == 2
    assert err.startswith("sklearn-kt: note: the formulas of t.csv are read from its column 'comp")
    assert "line 4" in err
    (tmp_path / "t.csv").write_text("id;composition;gap\n1;MgO;7.8\n2;NaCl;8.5\n3;KCl;8.4\n")
    code, out, err = run("tokenize", "t.csv")
    assert (code, out.splitlines()[0].split(",")[0]) == (0, "composition")
    assert len(out.splitlines()) == 4
    code, out, err = run("fit", "t.csv", "--target", "gap", "--model", "dummy", "--output", "m")
    assert code == 0
    code, out, err = run("screen", "m", "t.csv", "--no-std", "--quiet", "--output", "o.csv")
    assert code == 0
    assert "'composition'" in err
    # the target is none, and of two columns one has to be named
    (tmp_path / "t.csv").write_text("composition,parent,phase\nMgO,Mg,C\nNaCl,Na,B\n")
    code, _, err = run("fit", "t.csv", "--target", "phase", "--model", "dummy", "--output", "m")
    assert code == 2
    assert_one_line(err, "2 of its columns", "composition, parent", "--formula-column")
    code, _, err = run("tokenize", "-", stdin="id,gap\n1,7.8\n")
    assert code == 2
    assert_one_line(
        err, "stdin has no column 'formula', and none of its columns reads as formulas (id, gap)"
    )


def test_module_and_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sklearn_kt", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"sklearn-kt {__version__}\n"


@pytest.mark.slow
def test_reader_that_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "many.csv"
    path.write_text("formula\n" + "Fe2O3\n" * 20_000)
    process = subprocess.Popen(
        [sys.executable, "-m", "sklearn_kt", "tokenize", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 141


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_a_destructor_ends_the_program(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    """Python drops what is raised there, and would go on to the end."""
    (tmp_path / "t.csv").write_text("formula\nNaCl\n")
    program = f"""
import signal, sys, time
from sklearn_kt.cli import main, tokenize
signal.signal(signal.SIGINT, signal.default_int_handler)
class Interrupted:
    def __del__(self):
        signal.raise_signal({int(number)})
tokens = tokenize._tokens
def slow(*args):
    Interrupted()
    time.sleep(20)
    yield from tokens(*args)
tokenize._tokens = slow
sys.exit(main(["tokenize", "t.csv", "-o", "o.csv"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == "sklearn-kt: interrupted: no file was written\n"
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.slow
def test_ctrl_c(tmp_path: Path) -> None:
    output = tmp_path / "tokens.csv"
    output.write_text("precious")
    # a shell may have left SIGINT ignored
    code = "import signal, sys; from sklearn_kt.cli import main; "
    code += "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "tokenize", "--output", str(output)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write("formula\nFe2O3\n")
    process.stdin.flush()
    # the temporary file is there once reading has begun
    while len(files(tmp_path)) < 2:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr.read() == "sklearn-kt: interrupted: no file was written\n"
    process.stdin.close()
    process.stderr.close()
    assert files(tmp_path) == ["tokens.csv"]
    assert output.read_text() == "precious"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("redirected", "formula", "message"),
    [
        ("<&-", "NaCl", "stdin is closed"),
        (">&-", "NaCl", "stdout is closed"),
        (">/dev/full", "NaCl", "No space left"),
        # no message goes among the results
        ("2>&-", "no", ""),
    ],
)
def test_closed_streams(redirected: str, formula: str, message: str) -> None:
    command = f"{sys.executable} -m sklearn_kt tokenize {redirected}"
    done = subprocess.run(
        ["/bin/sh", "-c", command], input=f"formula\n{formula}\n", capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "error" not in done.stdout
    if message:
        assert_one_line(done.stderr, message)


@pytest.mark.parametrize("command", ["predict", "tokenize", "fit", "explain"])
def test_output_to_a_device(run: Run, command: str, table: Path, model: Path) -> None:
    arguments = {
        "predict": [model, table],
        "tokenize": [table],
        "fit": [table, "--target", "gap", "--model", "dummy"],
        "explain": [model, "Fe2O3"],
    }[command]
    code, _, err = run(command, *arguments, "--output", os.devnull)
    assert (code, Path(os.devnull).is_char_device()) == (0, True), err
    code, _, err = run(command, *arguments, "--output", table.parent)
    assert code == 2
    assert_one_line(err, "is a folder; name a file")


@pytest.mark.parametrize("output", ["missing/p.csv", ".", "gaps.csv/p.csv"])
def test_output_that_cannot_be_written(run: Run, table: Path, model: Path, output: str) -> None:
    for arguments in (
        ["predict", model, table],
        ["tokenize", table],
        ["fit", table, "--target", "gap", "--model", "dummy"],
    ):
        code, out, err = run(*arguments, "--output", output)
        assert (code, out) == (2, "")
        assert_one_line(err)
        assert files(table.parent) == ["gap.model", "gaps.csv"]


def test_failure_leaves_existing_output(run: Run, model: Path, tmp_path: Path) -> None:
    output = tmp_path / "p.csv"
    output.write_text("precious")
    # the last batch fails, when others are written already
    text = "formula\n" + "Fe2O3\n" * 9 + "Xx\n"
    for arguments in (["predict", model], ["tokenize"]):
        code, _, err = run(*arguments, "--output", output, "--batch-size", 2, stdin=text)
        assert code == 2
        assert_one_line(err, "line 11")
        assert output.read_text() == "precious"
        assert files(tmp_path) == ["gap.model", "p.csv"]


@pytest.mark.parametrize("command", ["predict", "screen", "tokenize"])
def test_unknown_endings_are_told_first(run: Run, tmp_path: Path, command: str) -> None:
    arguments = [] if command == "tokenize" else ["no.model"]
    code, out, err = run(command, *arguments, "no.csv", "--output", "o.feather")
    assert (code, out) == (2, "")
    assert_one_line(err, "o.feather: tables cannot be written as .feather")


def test_models_that_cannot_be_used(run: Run, table: Path, tmp_path: Path) -> None:
    code, _, err = run("predict", "none.model", table)
    assert code == 2
    assert_one_line(err, "There is no model file none.model", "sklearn-kt fit")
    code, _, err = run("predict", table, table)
    assert code == 2
    assert_one_line(err, "gaps.csv is not a model file of sklearn_kt")
    save_model({"weights": 1}, tmp_path / "dict")
    code, _, err = run("predict", "dict", table)
    assert code == 2
    assert_one_line(err, "dict holds a dict, which cannot predict")
    numeric = BayesianRidge().fit(np.eye(3), [1, 2, 3])
    save_model(numeric, tmp_path / "numeric")
    code, _, err = run("predict", "numeric", table)
    assert code == 2
    assert_one_line(err, "The model cannot predict from formulas: ")


def test_options_out_of_range(run: Run, table: Path) -> None:
    fit = ["fit", table, "--target", "gap", "--model", "rf-magpie", "--output", "m"]
    for arguments, parameter in (
        (["tokenize", table, "--max-length", "1"], "max_length"),
        ([*fit, "--random-state", "-1"], "random_state"),
    ):
        code, _, err = run(*arguments)
        assert code == 2
        assert_one_line(err, f"The '{parameter}' parameter of")


@pytest.mark.parametrize("command", ["evaluate", "fit"])
def test_models_are_listed(command: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--list-models"])
    assert left.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(MODELS)
    assert set(DEFAULT_MODELS.split(",")) <= set(MODELS)
