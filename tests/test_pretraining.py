"""The pretrainer: tiny real runs, interrupted ones, and damaged states."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.base import clone

from sklearn_kt._files import DATA
from sklearn_kt.cli import main
from sklearn_kt.encoder import held_out_scores, load_checkpoint
from sklearn_kt.encoder.modeling import build_backbone
from sklearn_kt.exceptions import CheckpointError, DatasetError, InputError, TrainingError
from sklearn_kt.pretraining import (
    SOURCES,
    Corpus,
    CorpusTable,
    CrossModalPretrainer,
    Property,
    add_embeddings,
    build_corpus,
)
from sklearn_kt.pretraining.objectives import PretrainingRun
from sklearn_kt.pretraining.recipes import read_recipe
from sklearn_kt.tokenizer import token_matrix

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
GAP = Property("gap", "eV")
METAL = Property("metal", "", "binary", low=0, high=1)
CATIONS = ["Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba", "Al", "Ga", "In", "Zn", "Cd"]
ANIONS = ["F", "Cl", "Br", "I", "O", "S", "Se", "Te", "N", "P", "As", "Sb"]


def table() -> CorpusTable:
    formulas, gaps = [], []
    for i, cation in enumerate(CATIONS):
        for j, anion in enumerate(ANIONS):
            for n in (1, 2):
                formulas.append(f"{cation}{anion}{n}")
                gaps.append(i / 4 + j / 2 + n)
    gaps = np.array(gaps)
    metal = (gaps < 4).astype(float)
    gaps[::7] = np.nan
    return CorpusTable(formulas, {"gap": gaps, "metal": metal})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    properties = [GAP, METAL]
    made = build_corpus(tmp_path_factory.mktemp("pretraining") / "c", [table()], properties)
    formulas = made.compositions(np.arange(len(made))).formulas()
    vectors = np.column_stack([made.targets[:, 1], 1 - made.targets[:, 1], np.ones(len(made))])
    add_embeddings(made, "teacher", formulas[::2], vectors[::2])
    return made


def pretrainer(**changes: object) -> CrossModalPretrainer:
    defaults = {
        "encoder": SIZES,
        "max_steps": 12,
        "batch_size": 32,
        "checkpoint_every": 4,
        "validation_fraction": 0.1,
        "learning_rate": 5e-3,
        "stability_temperature": None,
    }
    return CrossModalPretrainer(**{**defaults, **changes})


def weights(fitted: CrossModalPretrainer) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in fitted.model_.state_dict().items()}


@pytest.mark.slow
def test_every_objective_improves(corpus: Corpus) -> None:
    fitted = pretrainer(max_steps=300, checkpoint_every=50, teachers={"teacher": 1.0}).fit(corpus)
    first, last = fitted.history_[0], fitted.history_[-1]
    assert fitted.n_steps_ == last["step"] == 300
    for name in ("property", "masked", "teacher"):
        assert last[name] < first[name]
    scores = fitted.evaluate(corpus)
    assert scores["mae_gap"] < 0.35 * corpus.scales[0]
    assert scores["auc_metal"] > 0.9
    assert scores["cosine_teacher"] > 0.8
    assert scores["mae_gap"] == pytest.approx(last["mae_gap"], rel=1e-4)


def test_same_seed_same_weights_and_clone(corpus: Corpus) -> None:
    first = pretrainer(random_state=3).fit(corpus)
    before = torch.random.get_rng_state()
    second = clone(first).fit(corpus)
    # the caller's random numbers are left alone
    assert torch.equal(before, torch.random.get_rng_state())
    for key, value in weights(first).items():
        assert_allclose(value, weights(second)[key], err_msg=key)
    other = pretrainer(random_state=4).fit(corpus)
    assert not np.allclose(
        weights(first)["encoder.trunk.0.weight"], weights(other)["encoder.trunk.0.weight"]
    )


@pytest.mark.parametrize("stop", [3, 6, 11])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    whole = pretrainer(teachers={"teacher": 0.5}).fit(corpus)
    one_step = PretrainingRun.one_step

    def killed(self: PretrainingRun, progress: float) -> None:
        if self.step == stop:
            raise KeyboardInterrupt
        one_step(self, progress)

    part = pretrainer(teachers={"teacher": 0.5}, checkpoint_dir=tmp_path)
    monkeypatch.setattr(PretrainingRun, "one_step", killed)
    with pytest.raises(KeyboardInterrupt):
        part.fit(corpus)
    assert not hasattr(part, "model_")
    monkeypatch.setattr(PretrainingRun, "one_step", one_step)
    part.fit(corpus)
    assert part.n_steps_ == 12
    for key, value in weights(whole).items():
        assert_allclose(value, weights(part)[key], rtol=1e-6, atol=1e-7, err_msg=key)
    names = [name for name in whole.history_[-1] if name != "seconds"]
    assert len(whole.history_) == len(part.history_) == 3
    last = [[history[-1][name] for name in names] for history in (whole.history_, part.history_)]
    assert_allclose(*last, rtol=1e-5)
    # a finished run is finished
    assert part.fit(corpus).n_steps_ == 12


# killed as by the system, which gives nothing the time to clean up
_CHILD = """
import os, signal, sys
import torch
from sklearn_kt.pretraining import Corpus
from test_pretraining import pretrainer

save, saved = torch.save, []
def cut(state, path):
    save(state, path)
    saved.append(path)
    if len(saved) == 2:
        os.truncate(path, 100)
        os.kill(os.getpid(), signal.SIGKILL)
torch.save = cut
pretrainer(checkpoint_dir=sys.argv[2]).fit(Corpus(sys.argv[1]))
"""


@pytest.mark.slow
def test_after_a_kill_the_run_goes_on_to_the_same_weights(corpus: Corpus, tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    killed = subprocess.run(
        [sys.executable, "-c", _CHILD, str(corpus.folder), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    # half of the second state stands beside the first
    assert [path.name[:7] for path in tmp_path.iterdir() if path != state] == [".state-"]
    assert torch.load(state, weights_only=True)["step"] == 4
    rest, whole = pretrainer(checkpoint_dir=tmp_path).fit(corpus), pretrainer().fit(corpus)
    assert rest.n_steps_ == whole.n_steps_ == 12
    for key, value in weights(whole).items():
        assert_allclose(value, weights(rest)[key], rtol=1e-5, atol=1e-6, err_msg=key)
    assert [entry["step"] for entry in rest.history_] == [e["step"] for e in whole.history_]


def test_damaged_and_foreign_states(corpus: Corpus, tmp_path: Path) -> None:
    pretrainer(checkpoint_dir=tmp_path).fit(corpus)
    state = tmp_path / "state.pt"
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    with pytest.raises(CheckpointError, match="other parameters"):
        pretrainer(checkpoint_dir=tmp_path, learning_rate=1e-4).fit(corpus)
    # of the same compositions, with other embeddings that are not used, then with other targets
    other = tmp_path.with_name("other")
    shutil.copytree(corpus.folder, other)
    for array in ("teacher.teacher", "targets"):
        np.save(other / f"{array}.npy", np.load(other / f"{array}.npy")[::-1])
        assert (Corpus(other).digests() == corpus.digests()) == (array != "targets")
        assert Corpus(other).digests(["teacher"]) != corpus.digests(["teacher"])
    with pytest.raises(CheckpointError, match="other data"):
        pretrainer(checkpoint_dir=tmp_path).fit(Corpus(other))
    content = state.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"not a state"):
        state.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"state\.pt cannot be read"):
            pretrainer(checkpoint_dir=tmp_path).fit(corpus)
    torch.save({"step": 3}, state)
    with pytest.raises(CheckpointError, match="damaged"):
        pretrainer(checkpoint_dir=tmp_path).fit(corpus)


def test_saved_weights_are_the_encoder(corpus: Corpus, tmp_path: Path) -> None:
    fitted = pretrainer().fit(corpus)
    folder = fitted.save(tmp_path / "weights", card="Toy run.")
    spec, state = load_checkpoint(folder)
    assert spec == fitted.spec_
    backbone = build_backbone(spec)
    backbone.load_state_dict(state)
    ids, fractions = torch.tensor([[2, 7, 13]]), torch.tensor([[1.0, 0.5, 0.5]])
    with torch.no_grad():
        expected = fitted.model_.encoder(ids, fractions)
        assert_allclose(backbone.eval()(ids, fractions), expected, atol=0.02)
    assert (folder / "README.md").read_text() == "Toy run."
    assert fitted.scores_
    assert held_out_scores(folder) == fitted.scores_


def test_initial_weights_are_taken_over_by_meaning(corpus: Corpus, tmp_path: Path) -> None:
    old = pretrainer(max_steps=2).fit(corpus)
    old.save(tmp_path / "old", card="")
    # another order, other units, and a property that the old weights do not know
    other = build_corpus(
        tmp_path / "other",
        [
            CorpusTable(
                ["NaCl", "KCl", "Si"], {"metal": [0, 0, 1], "new": [1, 2, 4], "gap": [5, 2, 0]}
            )
        ],
        [METAL, Property("new"), GAP],
    )
    batch = corpus.compositions(np.arange(5))
    found = {}
    for octaves in (8, 2):
        smooth = {**SIZES, "n_frequencies": octaves, "amount_attention": "none"}
        run = pretrainer(encoder=smooth, initial=tmp_path / "old", max_steps=1)._start(other)
        encoder = run.model.encoder.eval()
        ids, amounts = (torch.from_numpy(a) for a in token_matrix(batch))
        with torch.no_grad():
            out = encoder.properties(encoder(ids, (amounts / amounts[:, :1]).float())).numpy()
        found[octaves] = other.unscale(out)
    with torch.no_grad():
        encoder = old.model_.encoder
        expected = corpus.unscale(
            encoder.properties(encoder(ids, (amounts / amounts[:, :1]).float())).numpy()
        )
    gap, metal = corpus.property_names.index("gap"), corpus.property_names.index("metal")
    # the file holds float16
    assert_allclose(found[8][:, 2], expected[:, gap], rtol=0.02, atol=0.02)
    assert_allclose(found[8][:, 0], expected[:, metal], rtol=0.02, atol=0.02)
    assert not np.allclose(found[2][:, 2], expected[:, gap], rtol=0.02, atol=0.02)
    with pytest.raises(InputError, match="initial checkpoint has hidden_size 32, the encoder 64"):
        pretrainer(encoder="tiny", initial=tmp_path / "old").fit(other)
    with pytest.raises(CheckpointError, match="neither a bundled name"):
        pretrainer(initial=tmp_path / "none").fit(other)


@pytest.mark.parametrize("alignment", ["mse", "cosine", "infonce", {"teacher": "infonce"}])
def test_alignments(corpus: Corpus, alignment: str | dict[str, str]) -> None:
    settings = {"property_weight": 0.0, "masked_weight": 0.0, "masked_fraction": 0.0}
    fitted = pretrainer(
        teachers={"teacher": 1.0},
        alignment=alignment,
        max_steps=60,
        checkpoint_every=20,
        **settings,
    ).fit(corpus)
    assert fitted.history_[-1]["teacher"] < fitted.history_[0]["teacher"]
    assert "property" not in fitted.history_[-1]


def test_masked_modelling_alone(corpus: Corpus) -> None:
    fitted = pretrainer(masked_fraction=1.0, max_steps=60, checkpoint_every=20).fit(corpus)
    assert fitted.history_[-1]["masked"] < 0.8 * fitted.history_[0]["masked"]
    assert "property" not in fitted.history_[-1]


def test_stable_compounds_are_seen_more_often(tmp_path: Path) -> None:
    formulas = [f"Fe{i + 1}O{i + 2}" for i in range(3000)]
    hull = np.repeat([0.0, 0.25, np.nan], 1000)
    made = build_corpus(tmp_path / "c", [CorpusTable(formulas, e_hull=hull)], [])
    settings = {"validation_fraction": 0.0, "unknown_stability": 0.2, "masked_fraction": 1.0}
    run = pretrainer(stability_temperature=0.25, **settings)._start(made)
    seen = np.concatenate(list(run._batches(0)))
    assert len(np.unique(seen)) == len(seen)
    counts = np.bincount(seen // 1000, minlength=3)
    assert counts[0] == 1000
    assert counts[1] / 1000 == pytest.approx(np.exp(-1), abs=0.08)
    assert counts[2] / 1000 == pytest.approx(0.2, abs=0.06)
    everything = pretrainer(stability_temperature=None, **settings)._start(made)
    assert len(np.concatenate(list(everything._batches(0)))) == 3000


def test_rows_of_which_nothing_is_known_are_only_masked(tmp_path: Path) -> None:
    formulas = [f"{cation}{anion}" for cation in CATIONS for anion in ANIONS]
    gaps = np.where(np.arange(len(formulas)) < 84, 1.0, np.nan)
    both = build_corpus(tmp_path / "c", [CorpusTable(formulas, {"gap": gaps})], [GAP])
    params = {"masked_fraction": 0.25, "validation_fraction": 0.0}
    run = pretrainer(**params)._start(both)
    assert_allclose(run.chance, np.where(np.isnan(gaps), 0.25, 1.0))
    losses = run._losses(np.arange(84, 116))
    assert set(losses) == {"masked"}
    alone = pretrainer(**params, masked_weight=0.0, max_steps=6).fit(both)
    assert "masked" not in alone.history_[-1]


def test_held_out_rows_are_never_trained_on(corpus: Corpus) -> None:
    run = pretrainer()._start(corpus)
    seen = np.concatenate([*run._batches(0), *run._batches(1)])
    assert run.held_out.any()
    assert not run.held_out[seen].any()


def test_bfloat16(corpus: Corpus) -> None:
    # smaller products stay in float32
    wide = {**SIZES, "hidden_size": 128}
    fitted = pretrainer(encoder=wide, precision="bfloat16").fit(corpus)
    exact = pretrainer(encoder=wide, precision="float32").fit(corpus)
    assert all(value.dtype == np.float32 for value in weights(fitted).values())
    assert fitted.history_[0]["loss"] == pytest.approx(exact.history_[0]["loss"], rel=0.05)
    assert fitted.history_[-1]["loss"] != exact.history_[-1]["loss"]


def test_time_limit_ends_the_schedule(corpus: Corpus) -> None:
    fitted = pretrainer(max_steps=10_000_000, max_seconds=0.5).fit(corpus)
    assert 0 < fitted.n_steps_ < 10_000_000


def test_bad_parameters(corpus: Corpus) -> None:
    with pytest.raises(InputError, match="fit takes a Corpus, got list"):
        pretrainer().fit(["NaCl"])
    with pytest.raises(InputError, match="no size 'depth'"):
        pretrainer(encoder={"depth": 3}).fit(corpus)
    with pytest.raises(InputError, match="no objective is left"):
        pretrainer(property_weight=0, masked_weight=0).fit(corpus)
    with pytest.raises(InputError, match="alignment 'x'"):
        pretrainer(alignment={"x": "mse"}).fit(corpus)
    with pytest.raises(DatasetError, match="no embeddings of a teacher 'chgnet'"):
        pretrainer(teachers={"chgnet": 1.0}).fit(corpus)
    with pytest.raises(ValueError, match="max_steps"):
        pretrainer(max_steps=0).fit(corpus)
    with pytest.raises(TrainingError, match="lower learning_rate"):
        pretrainer(learning_rate=1e30, max_steps=30).fit(corpus)


def test_recipe_from_the_command_line(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "extra.npz", formula=["NaCl", "MgO"], embeddings=np.eye(2))
    recipe = {
        "corpus": str(corpus.folder),
        "teachers": [{"kind": "table", "name": "extra", "path": str(tmp_path / "extra.npz")}],
        "pretrainer": {
            "encoder": SIZES,
            "max_steps": 3,
            "batch_size": 16,
            "teachers": {"extra": 1.0},
            "checkpoint_dir": str(tmp_path / "state"),
        },
        "output": str(tmp_path / "weights"),
    }
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe))
    assert main(["pretrain", "--config", str(path), "--quiet"]) == 0
    assert capsys.readouterr().out.strip() == recipe["output"]
    assert load_checkpoint(recipe["output"])[0]["config"]["hidden_size"] == 32
    assert "max_steps" in (tmp_path / "weights" / "README.md").read_text()
    assert main(["pretrain", "--config", str(path), "--quiet"]) == 2
    assert "not an empty folder" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_train_one_model(corpus: Corpus, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    recipe = {
        "corpus": str(corpus.folder),
        "pretrainer": {
            "encoder": SIZES,
            "device": "cpu",
            "max_steps": 30,
            "checkpoint_every": 10,
            "batch_size": 32,
            "teachers": {"teacher": 1.0},
            "checkpoint_dir": str(tmp_path / "state"),
        },
        "output": str(tmp_path / "weights"),
    }
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += ["--num_cpu_threads_per_process", "1", "--main_process_port", "0"]
    run = ["-m", "sklearn_kt", "pretrain", "--quiet", "--config", str(tmp_path / "recipe.json")]
    done = subprocess.run(
        [sys.executable, *launch, *run], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert load_checkpoint(tmp_path / "weights")
    state = torch.load(tmp_path / "state" / "state.pt", weights_only=True)
    assert [entry["step"] for entry in state["history"]] == [10, 20, 30]
    assert state["history"][-1]["property"] < state["history"][0]["property"]
    # one process goes on where two stopped, and finds the run finished
    settings = {**recipe["pretrainer"], "checkpoint_dir": tmp_path / "state"}
    assert CrossModalPretrainer(**settings).fit(corpus).n_steps_ == 30


def test_shipped_checkpoint() -> None:
    spec, state = load_checkpoint("default")
    build_backbone(spec).load_state_dict(state)
    assert all(np.isfinite(value.numpy()).all() for value in state.values())
    folder = DATA / "checkpoints" / "default"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 20e6
    card = (folder / "README.md").read_text(encoding="utf-8")
    # what it was trained on is on the allow-list, and everything it predicts comes from there
    named = set(re.findall(r"`((?:composition|structures|utils)/[^`]+)`", card))
    sources = [source for source in SOURCES if source.path in named]
    assert len(sources) == len(named)
    read = {name for source in sources for name in source.columns.values()}
    derived = ("is_metal_", "is_magnetic_", "volume_per_atom")
    for entry in spec["config"]["properties"]:
        assert entry["name"] in read or entry["name"].startswith(derived)
    forbidden = card.partition("must not be scored on")[2]
    for task in ("mp_gap", "mp_is_metal", "mp_e_form", "log_gvrh", "log_kvrh", "jdft2d"):
        assert task in forbidden


def test_bad_recipes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SKLEARN_KT_DATA", raising=False)
    path = tmp_path / "recipe.yaml"
    for text, message in [
        ("corpus: [", "cannot be read"),
        ("- a", "not a mapping"),
        ("colour: red", "no key 'colour'"),
        ("output: x", "no 'corpus'"),
        (f"corpus: {tmp_path / 'none'}\noutput: {tmp_path / 'out'}", "no corpus at"),
    ]:
        path.write_text(text)
        assert main(["pretrain", "--config", str(path), "--quiet"]) == 2
        assert message in capsys.readouterr().err
    path.write_text("corpus: a\npretrainer: {max_steps: 3}\n")
    assert read_recipe(path) == {"corpus": "a", "pretrainer": {"max_steps": 3}}
