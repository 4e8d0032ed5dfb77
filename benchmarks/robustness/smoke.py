"""Use an installed package as a stranger would; `make test-wheel` runs it in a clean environment.

    python smoke.py

It must not be run in the source tree, which would be imported in place of what was installed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import sklearn_kt
from sklearn_kt import ImplicitKTRegressor, load_model, save_model
from sklearn_kt.datasets import load_expt_gap
from sklearn_kt.encoder import list_checkpoints
from sklearn_kt.screening import screen
from sklearn_kt.structures import PrototypeGenerator
from sklearn_kt.structures.crystallm import load_crystallm


def main() -> None:
    """Fit, predict, save, load, screen, and call the command line."""
    package = Path(sklearn_kt.__file__).parent
    assert "site-packages" in package.parts, f"{package} is not an installed package"
    assert list_checkpoints() == ["default", "small"]
    assert (package / "py.typed").is_file()
    assert all(PrototypeGenerator().generate(["NaCl", "CsPbI3"], 1))
    assert load_crystallm().form == "short"
    X, y = (column[::80] for column in load_expt_gap(return_X_y=True))
    model = ImplicitKTRegressor(readout="fast", random_state=0).fit(X, y)
    mean, std = model.predict(["PbTe", "Bi2Te3"], return_std=True)
    assert mean.shape == std.shape == (2,)
    with tempfile.TemporaryDirectory() as folder:
        path = save_model(model, Path(folder) / "model")
        assert (load_model(path).predict(["PbTe", "Bi2Te3"]) == mean).all()
        assert screen(model, X, Path(folder) / "out.parquet", top_k=5).n_written == 5
        table = Path(folder) / "in.csv"
        table.write_text("formula\nPbTe\nBi2Te3\n")
        out = subprocess.run(
            [sys.executable, "-m", "sklearn_kt", "predict", path, table],
            check=True,
            capture_output=True,
            text=True,
        )
        assert out.stdout.splitlines()[0] == "formula,prediction"
        assert len(out.stdout.splitlines()) == 3
    print(f"sklearn_kt {sklearn_kt.__version__} works from {package}")


if __name__ == "__main__":
    main()
