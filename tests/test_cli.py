"""The command line: results on stdout, one line for an error, nothing half-written."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import BayesianRidge, LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline

from sklearn_kt import CompositionTokenizer, __version__, evaluation
from sklearn_kt.cli import _BATCH_ROWS, _DEFAULT_MODELS, _MODEL_NAMES, main
from sklearn_kt.compositions import read_compositions
from sklearn_kt.evaluation import MODELS
from sklearn_kt.persistence import load_model, save_model
from sklearn_kt.tables import open_table

FORMULAS = ["NaN", "NaCl", "KCl", "LiF", "Fe2O3", "SiO2", "MgO", "CO", "Co", "GaAs", "ZnS", "KBr"]
GAPS = [0.5, 8.5, 8.4, 14.2, 2.2, 9.0, 7.8, 5.0, 0.0, 1.4, 3.7, 7.4]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()

    def run(*arguments: Any, stdin: str | None = None) -> tuple[int, str, str]:
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "gaps.csv"
    pd.DataFrame({"id": range(12), "formula": FORMULAS, "gap": GAPS}).to_csv(path, index=False)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "gap.model"
    bayes = make_pipeline(CompositionTokenizer("fraction"), BayesianRidge())
    save_model(bayes.fit(FORMULAS, GAPS), path)
    return path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def assert_one_line(text: str, *parts: str) -> None:
    assert text.startswith("sklearn-kt: error: ")
    assert text.count("\n") == 1
    assert text.endswith("\n")
    for part in parts:
        assert part in text


# --- the program -----------------------------------------------------------------------------


def test_names_in_the_help_are_the_models() -> None:
    assert _MODEL_NAMES.split(", ") == list(MODELS)
    assert set(_DEFAULT_MODELS.split(",")) <= set(MODELS)


@pytest.mark.parametrize("command", [[], ["evaluate"], ["fit"], ["predict"], ["tokenize"]])
def test_help(command: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as left:
        main([*command, "--help"])
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: {' '.join(['sklearn-kt', *command])}" in out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
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


def test_light_start() -> None:
    code = (
        "import sys; from sklearn_kt.cli import main\n"
        "try: main(['evaluate', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'pandas', 'sklearn', 'torch', 'matminer', 'matplotlib', 'rich'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_module_and_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sklearn_kt", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"sklearn-kt {__version__}\n"


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


@pytest.mark.parametrize(
    ("redirected", "message"),
    [
        ("<&-", "stdin is closed"),
        (">&-", "stdout is closed"),
        (">/dev/full", "No space left"),
        # no message goes among the results
        ("2>&-", ""),
    ],
)
def test_closed_streams(redirected: str, message: str) -> None:
    command = f"{sys.executable} -m sklearn_kt tokenize {redirected}"
    done = subprocess.run(
        ["/bin/sh", "-c", command], input="formula\nno\n", capture_output=True, text=True
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


# --- evaluate --------------------------------------------------------------------------------


def test_evaluate_table(run: Run, table: Path) -> None:
    code, out, err = run(
        *("evaluate", "--data", table, "--target", "gap", "--models", "dummy,et-fractions"),
        *("--folds", 3, "--show-predictions", 4, "--n-jobs", 1),
    )
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == f"{table}: regression of gap, 12 rows, 3 folds"
    assert lines[2].split() == ["model", "MAE", "RMSE", "R²", "fit", "s", "predict", "rows/s"]
    assert [line.split()[0] for line in lines[3:5]] == ["dummy", "et-fractions"]
    # aligned: the last column ends where its name does
    assert len({len(line) for line in lines[2:5]}) == 1
    assert "4 out-of-fold predictions of dummy" in lines[6]
    assert lines[8].split() == ["formula", "true", "predicted"]
    assert len(lines) == 13
    assert "et-fractions, fold 3 of 3" in err
    assert files(table.parent) == ["gaps.csv"]


def test_evaluate_writes_results(run: Run, table: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", "--data", "gaps.csv", "--target", "gap", "--models", "dummy"]
    code, _, err = run(*arguments, "--output-dir", "new/results", "--random-state", 3)
    assert code == 0
    folder = tmp_path / "new" / "results"
    assert files(folder) == ["parity.png", "report.html", "results.json"]
    assert "new/results/report.html" in err
    content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert content["command"] == (
        "sklearn-kt evaluate --data gaps.csv --target gap --models dummy"
        " --output-dir new/results --random-state 3"
    )
    assert content["dataset"]["target"] == "gap"
    assert content["random_state"] == 3
    assert content["rows"]["formula"] == FORMULAS
    assert content["command"] in (folder / "report.html").read_text(encoding="utf-8")
    assert (folder / "parity.png").read_bytes().startswith(b"\x89PNG")
    # a second run replaces them
    assert run(*arguments, "--output-dir", "new/results")[0] == 0
    content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert content["random_state"] == 0
    assert files(folder) == ["parity.png", "report.html", "results.json"]


def test_evaluate_classification(run: Run, table: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(table, keep_default_na=False)
    frame["kind"] = np.where(frame["gap"] > 3, "wide", "narrow")
    frame["wide"] = (frame["gap"] > 3).astype(int)
    frame.to_parquet(tmp_path / "gaps.parquet")
    arguments = ["evaluate", "--data", "gaps.parquet", "--models", "dummy", "--folds", 2]
    code, out, _ = run(*arguments, "--target", "kind", "--output-dir", "out")
    assert code == 0
    assert "classification of kind" in out
    assert "balanced accuracy" in out
    assert files(tmp_path / "out") == ["report.html", "results.json", "roc.png"]
    code, out, err = run(*arguments, "--target", "wide")
    assert code == 2
    assert_one_line(err, "two different numbers", "--task")
    assert run(*arguments, "--target", "wide", "--task", "classification")[0] == 0
    assert run(*arguments, "--target", "wide", "--task", "regression")[0] == 0


def test_evaluate_keeps_compositions_together(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("formula,y\nFe2O3,1\nO3Fe2,2\nNaCl,3\nClNa,4\n")
    arguments = ["evaluate", "--data", "t.csv", "--target", "y", "--models", "dummy"]
    assert run(*arguments, "--folds", 2)[0] == 0
    code, _, err = run(*arguments, "--folds", 3)
    assert code == 2
    assert_one_line(err, "distinct compositions, 2; got 3")


def test_evaluate_seebeck(run: Run, tmp_path: Path) -> None:
    code, out, _ = run(
        *("evaluate", "--dataset", "seebeck", "--carrier", "n", "--n-samples", 60),
        *("--models", "dummy", "--output-dir", "out"),
    )
    assert code == 0
    assert "regression of n-type Seebeck coefficient in µV/K, 60 rows, 5 folds" in out
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "10.1038/sdata.2017.85" in page


@pytest.mark.filterwarnings("always::sklearn_kt.exceptions.CompositionWarning")
def test_pretrained_model_is_not_believed_on_its_own_data(
    run: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(evaluation.MODELS, "imkt", MODELS["dummy"])  # type: ignore[index]
    arguments = ["evaluate", "--data-dir", data_dir / "matbench", "--models", "imkt"]
    code, _, err = run(*arguments, "--dataset", "matbench_jdft2d")
    assert code == 0
    assert "pretrained on data like those of matbench_jdft2d" in err
    _, _, err = run(*arguments, "--dataset", "matbench_steels")
    assert "pretrained" not in err


@pytest.mark.filterwarnings("always::sklearn_kt.exceptions.CompositionWarning")
def test_evaluate_matbench(run: Run, data_dir: Path) -> None:
    arguments = ["evaluate", "--data-dir", data_dir / "matbench", "--models", "dummy"]
    code, out, err = run(*arguments, "--dataset", "matbench_expt_gap")
    assert code == 0
    # Cu1.8S1 and Cu9S5 are one composition
    assert "sklearn-kt: warning: 4 of 4604 test rows" in err
    assert "regression of gap expt in eV, 4604 rows, 5 folds" in out
    # the recorded score of MatBench's dummy, which guesses the mean
    assert out.splitlines()[3].split()[:4] == ["dummy", "1.14", "±", "0.03"]
    code, out, _ = run(*arguments, "--dataset", "matbench_glass")
    assert code == 0
    assert "classification of gfa, 5680 rows" in out
    assert "0.500 ± 0.000" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "seebeck", "--models", "rf"], "Unknown model 'rf'"),
        (["--dataset", "seebeck", "--models", "dummy,dummy"], "named twice"),
        (["--dataset", "seebeck", "--target", "y"], "--target and --decimal belong to --data"),
        (["--dataset", "seebeck", "--task", "classification"], "seebeck is a regression"),
        (["--dataset", "seebeck", "--n-samples", "99999"], "between 1 and 47737"),
        (["--dataset", "expt_gap"], "Unknown data set 'expt_gap'"),
        (["--dataset", "matbench_steels", "--folds", "3"], "five official folds"),
        (["--dataset", "matbench_steels", "--n-samples", "9"], "five official folds"),
        (["--dataset", "matbench_steels", "--data-dir", "nowhere"], "is in: nowhere"),
        (["--data", "gaps.csv"], "--target is needed"),
        (["--data", "gaps.csv", "--target", "e"], "'e' is not among the columns of gaps.csv: id,"),
        (["--data", "gaps.csv", "--target", "gap", "--formula-column", "x"], "Column 'x'"),
        (["--data", "gaps.csv", "--target", "gap", "--folds", "13"], "got 13"),
        (["--data", "gaps.csv", "--target", "gap", "--n-samples", "13"], "has 12 rows"),
        (
            ["--data", "gaps.csv", "--target", "formula", "--task", "classification"],
            "Class 'CO' has 1 rows",
        ),
        (["--data", "no.csv", "--target", "gap"], "no.csv: No such file"),
        (["--data", ".", "--target", "gap"], "Is a directory"),
        (["--data", "gaps.csv", "--target", "gap", "--output-dir", "gaps.csv"], "gaps.csv: "),
    ],
)
def test_evaluate_errors(run: Run, table: Path, arguments: list[str], message: str) -> None:
    before = table.read_bytes()
    code, out, err = run("evaluate", *arguments)
    assert code == 2
    assert out == ""
    assert_one_line(err, message)
    assert files(table.parent) == ["gaps.csv"]
    assert table.read_bytes() == before


def test_evaluate_failure_leaves_old_results(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["evaluate", "--data", "gaps.csv", "--target", "gap", "--models", "dummy"]
    assert run(*arguments, "--output-dir", "out")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    class Interrupted(DummyRegressor):
        def predict(self, X: Any) -> Any:  # type: ignore[override]
            raise KeyboardInterrupt

    monkeypatch.setitem(evaluation.MODELS, "dummy", lambda *_: Interrupted())  # type: ignore[arg-type]
    for folder in ("out", "other"):
        code, out, err = run(*arguments, "--output-dir", folder)
        assert (code, out) == (130, "")
        assert err.endswith("sklearn-kt: interrupted: no file was written\n")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert files(tmp_path) == ["gaps.csv", "out"]


def test_results_are_kept_whatever_happens_to_the_pictures(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "cost $_{US$"
    pd.read_csv(table, keep_default_na=False).rename(columns={"gap": name}).to_csv("t.csv")
    arguments = ["evaluate", "--data", "t.csv", "--target", name, "--models", "dummy"]
    assert run(*arguments, "--output-dir", "out")[0] == 0
    assert files(tmp_path / "out") == ["parity.png", "report.html", "results.json"]

    def fails(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sklearn_kt.report.write_parity_plot", fails)
    code, out, err = run(*arguments, "--output-dir", "other")
    assert code == 130
    assert "MAE" in out
    assert "interrupted: results.json was written" in err
    assert files(tmp_path / "other") == ["results.json"]


def test_names_neither_command_the_terminal_nor_lose_results(run: Run, tmp_path: Path) -> None:
    source = os.fsdecode(b"gaps\xff.csv")
    name = "\x1b[31mgap\nnew"
    rows = {"formula": FORMULAS, name: GAPS}
    try:
        pd.DataFrame(rows).to_csv(source, index=False)
    except OSError:
        pytest.skip("the file system takes UTF-8 alone")
    arguments = ["evaluate", "--data", source, "--models", "dummy", "--output-dir", "out"]
    code, out, _ = run(*arguments, "--target", name)
    assert code == 0
    assert "regression of \\x1b[31mgap\\nnew" in out.splitlines()[0]
    assert files(tmp_path / "out") == ["parity.png", "report.html", "results.json"]
    code, _, err = run(*arguments, "--target", "gap")
    assert code == 2
    assert_one_line(err, "'gap' is not among the columns", "\\udcff", "\\x1b[31mgap")
    assert "\x1b" not in out + err


# --- tables ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty: a header line"),
        ("formula,gap\n", "has a header but no rows"),
        ("formula,gap\nFe,1\nXx2O3,2\n", "line 3: 'Xx2O3' is not a composition: unknown element"),
        ("formula,gap\nFe,1\n,2\n", "line 3: '' is not a composition"),
        ('formula,gap\n"Fe\n2O3",1\nx,2\n', "line 4: 'x' is not a composition"),
        ("formula,gap\nFe,1\nCo,two\n", "line 3: 'two' in column 'gap' is not a finite number"),
        ("formula,gap\nFe,1\nCo,nan\n", "line 3: 'nan' in column 'gap' is not a finite number"),
        ("formula,gap\nFe,1\nCo,\n", "line 3: column 'gap' is empty (1 such rows)"),
        ("formula,gap\nFe,1\nCo\n", "line 3: 1 fields where the header has 2"),
        ("formula,gap\nFe,1\nCo,2,3\n", "line 3: 3 fields where the header has 2"),
        ("formula,gap\nFe,1\n\nCo,2\n", "line 3 is blank"),
        ('formula,gap\nFe,1\n"Co,2\n', "cannot be read from line 3 on"),
        ("formula,gap,gap\nFe,1,1\n", "'gap' occurs 2 times"),
    ],
)
def test_bad_csv(run: Run, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "bad.csv").write_text(content)
    code, out, err = run("fit", "bad.csv", "--target", "gap", "--output", "m")
    assert (code, out) == (2, "")
    assert_one_line(err, "bad.csv", message)
    assert files(tmp_path) == ["bad.csv"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("latin.csv", "formula,gap\nFe,1\nCo,ä\n".encode("latin-1")),
        ("cut.csv.gz", gzip.compress(os.urandom(5000))[:-50]),
        ("plain.csv.gz", b"formula,gap\nFe,1\n"),
        ("text.parquet", b"formula,gap\nFe,1\n"),
        ("empty.parquet", b""),
    ],
)
def test_unreadable_files(run: Run, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    code, out, err = run("tokenize", name, "--output", "tokens.csv")
    assert (code, out) == (2, "")
    assert_one_line(err, name)
    assert files(tmp_path) == [name]


@pytest.mark.parametrize(
    ("values", "first", "count"),
    [
        (["8,5", "9", "8,25"], "line 2: '8,5'", "2 such rows of 3"),
        (["8,5", "9,25", "1e3 "], "line 2: '8,5'", "2 such rows of 3"),
        (["8,5", "9,25", "7,5"], "line 2: '8,5'", "--decimal ,;"),
        (["glass", "0.66±0.1", "metal"], "line 3: '0.66±0.1'", "--task classification"),
        (["1,066.5", "2,031.5", "5"], "line 2: '1,066.5'", "2 such rows of 3"),
        (["<0.1", "~5", "> 7"], "line 2: '<0.1'", "3 such rows of 3"),
        (["5 eV", "300K", "5%"], "line 2: '5 eV'", "3 such rows of 3"),
        (["1.23(4)", "1-2", "10^3"], "line 2: '1.23(4)'", "3 such rows of 3"),
        (["5mA", "(3)", "ca. 5"], "3 different texts in 3 rows", "--task classification"),
        (["metal", "nan", "metal"], "line 3: 'nan'", "Correct or drop such rows"),
        (["2020-01-01", "1 066", "3.5D+03"], "line 2: '2020-01-01'", "3 such rows of 3"),
        (["1_0", "7", "8"], "line 2: '1_0'", "Correct or drop such rows"),
        (["  ", "7", "8"], "line 2: column 'gap' is empty", "(1 such rows)"),
    ],
)
def test_text_like_numbers_is_no_class(
    run: Run, tmp_path: Path, values: list[str], first: str, count: str
) -> None:
    frame = pd.DataFrame({"formula": FORMULAS[:3], "gap": values})
    frame.to_csv(tmp_path / "t.csv", index=False)
    fit = ("fit", "t.csv", "--target", "gap", "--model", "dummy", "--output", "m")
    code, out, err = run(*fit)
    assert (code, out) == (2, "")
    assert_one_line(err, first, count)
    assert ("--decimal" in err) == first.endswith("'8,5'")
    assert run("evaluate", "--data", "t.csv", "--target", "gap", "--models", "dummy")[0] == 2
    # unless one says so
    code, _, err = run(*fit, "--task", "classification")
    assert code == (2 if "empty" in first else 0)


def test_decimal_comma(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("formula;gap\nFe;8,5\nCo;\u22121\nNi;1e3 \n", encoding="utf-8")
    fit = ("fit", "t.csv", "--target", "gap", "--model", "dummy", "--output", "m")
    code, _, err = run(*fit, "--decimal", ",")
    assert code == 0
    assert "regression of gap" in err
    assert float(read(run("predict", "m", stdin="formula\nFe\n")[1])[1][1]) == 1007.5 / 3
    (tmp_path / "t.csv").write_text("formula;gap\nFe;8,5\nCo;1.066,5\n")
    code, _, err = run(*fit, "--decimal", ",")
    assert code == 2
    assert_one_line(err, "line 3: '1.066,5'")
    code, _, err = run("evaluate", "--dataset", "seebeck", "--decimal", ",")
    assert code == 2
    assert_one_line(err, "belong to --data")


@pytest.mark.parametrize("kinds", [["2D", "3D"], ["4mm", "-42m"], ["2/m", "m-3m"], ["NA", "3d"]])
def test_classes_with_digits(run: Run, tmp_path: Path, kinds: list[str]) -> None:
    pd.DataFrame({"formula": FORMULAS, "kind": kinds * 6}).to_csv(tmp_path / "t.csv", index=False)
    code, _, err = run(*("fit", "t.csv", "--target", "kind", "--model", "dummy", "--output", "m"))
    assert code == 0
    assert "classification of kind" in err


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([pd.Timestamp("2020-01-01")] * 12, "is not a finite number"),
        ([[1, 2]] * 12, "is not a finite number"),
    ],
)
def test_targets_of_other_types(run: Run, tmp_path: Path, values: list, message: str) -> None:
    frame = pd.DataFrame({"formula": FORMULAS, "y": values})
    frame.to_parquet(tmp_path / "t.PARQUET")
    code, _, err = run(*("fit", "t.PARQUET", "--target", "y", "--model", "dummy", "--output", "m"))
    assert code == 2
    assert_one_line(err, "row 0", message)


@pytest.mark.parametrize("name", ["o.parquet", "o.PARQUET", "o.tsv", "o.jsonl", "o.csv.gz"])
def test_predict_writes_what_the_name_says(
    run: Run, model: Path, tmp_path: Path, name: str
) -> None:
    ids = ["00123", "NA", "", "NaN"]
    lines = [f"{formula},{id_}" for formula, id_ in zip(["NaN", "CO", "?", "Co"], ids, strict=True)]
    source = "\n".join(["formula,id", *lines])
    code, out, _ = run("predict", model, "--output", name, "--errors", "nan", stdin=source)
    assert (code, out) == (0, "")
    with open_table(tmp_path / name, 9) as table:
        [batch] = table.batches
    assert batch.values(0) == ["NaN", "CO", "?", "Co"]
    assert batch.values(1) == ids
    expected = load_model(model).predict(["NaN", "CO", "Co"])
    found = [value for value in batch.values(2) if value not in (None, "")]
    assert [float(value) for value in found] == expected.tolist()
    assert batch.values(2)[2] in (None, "")


def test_predict_passes_repeated_columns_on(run: Run, model: Path) -> None:
    source = "a,formula,a\n1,NaCl,2\n"
    code, out, _ = run("predict", model, stdin=source)
    assert code == 0
    assert [row[:3] for row in read(out)] == [["a", "formula", "a"], ["1", "NaCl", "2"]]
    code, _, err = run("predict", model, "--output", "o.parquet", stdin=source)
    assert code == 2
    assert_one_line(err, "'a' occurs 2 times")


@pytest.mark.parametrize("command", ["predict", "screen", "tokenize"])
def test_unknown_endings_are_told_first(run: Run, tmp_path: Path, command: str) -> None:
    arguments = [] if command == "tokenize" else ["no.model"]
    code, out, err = run(command, *arguments, "no.csv", "--output", "o.feather")
    assert (code, out) == (2, "")
    assert_one_line(err, "o.feather: tables cannot be written as .feather")


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet", "bom.csv"])
def test_table_formats(run: Run, tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"formula": FORMULAS, "note": ["a,b", 'say "x"', *"é" * 10]})
    if name.endswith("parquet"):
        frame["formula"] = frame["formula"].astype("category")
        frame.to_parquet(tmp_path / name)
    else:
        frame.to_csv(tmp_path / name, index=False, encoding="utf-8-sig" if "bom" in name else None)
    code, out, _ = run("tokenize", name, "--scheme", "fraction", "--batch-size", 5)
    assert code == 0
    rows = read(out)
    assert rows[0][:3] == ["formula", "H", "He"]
    assert [row[0] for row in rows[1:]] == FORMULAS
    # NaN is sodium nitride
    assert float(rows[1][rows[0].index("Na")]) == 0.5


def test_missing_formula_in_parquet(run: Run, tmp_path: Path) -> None:
    pd.DataFrame({"formula": ["Fe", None]}).to_parquet(tmp_path / "t.parquet")
    code, _, err = run("tokenize", "t.parquet")
    assert code == 2
    assert_one_line(err, "t.parquet, row 1: None is not a composition")


# --- fit and predict -------------------------------------------------------------------------


def test_fit_and_predict(run: Run, table: Path, tmp_path: Path) -> None:
    code, out, err = run(
        *("fit", table, "--target", "gap", "--model", "et-fractions", "--output", "gap.model")
    )
    assert (code, out) == (0, "")
    assert "wrote: gap.model" in err
    code, out, err = run("predict", "gap.model", table)
    assert (code, err) == (0, "")
    rows = read(out)
    assert rows[0] == ["id", "formula", "gap", "prediction"]
    assert [row[:3] for row in rows] == read(table.read_text())
    predictions = [float(row[3]) for row in rows[1:]]
    expected = load_model(tmp_path / "gap.model").predict(FORMULAS)
    assert predictions == pytest.approx(expected, abs=1e-12)
    code, out, err = run("predict", "gap.model", table, "--output", "p.csv", "--batch-size", 5)
    assert (code, out, err) == (0, "", "")
    assert read((tmp_path / "p.csv").read_text())[0] == rows[0]
    again = [float(row[3]) for row in read((tmp_path / "p.csv").read_text())[1:]]
    assert again == pytest.approx(predictions, abs=1e-12)
    # as open as any new file
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "p.csv").stat().st_mode) == 0o666 & ~mask


def test_fit_classifier_and_predict_from_stdin(run: Run, tmp_path: Path) -> None:
    frame = pd.DataFrame({"c": FORMULAS, "metal": [gap < 1 for gap in GAPS]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    code, _, err = run(
        *("fit", "t.csv", "--formula-column", "c", "--target", "metal"),
        *("--model", "et-fractions", "--output", "m", "--n-jobs", 1),
    )
    assert code == 0
    assert "classification of metal" in err
    code, out, _ = run("predict", "m", "--formula-column", "c", stdin="c\nCo\nNaCl\n")
    assert code == 0
    rows = read(out)
    assert rows[0] == ["c", "prediction", "probability_False", "probability_True"]
    assert [row[1] for row in rows[1:]] == ["True", "False"]
    assert all(float(row[2]) + float(row[3]) == pytest.approx(1) for row in rows[1:])
    code, _, err = run("predict", "m", "--formula-column", "c", "--return-std", stdin="c\nCo\n")
    assert code == 2
    assert_one_line(err, "gives no standard deviation")


def test_classes_are_those_that_the_model_decides_for(run: Run, tmp_path: Path) -> None:
    inner = make_pipeline(CompositionTokenizer("fraction"), LogisticRegression())
    model = FixedThresholdClassifier(inner, threshold=0.999, pos_label="metal")
    model.fit(FORMULAS, ["metal" if gap < 8 else "gap" for gap in GAPS])
    save_model(model, tmp_path / "m")
    code, out, _ = run("predict", "m", stdin="formula\nCo\nNaCl\n")
    assert code == 0
    assert [row[1] for row in read(out)[1:]] == ["gap", "gap"]
    assert float(read(out)[1][3]) > 0.5


def test_predict_std(run: Run, table: Path, model: Path) -> None:
    code, out, _ = run("predict", model, table, "--return-std")
    assert code == 0
    rows = read(out)
    assert rows[0][3:] == ["prediction", "prediction_std"]
    mean, std = load_model(model).predict(FORMULAS, return_std=True)
    # full precision
    assert [float(row[3]) for row in rows[1:]] == mean.tolist()
    assert [float(row[4]) for row in rows[1:]] == std.tolist()


def test_predict_trusts_what_is_named(run: Run, model: Path) -> None:
    kind = "scipy.sparse._csr.csr_matrix"
    odd = load_model(model)
    odd[-1].rows_ = csr_matrix(np.eye(2))
    save_model(odd, model)
    code, out, err = run("predict", model, stdin="formula\nNaCl\n")
    assert (code, out) == (2, "")
    assert kind in err
    assert "--trust NAME" in err
    code, out, _ = run("predict", model, "--trust", kind, stdin="formula\nNaCl\n")
    assert code == 0
    assert len(read(out)) == 2


def test_predict_bad_rows(run: Run, model: Path, tmp_path: Path) -> None:
    text = "formula\nFe2O3\nXx\nNaN\nnot\n\n"
    code, out, err = run("predict", model, "--output", "p.csv", stdin=text)
    assert (code, out) == (2, "")
    assert_one_line(err, "stdin, line 3: 'Xx' is not a composition: unknown element")
    assert files(tmp_path) == ["gap.model"]
    for size in (1, 2, 100):
        code, out, err = run(
            "predict", model, "--errors", "nan", "--batch-size", size, "--return-std", stdin=text
        )
        assert code == 0
        rows = read(out)
        assert [row[0] for row in rows] == ["formula", "Fe2O3", "Xx", "NaN", "not"]
        assert [bool(row[1]) for row in rows[1:]] == [True, False, True, False]
        assert rows[2] == ["Xx", "", ""]
        assert err.count("\n") == 1
        assert err.startswith("sklearn-kt: warning: 2 rows of stdin are not compositions")
        assert "line 3 ('Xx')" in err


def test_predict_error_names_the_line_in_a_later_batch(run: Run, model: Path) -> None:
    text = "formula\n" + "Fe2O3\n" * 7 + "Yy\n"
    code, _, err = run("predict", model, "--batch-size", 3, stdin=text)
    assert code == 2
    assert_one_line(err, "line 9: 'Yy'")


def test_all_bad_rows_are_counted(run: Run, tmp_path: Path) -> None:
    rows = [*["Fe2O3,1"] * _BATCH_ROWS, *["Xx,1"] * 4]
    (tmp_path / "t.csv").write_text("\n".join(["formula,gap", "Qq,1", *rows]))
    code, _, err = run("fit", "t.csv", "--target", "gap", "--output", "m")
    assert code == 2
    assert_one_line(
        err,
        "t.csv, line 2: 'Qq' is not a composition: unknown element 'Qq'. So it is with 5 of 10005",
        "line 10003, 'Xx': unknown element 'Xx'. line 10004, 'Xx'",
        "And so on. Correct or drop them.",
    )


@pytest.mark.filterwarnings("always::sklearn_kt.exceptions.CompositionWarning")
def test_doubts_name_the_place_in_the_file(run: Run, model: Path) -> None:
    text = "formula\nFe2O3\nCuSO4.5H2O\nXx\nCuSO4·5H2O\n"
    code, _, err = run("predict", model, "--errors", "nan", stdin=text)
    assert code == 0
    assert err.startswith("sklearn-kt: warning: In 1 of 4 rows a '.'")
    assert "stdin, line 3, 'CuSO4.5H2O', was read as 'CuSO4·5H2O'" in err
    assert "1 rows of stdin are not compositions" in err


WEIGHTS = "name,Fe,Cr,Ni,gap\na,70,20,10,1\nb,90,10,0,2\n" + "c,50,25,25,3\nd,60,20,20,4\n" * 4


def test_columns_of_elements(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(WEIGHTS)
    options = ("--target", "gap", "--model", "et-fractions", "--output", "m")
    code, _, err = run("fit", "t.csv", *options)
    assert code == 2
    assert_one_line(err, "Column 'formula' is not among", "--amounts atomic or --amounts weight")
    assert run("fit", "t.csv", *options, "--amounts", "weight")[0] == 0
    code, out, _ = run("predict", "m", "t.csv", "--amounts", "weight")
    assert code == 0
    assert read(out)[0] == ["name", "Fe", "Cr", "Ni", "gap", "prediction"]
    # extra-trees remember what they were fitted on
    np.testing.assert_allclose([float(row[5]) for row in read(out)[1:5]], [1, 2, 3, 4])
    code, out, _ = run("tokenize", "t.csv", "--amounts", "weight")
    [formula, *_] = read(out)[1]
    expected = read_compositions([{"Fe": 70, "Cr": 20, "Ni": 10}], amounts="weight")
    assert [formula] == expected.formulas()
    code, out, _ = run("tokenize", "--amounts", "weight", stdin="formula\nFe70Cr20Ni10\n")
    assert read(out)[1][0] == formula


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("70,20,10", "70,,10", "line 2: {'Cr': None, 'Fe': 70.0, 'Ni': 10.0} is not a compo"),
        ("70,20,10", "70,x,10", "the amount of 'Cr' is 'x', which is not a number"),
        ("70,20,10", "0,0,0", "all amounts are zero"),
        ("Fe,Cr,Ni", "Fe,Fe,Ni", "occurs 2 times"),
        ("Fe,Cr,Ni", "fe,cr,ni", "Column 'formula' is not among"),
    ],
)
def test_bad_columns_of_elements(
    run: Run, tmp_path: Path, old: str, new: str, message: str
) -> None:
    (tmp_path / "t.csv").write_text(WEIGHTS.replace(old, new))
    code, _, err = run("fit", "t.csv", "--amounts", "weight", "--target", "gap", "--output", "m")
    assert code == 2
    assert_one_line(err, message)


def test_predict_no_rows(run: Run, model: Path) -> None:
    assert run("predict", model, stdin="formula\n") == (0, "formula,prediction\n", "")
    code, out, err = run("predict", model, stdin="")
    assert (code, out) == (2, "")
    assert_one_line(err, "stdin is empty")


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


def test_interrupted_fit_leaves_existing_model(
    run: Run, table: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(BaseEstimator):
        def fit(self, X: Any, y: Any) -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(evaluation.MODELS, "dummy", lambda *_: Interrupted())  # type: ignore[arg-type]
    before = model.read_bytes()
    code, out, err = run(
        "fit", table, "--target", "gap", "--model", "dummy", "--output", "gap.model"
    )
    assert (code, out, err) == (130, "", "sklearn-kt: interrupted: no file was written\n")
    assert model.read_bytes() == before
    assert files(tmp_path) == ["gap.model", "gaps.csv"]


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
    two = DummyRegressor().fit(FORMULAS, np.c_[GAPS, GAPS])
    save_model(two, tmp_path / "two")
    code, _, err = run("predict", "two", table)
    assert code == 2
    assert_one_line(err, "several targets")
    numeric = BayesianRidge().fit(np.eye(3), [1, 2, 3])
    save_model(numeric, tmp_path / "numeric")
    code, _, err = run("predict", "numeric", table)
    assert code == 2
    assert_one_line(err, "The model cannot predict from formulas: ")


def test_predict_does_not_shadow_a_column(run: Run, model: Path) -> None:
    code, out, err = run("predict", model, stdin="formula,prediction\nFe,1\n")
    assert (code, out) == (2, "")
    assert_one_line(err, "already has a column 'prediction'")


# --- tokenize --------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["element", "formula", "fraction"])
def test_tokenize(run: Run, table: Path, scheme: str) -> None:
    code, out, _ = run("tokenize", table, "--scheme", scheme, "--batch-size", 5)
    assert code == 0
    rows = read(out)
    tokenizer = CompositionTokenizer(scheme)
    assert rows[0] == ["formula", *tokenizer.get_feature_names_out()]
    values = [[float(value) for value in row[1:]] for row in rows[1:]]
    np.testing.assert_array_equal(values, tokenizer.transform(FORMULAS))


def test_options_out_of_range(run: Run, table: Path) -> None:
    fit = ["fit", table, "--target", "gap", "--model", "rf-magpie", "--output", "m"]
    for arguments, parameter in (
        (["tokenize", table, "--max-length", "1"], "max_length"),
        ([*fit, "--random-state", "-1"], "random_state"),
    ):
        code, _, err = run(*arguments)
        assert code == 2
        assert_one_line(err, f"The '{parameter}' parameter of")


def test_tokenize_too_long(run: Run) -> None:
    code, _, err = run("tokenize", "--max-length", 2, stdin="formula\nFe\nFe2O3\n")
    assert code == 2
    assert_one_line(err, "stdin", "max_length")
