"""A training that is stopped, damaged or given to another, on a model of three weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sklearn_kt.encoder.resumable import STATE_FILE, ResumableRun, adamw, read_state
from sklearn_kt.exceptions import CheckpointError, TrainingError

ROWS = torch.arange(10.0)


class Line(ResumableRun):
    """Fits 2 x + noise; stops before a step if it is told to."""

    stop: int | None = None

    def __init__(self, folder: Path | None, signature: str = "line") -> None:
        model = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(model.weight, 0.5)
        torch.nn.init.zeros_(model.bias)
        super().__init__(
            model,
            adamw(model, weight_decay=0.1, lr=1.0),
            signature=signature,
            folder=folder,
            max_steps=11,
            save_every=4,
            averaging=0.9,
        )

    def _batches(self, epoch: int) -> list[np.ndarray]:
        return np.array_split(np.random.default_rng(epoch).permutation(10), 3)

    def _losses(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        if self.step == self.stop:
            raise KeyboardInterrupt
        x = ROWS[torch.from_numpy(rows)][:, None]
        square = (self.model(x) - 2 * x - torch.randn(1)).square().mean()
        return {"square": square, "size": 0.01 * self.model.weight.abs().sum()}

    def _rate(self, progress: float) -> float:
        return 0.1 * (1 - progress)

    def _seed(self) -> int:
        return self.step

    def _scores(self) -> dict[str, float]:
        assert not self.model.training
        return {"slope": float(self.model.weight), "epochs": self.epochs()}


def finished(run: Line) -> Line:
    run.train("line")
    return run


@pytest.mark.parametrize("stop", [2, 4, 9])
def test_stopped_run_comes_to_the_same(tmp_path: Path, stop: int) -> None:
    whole, part = finished(Line(None)), Line(tmp_path)
    part.stop = stop
    before = torch.random.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        part.train("line")
    # the global generator is left alone
    assert torch.equal(before, torch.random.get_rng_state())
    again = finished(Line(tmp_path))
    for key, value in whole.average.items():
        assert torch.equal(value, again.average[key])
    assert again.step == 11
    for mine, theirs in zip(again.history, whole.history, strict=True):
        assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}
    assert [entry["step"] for entry in again.history] == [4, 8, 11]
    assert again.history[-1]["epochs"] == pytest.approx(11 / 3)
    entry = again.history[0]
    assert entry["loss"] == pytest.approx(entry["square"] + entry["size"], rel=1e-5)
    # a finished run is finished
    assert len(finished(Line(tmp_path)).history) == 3


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    Line(tmp_path).train("line", writes=False)
    assert not list(tmp_path.iterdir())


def test_states_keep_their_keys(tmp_path: Path) -> None:
    finished(Line(tmp_path))
    state = read_state(tmp_path / STATE_FILE)
    # runs of days are taken up by later versions
    assert state["version"] == 2
    assert set(state) == {
        *("version", "signature", "step", "epoch", "position", "seconds", "history"),
        *("model", "average", "optimizer"),
    }


def test_foreign_and_damaged_states(tmp_path: Path) -> None:
    finished(Line(tmp_path))
    with pytest.raises(CheckpointError, match="other parameters, other data"):
        Line(tmp_path, "another")
    path = tmp_path / STATE_FILE
    state = read_state(path)
    torch.save({**state, "version": 99}, path)
    with pytest.raises(CheckpointError, match="newer version"):
        Line(tmp_path)
    del state["average"]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match="lacks 'average'"):
        Line(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CheckpointError, match="delete it to begin again"):
        Line(tmp_path)


def test_loss_that_is_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Line, "_losses", lambda self, rows: {"x": self.model.bias.sum() / 0})
    with pytest.raises(TrainingError, match=r"step 0; lower learning_rate"):
        Line(None).train("line")


def test_matrices_alone_are_decayed() -> None:
    groups = adamw(torch.nn.Linear(2, 2), weight_decay=0.3, lr=1e-3).param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(0.3, 1), (0, 1)]
