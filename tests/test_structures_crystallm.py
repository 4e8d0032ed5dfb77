"""CrystaLLM: tokens, texts, checkpoints, generation, validity, training."""

from __future__ import annotations

import contextlib
import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from sklearn_kt.cli import main
from sklearn_kt.exceptions import CheckpointError, CompositionWarning, InputError
from sklearn_kt.structures import load_library
from sklearn_kt.structures.base import Candidate
from sklearn_kt.structures.crystallm import (
    CIFRejectedError,
    CIFTokenizer,
    CrystaLLMGenerator,
    TrainingPlan,
    crystal_of_text,
    load_crystallm,
    new_crystallm,
    text_of_crystal,
    train_crystallm,
)
from sklearn_kt.structures.crystallm import generator as generator_module
from sklearn_kt.structures.crystallm import training as training_module
from sklearn_kt.structures.crystallm.model import CrystaLLM, Sample, _bracketed
from sklearn_kt.structures.crystallm.text import hall_numbers, prompt

SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
TEXT = text_of_crystal(SALT)
TINY: dict[str, Any] = {"n_layer": 2, "n_head": 2, "n_embd": 32}


class TestTokenizer:
    def test_vocabulary(self) -> None:
        tokens = CIFTokenizer().tokens
        assert len(tokens) == len(set(tokens)) == 371
        assert [tokens[i] for i in (0, 88, 89, 99, 124, 130, 142, 143, 369, 370)] == [
            "Si",
            "Ar",
            "0",
            "_cell_length_b",
            "data_",
            "x",
            "\n",
            "P6/mmm_sg",
            "Cmme_sg",
            "<unk>",
        ]
        assert CIFTokenizer(brackets=True).tokens[371:] == (
            "<pad>", "<bos>", "<eos>", "[", "]", "<prop>"
        )  # fmt: skip
        assert CIFTokenizer().space_groups <= set(hall_numbers())

    def test_space_groups_are_not_elements(self) -> None:
        tokenizer = CIFTokenizer()
        numbers = tokenizer.encode("_symmetry_space_group_name_H-M Pm\n")
        assert [tokenizer.tokens[n] for n in numbers][2] == "Pm_sg"
        assert tokenizer.decode(numbers).endswith(" Pm\n")

    def test_what_has_no_token(self) -> None:
        tokenizer = CIFTokenizer()
        tokens = [tokenizer.tokens[n] for n in tokenizer.encode("Na \t Qq#!")]
        assert tokens == ["Na", " ", "<unk>", "<unk>"]

    def test_numbers_that_are_not_tokens(self) -> None:
        with pytest.raises(InputError, match="0 to 370"):
            CIFTokenizer().decode([371])

    @given(st.lists(st.integers(0, 369)))
    def test_decoding_never_fails(self, numbers: list[int]) -> None:
        tokenizer = CIFTokenizer()
        text = tokenizer.decode(numbers)
        assert text == "".join(tokenizer.tokens[n] for n in numbers)

    @given(st.text())
    def test_any_text_has_tokens(self, text: str) -> None:
        tokenizer = CIFTokenizer()
        assert all(0 <= n < 371 for n in tokenizer.encode(text))


class TestText:
    def test_of_salt(self) -> None:
        assert TEXT.splitlines()[:9] == [
            "data_Na4Cl4",
            "loop_",
            "_atom_type_symbol",
            "_atom_type_electronegativity",
            "_atom_type_radius",
            "_atom_type_ionic_radius",
            "Na 0.9300 1.8000 1.1600",
            "Cl 3.1600 1.0000 0.7800",
            "_symmetry_space_group_name_H-M Fm-3m",
        ]
        assert "Na Na0 4 0.0000 0.0000 0.0000 1\n" in TEXT
        assert TEXT.endswith("\n\n")

    def test_library_crystals_round_trip(self) -> None:
        library, tokenizer, matcher = load_library(), CIFTokenizer(), StructureMatcher(scale=False)
        rows = np.random.default_rng(1).permutation(len(library))
        checked = 0
        for row in rows.tolist():
            candidate = Candidate(*library.cell(row))
            if len(candidate.numbers) > 20:
                continue
            text = text_of_crystal(candidate.structure)
            numbers = tokenizer.encode(text)
            assert tokenizer.decode(numbers) == text
            again = crystal_of_text(text, check_bonds=False)
            assert matcher.fit(again.structure, candidate.structure), text
            checked += 1
            if checked == 40:
                break

    def test_thousands_of_texts_round_trip(self, data_dir: Path) -> None:
        # the writer's own pieces, put together from the files without finding symmetry again
        tokenizer = CIFTokenizer()
        with gzip.open(data_dir / "structures/oqmd_icsd_32k.jsonl.gz", "rt") as lines:
            rows = [json.loads(line) for line, _ in zip(lines, range(3000), strict=False)]
        for row in rows:
            sites = "".join(
                f"{s} {s}{i} 1 {x:.4f} {y:.4f} {z:.4f} 1\n"
                for i, ((s, _), (x, y, z)) in enumerate(
                    zip(row["species"], np.abs(row["coords"]), strict=False)
                )
                if s in tokenizer.elements
            )
            text = f"data_\n_cell_length_a {row['lattice'][0]:.4f}\n{sites}\n"
            assert tokenizer.decode(tokenizer.encode(text)) == text

    def test_prompts(self) -> None:
        assert prompt({19: 1, 17: 1}, 2) == "data_K2Cl2\n"
        assert TEXT.startswith(prompt({11: 1, 17: 1}, 4, "Fm-3m"))
        bracketed = _bracketed(prompt({11: 1, 17: 1}, 4, "Fm-3m"))
        assert bracketed.startswith("<bos>\ndata_[Na4Cl4]\nloop_\n")
        assert bracketed.endswith("]\n_symmetry_space_group_name_H-M [Fm-3m]\n")

    def test_bracketed_text_is_read(self) -> None:
        text = TEXT.replace("data_Na4Cl4", "<bos>\ndata_[Na4Cl4]").replace(
            "_cell_length_a 5.6900", "_cell_length_a [5.6900]"
        )
        found = crystal_of_text(f"{text}<eos>")
        assert StructureMatcher(scale=False).fit(found.structure, SALT)

    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            ("_cell_length_a 5.6900", "_cell_length_a", "syntax"),
            ("_cell_length_a 5.6900", "_cell_length_a 5..69", "syntax"),
            ("_cell_length_a 5.6900", "_cell_length_a 0.1000", "cell"),
            ("_cell_angle_alpha 90.0000", "_cell_angle_alpha 179.0000", "cell"),
            ("_cell_angle_alpha 90.0000", "_cell_angle_alpha 20.0000", None),
            ("H-M Fm-3m", "H-M Fm-3x", "space group"),
            ("H-M Fm-3m", "H-M P1", "multiplicity"),
            ("Na Na0 4", "Na Na0 8", "multiplicity"),
            ("Na Na0 4", "K Na0 4", "formula"),
            ("data_Na4Cl4", "data_Na4Cl8", "formula"),
            ("data_Na4Cl4", "data_Na8Cl8", "multiplicity"),
            ("data_Na4Cl4", "Na4Cl4", "syntax"),
            ("Na Na0 4 0.0000 0.0000 0.0000 1", "Na Na0 4 0.0000 0.0000 1", "syntax"),
            ("Na Na0 4 0.0000 0.0000 0.0000 1", "Na Na0 4 0.0000 0.0000 nan 1", "syntax"),
            ("Na Na0 4 0.0000 0.0000 0.0000 1", "Na Na0 4 0.5000 0.5000 0.5000 1", "overlap"),
            ("5.6900", "3.6000", "bonds"),
            ("5.6900", "20.0000", "bonds"),
        ],
    )
    def test_reasons_of_rejection(self, old: str, new: str, reason: str | None) -> None:
        assert old in TEXT
        with pytest.raises(CIFRejectedError) as error:
            crystal_of_text(TEXT.replace(old, new))
        assert reason is None or error.value.reason == reason
        assert pickle.loads(pickle.dumps(error.value)).reason == error.value.reason

    def test_stated_space_group_must_be_the_true_one(self) -> None:
        cube = Structure(Lattice.cubic(4), ["Po"], [[0, 0, 0]])
        text = text_of_crystal(cube).replace("Pm-3m", "P432").replace("_number 221", "_number 207")
        with pytest.raises(CIFRejectedError, match="space group: P432 is stated"):
            crystal_of_text(text)

    @given(st.text(max_size=200))
    def test_no_text_breaks_the_reader(self, noise: str) -> None:
        for text in (noise, TEXT[:300] + noise, TEXT[:-60] + noise):
            with contextlib.suppress(CIFRejectedError):
                crystal_of_text(text, check_bonds=False)

    def test_disordered_crystal(self) -> None:
        structure = SALT.copy()
        structure.replace_species({"Na": {"Na": 0.5, "K": 0.5}})
        with pytest.raises(InputError, match="partially occupied"):
            text_of_crystal(structure)


def nanogpt(model: CrystaLLM, prefix: str = "") -> dict[str, Any]:
    """The weights of a model without biases as a published file has them."""
    state = {}
    for name, value in model.network.state_dict().items():
        if name.endswith(".bias"):
            continue
        linear = ".attn.c_" in name or ".mlp.c_" in name
        state[prefix + name] = value.T.clone() if linear else value.clone()
    sizes = {"block_size": model.context, "vocab_size": 371, "bias": False, "dropout": 0.1, **TINY}
    return {"model": state, "model_args": sizes, "iter_num": 1, "config": {"x": "y"}}


@pytest.fixture
def unbiased() -> CrystaLLM:
    model = new_crystallm(**TINY, context=64)
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            if name.endswith(".bias"):
                parameter.zero_()
    return model


class TestCheckpoints:
    @pytest.mark.parametrize("prefix", ["", "_orig_mod."])
    def test_published_layout(self, unbiased: CrystaLLM, tmp_path: Path, prefix: str) -> None:
        state = nanogpt(unbiased, prefix)
        state["model"][f"{prefix}transformer.h.0.attn.bias"] = torch.ones(1, 1, 64, 64)
        torch.save(state, tmp_path / "ckpt.pt")
        loaded = load_crystallm(tmp_path)
        ids = torch.arange(10)[None]
        with torch.no_grad():
            expected = unbiased.network(input_ids=ids).logits
            assert_allclose(loaded.network(input_ids=ids).logits, expected, atol=1e-6)
        assert loaded.context == 64

    @pytest.mark.parametrize("size", [371, 377])
    def test_hugging_face_layout(self, tmp_path: Path, size: int) -> None:
        model = new_crystallm(**TINY, context=64)
        if size == 377:
            model.network.resize_token_embeddings(377, mean_resizing=False)
        model.network.save_pretrained(tmp_path)
        loaded = load_crystallm(tmp_path)
        assert len(loaded.tokenizer.tokens) == size
        assert loaded.tokenizer.brackets == (size == 377)
        [sample] = loaded.generate("data_Na4Cl4\n", 1, max_new_tokens=5)
        assert not sample.finished

    def test_damaged_files(self, unbiased: CrystaLLM, tmp_path: Path) -> None:
        path = tmp_path / "ckpt.pt"
        torch.save(nanogpt(unbiased), path)
        path.write_bytes(path.read_bytes()[:-2000])
        with pytest.raises(CheckpointError, match="damaged"):
            load_crystallm(tmp_path)
        state = nanogpt(unbiased)
        del state["model"]["transformer.wpe.weight"]
        torch.save(state, path)
        with pytest.raises(CheckpointError, match=r"transformer\.wpe\.weight"):
            load_crystallm(tmp_path)
        torch.save({**nanogpt(unbiased), "model_args": {**TINY}}, path)
        with pytest.raises(CheckpointError, match="block_size"):
            load_crystallm(tmp_path)

    def test_code_is_not_run(self, tmp_path: Path) -> None:
        torch.save({"model": Path("anything")}, tmp_path / "ckpt.pt")
        with pytest.raises(CheckpointError, match="could run code"):
            load_crystallm(tmp_path)

    def test_what_is_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="local_files_only=False"):
            load_crystallm(tmp_path / "missing")
        with pytest.raises(CheckpointError, match="no CrystaLLM model"):
            load_crystallm(tmp_path)
        network = new_crystallm(**TINY, context=16).network
        network.resize_token_embeddings(400, mean_resizing=False)
        network.save_pretrained(tmp_path)
        with pytest.raises(CheckpointError, match="this model has 400"):
            load_crystallm(tmp_path)


class TestGeneration:
    def test_cache_gives_the_same_as_whole_texts(self) -> None:
        model = new_crystallm(**TINY, context=48)
        # whatever it writes, it never ends a text
        newline = model.tokenizer.encode("\n")[0]
        with torch.no_grad():
            model.network.lm_head.weight[newline] *= -1
        [sample] = model.generate("data_Na4Cl4", 1, top_k=1, max_new_tokens=12)
        numbers = model.tokenizer.encode("data_Na4Cl4")
        total = 0.0
        for _ in range(12):
            with torch.no_grad():
                logits = model.network(input_ids=torch.tensor([numbers])).logits[0, -1]
            total += float(torch.log_softmax(logits, 0).max())
            numbers.append(int(logits.argmax()))
        assert sample.text == model.tokenizer.decode(numbers)
        assert sample.log_likelihood == pytest.approx(total / 12, abs=1e-4)

    def test_seeds_and_limits(self, untouched_globals: None) -> None:
        model = new_crystallm(**TINY, context=24)
        first, again = (model.generate("data_\n", 3, seed=1) for _ in range(2))
        assert first == again
        assert first != model.generate("data_\n", 3, seed=2)
        [narrow] = model.generate("data_\n", 1, top_k=None, top_p=1e-6, max_new_tokens=4)
        [greedy] = model.generate("data_\n", 1, top_k=1, max_new_tokens=4)
        assert narrow.text == greedy.text
        # the context bounds the text
        assert model.generate("data_" * 30, 1)[0] == Sample("data_" * 30, 0.0, False)

    def test_texts_end_with_a_blank_line(self) -> None:
        model = new_crystallm(**TINY, context=64)
        newline = model.tokenizer.encode("\n")[0]
        with torch.no_grad():
            model.network.transformer.ln_f.weight.zero_()
            model.network.transformer.ln_f.bias.copy_(model.network.lm_head.weight[newline] * 1e4)
        [sample] = model.generate("data_Na", 1)
        assert sample == Sample("data_Na\n\n", pytest.approx(0.0, abs=1e-3), True)


class Parrot:
    """A model that writes the same texts whatever it is asked for."""

    def __init__(self) -> None:
        wide = text_of_crystal(SALT.copy().apply_strain(0.02, inplace=False))
        self.texts = [
            Sample(TEXT, -0.1, True),
            Sample(wide, -0.2, True),
            Sample(TEXT.replace("Na Na0 4", "Na Na0 8"), -0.05, True),
            Sample(TEXT[:100], -0.01, False),
        ]
        self.asked: list[tuple[str, int]] = []

    def generate(self, prompt: str, n: int, **settings: Any) -> list[Sample]:
        self.asked.append((prompt, settings["seed"]))
        return (self.texts * n)[:n]


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> Parrot:
    bird = Parrot()
    monkeypatch.setattr(generator_module, "_load", lambda *_: bird)
    return bird


class TestGenerator:
    def test_valid_crystals_are_ranked(self, parrot: Parrot) -> None:
        generator = CrystaLLMGenerator("folder", n_samples=8, batch_size=4)
        [candidates] = generator.generate(["NaCl"])
        # the stretched cell matches the first, so it is a duplicate
        assert len(candidates) == 1
        assert candidates[0].score == -0.1
        assert candidates[0].provenance["rejected"] == {"multiplicity": 2, "length": 2}
        assert [text for text, _ in parrot.asked] == ["data_Na4Cl4\n", "data_Na2Cl2\n"]

    def test_space_group_and_units(self, parrot: Parrot) -> None:
        generator = CrystaLLMGenerator("folder", z=4, space_group="Fm-3m", n_samples=2)
        assert generator.generate(["NaCl"])[0]
        assert parrot.asked[0][0].endswith("H-M Fm-3m\n")
        with pytest.raises(InputError, match="'Fm3m' has no token"):
            CrystaLLMGenerator("folder", space_group="Fm3m").generate(["NaCl"])

    def test_rows_do_not_depend_on_others(self, parrot: Parrot) -> None:
        CrystaLLMGenerator("folder", n_samples=1).generate(["KCl", "NaCl"])
        CrystaLLMGenerator("folder", n_samples=1).generate(["NaCl"])
        assert parrot.asked[1] == parrot.asked[2]

    def test_what_it_cannot_write(self, parrot: Parrot) -> None:
        assert CrystaLLMGenerator("folder").generate(["RaCl2"]) == [[]]
        assert CrystaLLMGenerator("folder", max_cell_atoms=4).generate(["Na3ClO"]) == [[]]
        assert parrot.asked == []

    def test_missing_model(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="not a folder"):
            CrystaLLMGenerator(tmp_path / "none").generate(["NaCl"])


SALTS = [
    Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(a), [first, second], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    for first, second, a in [("Na", "Cl", 5.7), ("K", "Cl", 6.4), ("K", "Br", 6.7), ("Li", "F", 4)]
]
PLAN = TrainingPlan(**TINY, context=64, steps=6, batch_size=2, save_every=2, warmup=2)


class TestTraining:
    def test_loss_falls_and_the_model_loads(self, tmp_path: Path, untouched_globals: None) -> None:
        plan = TrainingPlan(
            **TINY, context=64, steps=60, batch_size=4, save_every=30, learning_rate=1e-2
        )
        model = train_crystallm(SALTS, tmp_path / "model", plan)
        history = torch.load(tmp_path / "model" / "state.pt", weights_only=True)["history"]
        assert history[-1]["valid"] < 0.7 * np.log(371)
        assert model.generate("data_Na4Cl4\n", 1, max_new_tokens=4)
        card = (tmp_path / "model" / "README.md").read_text()
        assert "60 steps" in card
        found = CrystaLLMGenerator(tmp_path / "model", n_samples=1, max_new_tokens=5)
        assert found.generate(["NaCl"]) == [[]]

    def test_stopped_run_goes_on_as_if_nothing_had_been(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = train_crystallm(SALTS, tmp_path / "whole", PLAN)
        windows, steps = training_module._windows, []

        def interrupted(*arguments: Any) -> Any:
            steps.append(1)
            if len(steps) == 6:
                raise KeyboardInterrupt
            return windows(*arguments)

        monkeypatch.setattr(training_module, "_windows", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_crystallm(SALTS, tmp_path / "parts", PLAN)
        monkeypatch.undo()
        # the crystals are remembered with the run
        resumed = train_crystallm("no longer there", tmp_path / "parts", PLAN)
        for a, b in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
            assert torch.equal(a, b)

    def test_another_plan_or_folder(self, tmp_path: Path) -> None:
        train_crystallm(SALTS, tmp_path / "run", PLAN)
        with pytest.raises(InputError, match="another n_embd"):
            train_crystallm(SALTS, tmp_path / "run", TrainingPlan(**{**vars(PLAN), "n_embd": 64}))
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="not an empty folder"):
            train_crystallm(SALTS, tmp_path, PLAN)

    def test_damaged_state(self, tmp_path: Path) -> None:
        train_crystallm(SALTS, tmp_path / "run", PLAN)
        state = tmp_path / "run" / "state.pt"
        state.write_bytes(state.read_bytes()[:500])
        with pytest.raises(CheckpointError, match="remove it to start"):
            train_crystallm(SALTS, tmp_path / "run", PLAN)

    def test_crystals_without_tokens(self, tmp_path: Path) -> None:
        radium = Structure(Lattice.cubic(5), ["Ra"], [[0, 0, 0]])
        with pytest.warns(CompositionWarning, match="1 crystals have no text"):
            train_crystallm([*SALTS, radium], tmp_path / "run", PLAN)
        with pytest.raises(InputError, match="at least 2 crystals"):
            train_crystallm(SALTS[:1], tmp_path / "one", PLAN)
        with pytest.raises(InputError, match="smaller context"):
            train_crystallm(SALTS, tmp_path / "two", TrainingPlan(**TINY, steps=1))

    @pytest.mark.parametrize("bad", [{"steps": 0}, {"n_embd": 33}, {"validation": 1.0}])
    def test_bad_plans(self, bad: dict) -> None:
        with pytest.raises(InputError, match=next(iter(bad))):
            TrainingPlan(**{**TINY, **bad})

    def test_command(self, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        for i, structure in enumerate(SALTS):
            structure.to(str(tmp_path / f"{i}.cif"))
        arguments = ["train-crystallm", tmp_path, "--output", tmp_path / "model", "--steps", 2]
        sizes = ["--n-layer", 1, "--n-head", 1, "--n-embd", 16, "--context", 64]
        assert main([str(a) for a in [*arguments, *sizes]]) == 0
        assert "loss" in capsys.readouterr().out
        assert load_crystallm(tmp_path / "model").context == 64
