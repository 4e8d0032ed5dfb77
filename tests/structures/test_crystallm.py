"""CrystaLLM: tokens, texts, checkpoints, generation, validity, training."""

from __future__ import annotations

import contextlib
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.io.cif import CifWriter

from sklearn_kt.cli import main
from sklearn_kt.exceptions import CheckpointError, CompositionWarning, InputError
from sklearn_kt.structures import Cached, load_library
from sklearn_kt.structures.candidate import Candidate
from sklearn_kt.structures.crystallm import (
    CIFRejectedError,
    CrystaLLMGenerator,
    TrainingPlan,
    crystal_of_text,
    load_crystallm,
    text_of_crystal,
    train_crystallm,
)
from sklearn_kt.structures.crystallm import generator as generator_module
from sklearn_kt.structures.crystallm.cif_tokenizer import CIFTokenizer
from sklearn_kt.structures.crystallm.guide import Guide
from sklearn_kt.structures.crystallm.model import (
    SHIPPED,
    CrystaLLM,
    Sample,
    _bracketed,
    new_crystallm,
)
from sklearn_kt.structures.crystallm.search import Found, tree_search
from sklearn_kt.structures.crystallm.short import _empty, lengthen, shorten
from sklearn_kt.structures.crystallm.sites import sites_of_hall
from sklearn_kt.structures.crystallm.text import bond_score, prompt, text_of_orbits
from sklearn_kt.structures.crystallm.text_run import TextRun, batches_of, text_loss
from sklearn_kt.structures.crystallm.trainer import export_crystallm
from sklearn_kt.structures.symmetry import GRID, hall_numbers, orbit_images, setting

SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
TEXT = text_of_crystal(SALT)
SHORT = shorten(TEXT)
TINY: dict[str, Any] = {"n_layer": 2, "n_head": 2, "n_embd": 32}


def library_texts(n: int) -> list[str]:
    """Texts of crystals drawn from the library."""
    library = load_library()
    arrays, texts = library.arrays, []
    for row in np.random.default_rng(0).permutation(len(library))[:n].tolist():
        orbits = zip(
            *(
                arrays[f"orbit_{k}"][slice(*arrays["orbit_start"][row : row + 2])].tolist()
                for k in ("element", "multiplicity", "position")
            ),
            strict=True,
        )
        texts.append(text_of_orbits(arrays["hall"][row], arrays["lattice"][row].tolist(), orbits))
    return texts


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
        assert text == "".join(tokenizer.tokens[n].removesuffix("_sg") for n in numbers)

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

    @pytest.mark.slow
    def test_thousands_of_texts_round_trip(self) -> None:
        tokenizer = CIFTokenizer()
        for text in library_texts(1500):
            assert tokenizer.decode(tokenizer.encode(text)) == text

    def test_same_text_as_pymatgens_writer(self) -> None:
        library = load_library()
        for row in np.random.default_rng(2).permutation(len(library))[:12].tolist():
            structure = Candidate(*library.cell(row)).structure
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                lines = str(CifWriter(structure, symprec=0.1)).splitlines()
            ours = text_of_crystal(structure).splitlines()
            theirs = [" ".join(line.split()) for line in lines]
            for name in ("_chemical_formula_sum", "_symmetry_space", "_cell_formula_units_Z"):
                assert [x for x in ours if x.startswith(name)] == [
                    x.replace("   ", " ") for x in theirs if x.startswith(name)
                ]
            wanted = [row.split() for row in theirs if len(row.split()) == 7]
            found = [row.split() for row in ours if len(row.split()) == 7]
            assert [w[:3] for w in wanted] == [f[:3] for f in found]
            differences = np.array([w[3:6] for w in wanted], float) - np.array(
                [f[3:6] for f in found], float
            )
            assert np.abs(differences).max() < 2e-4

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
        for text in (noise, SHORT[:60] + noise, SHORT[:-20] + noise):
            with contextlib.suppress(CIFRejectedError):
                lengthen(text)

    def test_bonds_of_one_atom_of_each_kind_are_enough(self) -> None:
        wide = SALT.copy()
        wide.scale_lattice(9**3)
        rock = Structure.from_spacegroup(
            "P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.3, 0.3, 0]]
        )
        for structure, orbits in ((SALT, {0: 4, 4: 4}), (wide, {0: 4, 4: 4}), (rock, {0: 2, 2: 4})):
            assert bond_score(structure, orbits) == pytest.approx(bond_score(structure))
        assert bond_score(SALT) == bond_score(rock) == 1
        assert bond_score(wide) == 0

    def test_disordered_crystal(self) -> None:
        structure = SALT.copy()
        structure.replace_species({"Na": {"Na": 0.5, "K": 0.5}})
        with pytest.raises(InputError, match="partially occupied"):
            text_of_crystal(structure)


class TestShortForm:
    def test_of_salt(self) -> None:
        assert SHORT == (
            "data_Na4Cl4\n_symmetry_space_group_name_H-M Fm-3m\n_cell_length_a 5.69\n"
            "Na 4 0.0 0.0 0.0\nCl 4 0.0 0.0 0.5\n\n"
        )
        assert lengthen(SHORT) == TEXT

    @pytest.mark.slow
    def test_library_crystals_round_trip(self) -> None:
        matcher = StructureMatcher(scale=False, ltol=0.05, stol=0.05, angle_tol=2)
        for text in [t for t in library_texts(120) if t.count(" 1\n") < 12][:60]:
            again = lengthen(shorten(text))
            before, after = (crystal_of_text(t, check_bonds=False) for t in (text, again))
            assert matcher.fit(before.structure, after.structure), text
            # all but digits is the same
            assert [x.split()[:3] for x in again.splitlines()] == [
                x.split()[:3] if not x.startswith(("_cell_l", "_cell_a", "_cell_v")) else y.split()
                for x, y in zip(text.splitlines(), again.splitlines(), strict=True)
            ]

    def test_sites_move_to_where_their_multiplicity_is(self) -> None:
        blurred = SHORT.replace("Na 4 0.0 0.0 0.0", "Na 4 0.01 0.99 0.03")
        assert lengthen(blurred) == TEXT

    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            ("data_Na4Cl4", "Na4Cl4", "syntax"),
            ("data_Na4Cl4", "data_Qq4", "syntax"),
            ("Fm-3m", "Fm3x", "space group"),
            ("_cell_length_a 5.69", "_cell_length_b 5.69", "syntax"),
            ("5.69", "five", "syntax"),
            ("5.69", "0.1", "cell"),
            ("Na 4 0.0 0.0 0.0", "Na 4 0.25 0.25 0.25", "multiplicity"),
            ("Na 4 0.0 0.0 0.0", "Na 5 0.0 0.0 0.0", "multiplicity"),
            ("Na 4 0.0 0.0 0.0", "Na 4 0.0 0.0", "syntax"),
            ("Na 4 0.0 0.0 0.0", "Na four 0.0 0.0 0.0", "syntax"),
            ("Na 4 0.0 0.0 0.0", "Na 4 0.0 0.0 nan", "syntax"),
            ("Na 4 0.0 0.0 0.0\nCl 4 0.0 0.0 0.5\n", "", "syntax"),
        ],
    )
    def test_reasons_of_rejection(self, old: str, new: str, reason: str) -> None:
        assert old in SHORT
        with pytest.raises(CIFRejectedError) as error:
            lengthen(SHORT.replace(old, new))
        assert error.value.reason == reason


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

    form = "full"
    tokenizer = CIFTokenizer()

    def __init__(self) -> None:
        wide = text_of_crystal(SALT.copy().apply_strain(0.02, inplace=False))
        caesium = Structure(Lattice.cubic(3.4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        self.texts = [
            Sample(text_of_crystal(caesium), -0.05, True),
            Sample(TEXT, -0.1, True),
            Sample(wide, -0.2, True),
            Sample(TEXT.replace("Na Na0 4", "Na Na0 8"), -0.05, True),
            Sample(TEXT.replace("Cl", "Br"), -0.05, True),
            Sample(TEXT[:100], -0.01, False),
        ]
        self.asked: list[tuple[str, int, int]] = []

    def log_likelihoods(self, texts: list[str]) -> np.ndarray:
        return np.log([{"data_Na4Cl4\n": 0.7, "data_Na1Cl1\n": 0.3}.get(t, 1e-9) for t in texts])

    def generate(self, prompt: str, n: int, **settings: Any) -> list[Sample]:
        self.asked.append((prompt, n, settings["seed"]))
        return (self.texts * n)[:n]


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> Parrot:
    bird = Parrot()
    monkeypatch.setattr(generator_module, "_load", lambda *_: bird)
    return bird


class TestGenerator:
    def test_valid_crystals_are_ranked_by_votes(self, parrot: Parrot) -> None:
        [candidates] = CrystaLLMGenerator(n_samples=6, z=4).generate(["NaCl"])
        # the stretched cell matches the first, so it is a vote for it
        assert [c.provenance["space_group"] for c in candidates] == ["Fm-3m", "Pm-3m"]
        assert [c.score for c in candidates] == pytest.approx([2 / 3, 1 / 3])
        assert [c.provenance["votes"] for c in candidates] == [2, 1]
        assert candidates[0].provenance["log_likelihood"] == -0.1
        assert candidates[0].provenance["rejected"] == {
            "multiplicity": 1, "formula": 1, "length": 1
        }  # fmt: skip

    def test_ranked_by_likelihood_or_energy(self, parrot: Parrot) -> None:
        asked: dict[str, Any] = {"n_samples": 3, "z": 4}
        by_likelihood, by_energy = (
            CrystaLLMGenerator(rank_by=rank_by, **asked).generate(["NaCl"])[0]
            for rank_by in ("likelihood", "energy")
        )
        assert [c.provenance["space_group"] for c in by_likelihood] == ["Pm-3m", "Fm-3m"]
        assert [c.score for c in by_likelihood] == [-0.05, -0.1]
        assert [c.provenance["space_group"] for c in by_energy] == ["Fm-3m", "Pm-3m"]
        assert by_energy[0].provenance["energy"] < by_energy[1].provenance["energy"]
        assert [c.score for c in by_energy] == pytest.approx([2 / 3, 1 / 3])
        parrot.texts = parrot.texts[-1:]
        assert CrystaLLMGenerator(rank_by="energy", **asked).generate(["NaCl"]) == [[]]

    def test_headers_share_out_the_texts(self, parrot: Parrot) -> None:
        CrystaLLMGenerator(n_samples=9).generate(["NaCl"])
        assert [text[:2] for text in parrot.asked] == [("data_Na4Cl4\n", 6), ("data_Na1Cl1\n", 3)]

    def test_space_group_and_units(self, parrot: Parrot) -> None:
        generator = CrystaLLMGenerator(z=4, space_group="Fm-3m", n_samples=2)
        assert generator.generate(["NaCl"])[0]
        assert parrot.asked[0][0].endswith("H-M Fm-3m\n")
        assert "_atom_type_radius" in parrot.asked[0][0]
        parrot.form = "short"
        generator.generate(["NaCl"])
        assert parrot.asked[1][0] == "data_Na4Cl4\n_symmetry_space_group_name_H-M Fm-3m\n"
        with pytest.raises(InputError, match="'Fm3m' has no token"):
            CrystaLLMGenerator(space_group="Fm3m").generate(["NaCl"])

    @pytest.mark.slow
    def test_short_texts_are_read(self, parrot: Parrot) -> None:
        parrot.texts, parrot.form = [Sample(SHORT, -0.1, True)], "short"
        [[candidate]] = CrystaLLMGenerator(n_samples=1, z=4).generate(["NaCl"])
        assert candidate.structure.volume == pytest.approx(5.69**3)

    def test_rows_do_not_depend_on_others(self, parrot: Parrot) -> None:
        CrystaLLMGenerator(n_samples=1).generate(["KCl", "NaCl"])
        CrystaLLMGenerator(n_samples=1).generate(["NaCl"])
        assert parrot.asked[1] == parrot.asked[2]

    def test_what_it_cannot_write(self, parrot: Parrot) -> None:
        assert CrystaLLMGenerator().generate(["RaCl2"]) == [[]]
        assert CrystaLLMGenerator(max_cell_atoms=4).generate(["Na3ClO"]) == [[]]
        assert parrot.asked == []

    def test_interrupted_run_keeps_what_is_done(
        self, parrot: Parrot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sklearn_kt.structures.cache._CHUNK", 1)
        generate, stop = parrot.generate, True

        def interrupted(prompt: str, *arguments: Any, **settings: Any) -> list[Sample]:
            if stop and "K" in prompt:
                raise KeyboardInterrupt
            return generate(prompt, *arguments, **settings)

        parrot.generate = interrupted  # type: ignore[method-assign]
        generator = Cached(CrystaLLMGenerator(n_samples=2, z=4), tmp_path)
        with pytest.raises(KeyboardInterrupt):
            generator.generate(["NaCl", "KCl"])
        assert len(parrot.asked) == 1
        stop = False
        assert generator.generate(["NaCl", "KCl"])[0]
        # only the second was asked for again
        assert [text for text, *_ in parrot.asked] == ["data_Na4Cl4\n", "data_K4Cl4\n"]

    def test_missing_model(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="is no folder, and no model of that name"):
            CrystaLLMGenerator(tmp_path / "none").generate(["NaCl"])


class TestSites:
    def test_of_the_international_tables(self) -> None:
        # fixed positions by multiplicity, and multiplicities of the others
        known = {
            "P1": ({}, {1}),
            "P-1": ({1: 8}, {2}),
            "P2_1/c": ({2: 4}, {4}),
            "R-3m": ({3: 2, 9: 2}, {6, 18, 36}),
            "P6_3/mmc": ({2: 4, 6: 1}, {4, 6, 12, 24}),
            "I4_132": ({8: 2, 12: 2}, {16, 24, 48}),
            "Ia-3d": ({16: 2, 24: 2}, {32, 48, 96}),
        }
        for symbol, (fixed, free) in known.items():
            sites = sites_of_hall(hall_numbers()[symbol][0])
            assert {m: len(images) for m, images in sites.fixed.items()} == fixed, symbol
            assert sites.free == free, symbol

    def test_those_of_the_library_are_among_them(self) -> None:
        arrays = load_library().arrays
        halls = np.repeat(arrays["hall"], np.diff(arrays["orbit_start"]))
        pairs = np.unique(np.column_stack([halls, arrays["orbit_multiplicity"]]), axis=0)
        for hall, multiplicity in pairs.tolist():
            sites = sites_of_hall(hall)
            assert multiplicity in sites.free | set(sites.fixed), (hall, multiplicity)

    @settings(max_examples=30, deadline=None)
    @given(
        st.sampled_from(["P2_1/c", "Cmcm", "I4/mcm", "P6_3/mmc", "Fd-3m"]),
        st.lists(st.floats(0, 1), min_size=3, max_size=3),
        st.data(),
    )
    def test_empty_positions_have_the_multiplicity(
        self, symbol: str, coords: list[float], data: st.DataObject
    ) -> None:
        hall = hall_numbers()[symbol][0]
        sites = sites_of_hall(hall)
        m = data.draw(st.sampled_from(sorted({*sites.planes, *sites.fixed})))
        lattice = 9 * np.eye(3)
        if symbol == "P6_3/mmc":
            lattice[1, :2] = -4.5, 4.5 * 3**0.5
        placed = _empty(np.array(coords), m, hall, lattice, [])
        assert placed is not None
        rotations, shifts, _ = setting(hall)
        images = orbit_images(np.rint(placed * GRID).astype(int), rotations, shifts)
        assert len(images) == m
        # and nothing of the sort is nearer than what was found
        again = _empty(placed, m, hall, lattice, [])
        np.testing.assert_allclose((again - placed + 0.5) % 1, 0.5, atol=1e-3)


class TestGuide:
    def test_only_crystals_of_the_composition_can_be_written(self) -> None:
        tokenizer = CIFTokenizer()
        rng = np.random.default_rng(0)
        for header, formula in (("data_Na4Cl4\n", "NaCl"), ("data_Ba1Ti1O3\n", "BaTiO3")):
            guide = Guide(tokenizer, header)
            for _ in range(8):
                ids: list[int] = []
                while ids[-2:] != tokenizer.encode("\n\n"):
                    ids.append(int(rng.choice(guide.allowed(ids))))
                text = header + tokenizer.decode(ids)
                total = Composition(
                    "".join(" ".join(x.split()[:2]).replace(" ", "") for x in text.split("\n")
                            if x[:1].isalpha() and not x.startswith("data_"))
                )  # fmt: skip
                assert total.reduced_formula == formula, text
                # what is left to chance may not be sound, but it can always be read
                with contextlib.suppress(CIFRejectedError):
                    long = lengthen(text, largest_move=2.0, special=True)
                    assert "multiplicity" in long

    def test_the_text_of_a_crystal_is_allowed(self) -> None:
        tokenizer = CIFTokenizer()
        for text in [shorten(t) for t in library_texts(12)]:
            header, _, rest = text.partition("\n")
            guide, ids = Guide(tokenizer, header + "\n"), tokenizer.encode(rest)
            for i, token in enumerate(ids):
                assert token in guide.allowed(ids[:i]), text[: len(tokenizer.decode(ids[:i]))]

    def test_no_fixed_position_is_taken_twice(self) -> None:
        tokenizer = CIFTokenizer()
        start = prompt({11: 1, 17: 1}, 4, "Fm-3m", properties=False)
        guide = Guide(tokenizer, start)
        ids = tokenizer.encode("_cell_length_a 5.69\nNa 4 0.0 0.0 0.0\n")
        begun = len(ids)
        while ids[-2:] != tokenizer.encode("\n\n"):
            # the other position is all that is left
            [token] = guide.allowed(ids)
            ids.append(token)
        assert tokenizer.decode(ids[begun:]) == "Cl 4 0.0 0.0 0.5\n\n"

    def test_groups_have_room_for_all_elements_together(self) -> None:
        tokenizer = CIFTokenizer()
        # Pm-3m has two positions for one atom, and P-1 eight
        groups = Guide(tokenizer, "data_Na1Cl1Br1\n").groups
        assert "Pm-3m" not in groups
        assert {"P1", "P-1"} <= set(groups)
        asked = prompt({11: 1, 17: 1, 35: 1}, 1, "Pm-3m", properties=False)
        assert Guide(tokenizer, asked).groups == []

    def test_space_group_of_the_prompt_is_kept(self) -> None:
        tokenizer = CIFTokenizer()
        guide = Guide(tokenizer, prompt({11: 1, 17: 1}, 4, "Fm-3m", properties=False))
        assert [tokenizer.tokens[i] for i in guide.allowed([])] == ["_cell_length_a"]

    def test_sites_go_to_special_positions_that_are_empty(self) -> None:
        text = SHORT.replace("Na 4 0.0 0.0 0.0", "Na 4 0.25 0.25 0.25").replace(
            "Cl 4 0.0 0.0 0.5", "Cl 4 0.24 0.25 0.25"
        )
        with pytest.raises(CIFRejectedError, match="multiplicity"):
            lengthen(text)
        found = crystal_of_text(lengthen(text, special=True), check_bonds=False)
        assert found.provenance["space_group"] == "Fm-3m"
        assert StructureMatcher().fit(found.structure, SALT)

    def test_generator_uses_it(self, tmp_path: Path) -> None:
        train_crystallm(SALTS, tmp_path / "run", PLAN)
        asked = {"z": 4, "space_group": "Fm-3m", "n_samples": 8, "check_bonds": False}
        free = CrystaLLMGenerator(tmp_path / "run", guided=False, **asked)
        guided = CrystaLLMGenerator(tmp_path / "run", **asked)
        assert free.generate(["NaCl"]) == [[]]
        [[candidate]] = guided.generate(["NaCl"])
        assert StructureMatcher().fit(candidate.structure, SALT)
        tree = CrystaLLMGenerator(tmp_path / "run", search="tree", **{**asked, "n_samples": 2})
        assert tree.generate(["NaCl"])[0][0].formula == "NaCl"


class TestShippedModel:
    def test_writes_rock_salt(self) -> None:
        generator = CrystaLLMGenerator(n_samples=4, z=4, space_group="Fm-3m")
        [[magnesia]] = generator.generate(["MgO"], 1)
        assert magnesia.provenance["space_group"] == "Fm-3m"

    def test_small_enough_for_the_wheel(self) -> None:
        assert (SHIPPED / "model.safetensors").stat().st_size < 12e6
        assert "must not be scored on" in (SHIPPED / "README.md").read_text(encoding="utf-8")
        assert load_crystallm().form == "short"

    @pytest.mark.slow
    def test_command(self, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        arguments = ["structures", "MgO", "--n", "2", "--generator", "prototype,crystallm"]
        assert main([*arguments, "--output-dir", str(tmp_path)]) == 0
        assert "MgO: 2 candidates" in capsys.readouterr().out


class Dice:
    """A model of two texts, of which the worse one is likelier."""

    tokenizer = CIFTokenizer()
    context = 40

    def __init__(self) -> None:
        self.good, self.bad = (self.tokenizer.encode(f"data_{x}\n\n") for x in ("O", "N"))

    def probabilities(self, ids: list[int]) -> np.ndarray:
        out = np.full(371, 1e-9)
        for text, share in ((self.good, 0.2), (self.bad, 0.8)):
            if text[: len(ids)] == ids and len(ids) < len(text):
                out[text[len(ids)]] += share
        return out / out.sum()

    def extend(
        self, ids: list[int], n: int, **settings: Any
    ) -> list[tuple[list[int], float, bool]]:
        rest = self.good if ids == self.good[: len(ids)] and len(ids) > 1 else self.bad
        return [(rest[len(ids) :], -1.0, True)] * n


class TestTreeSearch:
    def test_goes_where_scores_are_low(self) -> None:
        def judge(found: Found) -> None:
            found.score = 0.0 if "O" in found.text else 1.0

        found = tree_search(Dice(), "data_", judge, n_simulations=60, exploration=1.0, width=2)  # type: ignore[arg-type]
        assert len(found) == 60
        assert {f.text for f in found} == {"data_O\n\n", "data_N\n\n"}
        # the model alone would write it in one of five
        assert sum("O" in f.text for f in found[20:]) > 20

    def test_penalties_turn_it_away(self) -> None:
        def judge(found: Found) -> None:
            if "N" in found.text:
                found.penalty = -1.0
            else:
                found.score = 0.0

        found = tree_search(Dice(), "data_", judge, n_simulations=40, exploration=1.0, width=2)  # type: ignore[arg-type]
        assert sum("O" in f.text for f in found) > 20

    def test_generator_with_a_real_network(self, tmp_path: Path) -> None:
        train_crystallm(SALTS, tmp_path / "run", PLAN)
        generator = CrystaLLMGenerator(
            tmp_path / "run", search="tree", n_samples=3, max_new_tokens=12
        )
        assert generator.generate(["NaCl"]) == [[]]
        with pytest.raises(ValueError, match="search"):
            CrystaLLMGenerator(search="breadth").generate(["NaCl"])


SALTS = [
    Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(a), [first, second], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    for first, second, a in [("Na", "Cl", 5.7), ("K", "Cl", 6.4), ("K", "Br", 6.7), ("Li", "F", 4)]
]
PLAN = TrainingPlan(**TINY, context=80, batch_tokens=160, steps=6, save_every=2, warmup=2)


class TestTraining:
    @pytest.mark.slow
    @pytest.mark.parametrize("changes", [{}, {"bf16": True}, {"form": "full", "context": 400}])
    def test_loss_falls_and_the_model_loads(
        self, tmp_path: Path, untouched_globals: None, changes: dict
    ) -> None:
        settings: dict[str, Any] = {"context": 80, "steps": 40, "save_every": 20, **changes}
        plan = TrainingPlan(
            **TINY, batch_tokens=800, learning_rate=1e-2, warmup=2, average=0.8, **settings
        )
        model = train_crystallm(SALTS, tmp_path / "model", plan)
        history = torch.load(tmp_path / "model" / "state.pt", weights_only=True)["history"]
        assert history[-1]["train"] < history[0]["train"]
        assert history[-1]["valid"] < 0.5 * np.log(371)
        assert (model.form, model.context) == (plan.form, plan.context)
        assert model.generate("data_Na4Cl4\n", 1, max_new_tokens=4)
        card = (tmp_path / "model" / "README.md").read_text()
        assert "40 of 40 steps; 3 texts" in card
        found = CrystaLLMGenerator(tmp_path / "model", n_samples=1, max_new_tokens=5, z=4)
        assert found.generate(["NaCl"]) == [[]]

    @pytest.mark.slow
    def test_a_model_that_knows_a_crystal_writes_it(self, tmp_path: Path) -> None:
        plan = TrainingPlan(
            n_layer=2, n_head=2, n_embd=64, context=80, batch_tokens=320, steps=120,
            learning_rate=1e-2, warmup=5, average=0.8, dropout=0.0, save_every=120,
        )  # fmt: skip
        train_crystallm([SALTS[0]] * 6, tmp_path / "model", plan)
        [candidates] = CrystaLLMGenerator(tmp_path / "model", n_samples=4).generate(["NaCl"])
        assert StructureMatcher().fit(candidates[0].structure, SALTS[0])
        assert candidates[0].structure.volume == pytest.approx(5.7**3)

    def test_batches_hold_every_text_once(self) -> None:
        lengths = np.random.default_rng(0).integers(20, 80, 500)
        batches = batches_of(lengths, PLAN, np.random.default_rng(1))
        assert sorted(np.concatenate(batches).tolist()) == list(range(500))
        assert all(len(rows) * lengths[rows].max() <= PLAN.batch_tokens for rows in batches)

    def test_padding_does_not_count(self) -> None:
        network = PLAN.untrained().network.eval()
        texts = [np.arange(5, 25), np.arange(30, 70)]
        with torch.no_grad():
            losses = [
                float(text_loss(network, part, PLAN, "cpu"))
                for part in (texts, texts[:1], texts[1:])
            ]
        assert losses[0] == pytest.approx((19 * losses[1] + 39 * losses[2]) / 58, rel=1e-5)

    def test_stopped_run_goes_on_as_if_nothing_had_been(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = train_crystallm(SALTS, tmp_path / "whole", PLAN)
        one_step = TextRun.one_step

        def interrupted(self: TextRun, progress: float) -> None:
            if self.step == 5:
                raise KeyboardInterrupt
            one_step(self, progress)

        monkeypatch.setattr(TextRun, "one_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_crystallm(SALTS, tmp_path / "parts", PLAN)
        monkeypatch.undo()
        # what there is can be used meanwhile
        assert export_crystallm(tmp_path / "parts", tmp_path / "so far").context == 80
        # the crystals are remembered with the run
        with pytest.raises(InputError, match="other crystals"):
            train_crystallm(SALTS[1:], tmp_path / "parts", PLAN)
        resumed = train_crystallm(None, tmp_path / "parts", PLAN)
        for a, b in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
            assert torch.equal(a, b)
        # more steps may be asked for
        longer = TrainingPlan(**{**vars(PLAN), "steps": 8})
        train_crystallm(SALTS, tmp_path / "parts", longer)
        assert "8 of 8 steps" in (tmp_path / "parts" / "README.md").read_text()

    def test_other_crystals(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no run to go on with"):
            train_crystallm(None, tmp_path / "run", PLAN)
        folder = tmp_path / "cifs"
        folder.mkdir()
        for number, salt in enumerate(SALTS):
            salt.to(filename=str(folder / f"{number}.cif"))
        train_crystallm(folder, tmp_path / "run", PLAN)
        (folder / "0.cif").write_text((folder / "1.cif").read_text())
        with pytest.raises(InputError, match="other crystals"):
            train_crystallm(folder, tmp_path / "run", PLAN)
        # a state does not go on with texts that it never saw
        (tmp_path / "run" / "tokens.npz").unlink()
        with pytest.raises(CheckpointError, match="other data"):
            train_crystallm(folder, tmp_path / "run", PLAN)

    def test_another_plan_or_folder(self, tmp_path: Path) -> None:
        train_crystallm(SALTS, tmp_path / "run", PLAN)
        with pytest.raises(InputError, match="another n_embd"):
            train_crystallm(SALTS, tmp_path / "run", TrainingPlan(**{**vars(PLAN), "n_embd": 64}))
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="not an empty folder"):
            train_crystallm(SALTS, tmp_path, PLAN)
        (tmp_path / "early").mkdir()
        (tmp_path / "run" / "plan.json").rename(tmp_path / "early" / "plan.json")
        with pytest.raises(CheckpointError, match="not come so far"):
            export_crystallm(tmp_path / "early")

    def test_full_disk_leaves_the_last_state(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save, saved = torch.save, []

        def full(state: Any, path: Path) -> None:
            if saved:
                Path(path).write_bytes(b"half")
                raise OSError(28, "No space left on device")
            saved.append(1)
            save(state, path)

        monkeypatch.setattr(torch, "save", full)
        with pytest.raises(OSError, match="No space"):
            train_crystallm(SALTS, tmp_path / "run", PLAN)
        assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["step"] == 2
        assert not list((tmp_path / "run").glob(".*"))

    def test_damaged_state(self, tmp_path: Path) -> None:
        train_crystallm(SALTS, tmp_path / "run", PLAN)
        state = tmp_path / "run" / "state.pt"
        state.write_bytes(state.read_bytes()[:500])
        with pytest.raises(CheckpointError, match="delete it to begin again"):
            train_crystallm(SALTS, tmp_path / "run", PLAN)
        torch.save({"step": 1}, state)
        with pytest.raises(CheckpointError, match="damaged"):
            export_crystallm(tmp_path / "run")

    def test_crystals_without_tokens(self, tmp_path: Path) -> None:
        radium = Structure(Lattice.cubic(5), ["Ra"], [[0, 0, 0]])
        with pytest.warns(CompositionWarning, match="1 crystals have no text"):
            train_crystallm([*SALTS, radium], tmp_path / "run", PLAN)
        short = TrainingPlan(**{**vars(PLAN), "context": 40})
        with (
            pytest.warns(CompositionWarning, match="4 have texts of more than 40"),
            pytest.raises(InputError, match="at least 2 crystals"),
        ):
            train_crystallm(SALTS, tmp_path / "one", short)

    @pytest.mark.parametrize(
        "bad",
        [{"steps": 0}, {"n_embd": 33}, {"validation": 1.0}, {"dropout": 1.0}, {"form": "long"},
         {"batch_tokens": 10}],
    )  # fmt: skip
    def test_bad_plans(self, bad: dict) -> None:
        with pytest.raises(InputError, match=next(iter(bad))):
            TrainingPlan(**{**TINY, **bad})

    def test_command(self, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        for i, structure in enumerate(SALTS):
            structure.to(str(tmp_path / f"{i}.cif"))
        arguments = ["train-crystallm", tmp_path, "--output", tmp_path / "model", "--steps", 2]
        sizes = ["--n-layer", 1, "--n-head", 1, "--n-embd", 16, "--context", 80]
        assert main([str(a) for a in [*arguments, *sizes]]) == 0
        assert "loss" in capsys.readouterr().out
        assert load_crystallm(tmp_path / "model").context == 80
