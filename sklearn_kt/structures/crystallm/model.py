"""CrystaLLM's networks: published checkpoints, the Hugging Face port, and our own."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from sklearn_kt._files import DATA
from sklearn_kt.compositions import ELEMENTS
from sklearn_kt.encoder.weights import check_extent
from sklearn_kt.exceptions import CheckpointError, reason_of
from sklearn_kt.hub import model_folder, quiet_transformers, read_settings
from sklearn_kt.randomness import seed_torch, torch_generator_kept
from sklearn_kt.structures.elements import element_features

from .cif_tokenizer import ELEMENT_TOKENS, CIFTokenizer

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

__all__ = ["SHIPPED", "CrystaLLM", "Sample", "load_crystallm", "new_crystallm"]

SHIPPED = DATA / "crystallm"
"""The model in the package."""

Allowed: TypeAlias = Callable[[Sequence[int]], Sequence[int]]

_NANOGPT = "ckpt.pt"
_TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
_BUFFERS = ("attn.bias", "attn.masked_bias")
_PREFIX = "_orig_mod."
_SIZES = (371, 377)


@dataclass(frozen=True)
class Sample:
    """A text that was generated.

    Parameters
    ----------
    text : str
        With its prompt.
    log_likelihood : float
        Mean logarithm of the probability of its tokens after the prompt, under the
        model itself (temperature 1, all tokens).
    finished : bool
        False if the text was cut off at the length limit.
    """

    text: str
    log_likelihood: float
    finished: bool


class CrystaLLM:
    r"""A language model of CIF files.

    Parameters
    ----------
    network : transformers.GPT2LMHeadModel
        With 371 tokens, or the 377 of the Hugging Face port.

    Attributes
    ----------
    tokenizer : CIFTokenizer
        Of the network's dialect.
    form : {"short", "full"}
        What it writes: texts without what follows from the rest, or published ones.
    context : int
        Most tokens of prompt and text.

    Examples
    --------
    >>> from sklearn_kt.structures.crystallm import load_crystallm
    >>> model = load_crystallm()
    >>> [sample] = model.generate("data_Na1Cl1\n", 1, top_k=1, max_new_tokens=4)
    >>> sample.text, bool(sample.finished)
    ('data_Na1Cl1\n_symmetry_space_group_name_H-M Pm-3m\n', False)
    """

    def __init__(self, network: GPT2LMHeadModel) -> None:
        size = network.config.vocab_size
        if size not in _SIZES:
            raise CheckpointError(
                f"CrystaLLM has 371 tokens, or 377 in its Hugging Face port; this model has {size}."
            )
        self.network = network.eval()
        self.tokenizer = CIFTokenizer(brackets=size == _SIZES[1])
        self.form = str(getattr(network.config, "cif_form", "full"))
        self.context = int(network.config.n_positions)

    def generate(
        self,
        prompt: str,
        n: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = 10,
        top_p: float | None = None,
        max_new_tokens: int = 3000,
        allowed: Allowed | None = None,
        seed: int = 0,
    ) -> list[Sample]:
        """Continue a prompt, several times at once.

        Parameters
        ----------
        prompt : str
            Start of the text, in the plain dialect.
        n : int
            Texts to generate.
        temperature : float, default=1.0
            Divides the logits.
        top_k : int or None, default=10
            Draw from so many tokens only.
        top_p : float or None, default=None
            Draw from the likeliest tokens that have this probability together.
        max_new_tokens : int, default=3000
            Longest continuation; the context bounds it too.
        allowed : callable, optional
            Given the tokens written so far, those that may come next.
        seed : int, default=0
            Of the draws.

        Returns
        -------
        samples : list of Sample
            In the order of drawing.
        """
        encode = self.tokenizer.encode
        start = encode(_bracketed(prompt) if self.tokenizer.brackets else prompt)
        written = self.extend(
            start,
            n,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            max_new_tokens=max_new_tokens,
            allowed=allowed,
            seed=seed,
        )
        return [
            Sample(prompt + self.tokenizer.decode(ids), likelihood, finished)
            for ids, likelihood, finished in written
        ]

    def extend(
        self,
        start: Sequence[int],
        n: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = 10,
        top_p: float | None = None,
        max_new_tokens: int = 3000,
        allowed: Allowed | None = None,
        seed: int = 0,
    ) -> list[tuple[list[int], float, bool]]:
        """Continue tokens; as :meth:`generate`.

        Parameters
        ----------
        start : sequence of int
            Tokens.
        n, temperature, top_k, top_p, max_new_tokens, allowed, seed
            As for :meth:`generate`.

        Returns
        -------
        written : list of (list of int, float, bool)
            New tokens, their mean log-likelihood, and whether the text came to its end.
        """
        import torch

        steps = max(min(max_new_tokens, self.context - len(start)), 0)
        generator = torch.Generator().manual_seed(seed)
        device = self.network.device
        newline = self.tokenizer.encode("\n")[0]
        end = self.tokenizer.encode("<eos>")[-1] if self.tokenizer.brackets else -1
        ids = torch.tensor([list(start)] * n, device=device)
        written = np.full((n, steps), -1)
        likelihood, lengths = np.zeros(n), np.zeros(n, int)
        # rows that have not come to their end
        rows = np.arange(n)
        last = np.full(n, start[-1] if len(start) else -1)
        cache: Any = None
        with torch.no_grad():
            for step in range(steps):
                result = self.network(input_ids=ids, past_key_values=cache, use_cache=True)
                cache = result.past_key_values
                logits = result.logits[:, -1].float().cpu()
                open_ones = (
                    logits if allowed is None else _masked(logits, written[rows, :step], allowed)
                )
                chosen = _draw(open_ones, temperature, top_k, top_p, generator)
                logs = torch.log_softmax(logits, dim=1).gather(1, chosen[:, None])[:, 0]
                tokens = chosen.numpy()
                written[rows, step] = tokens
                likelihood[rows] += logs.numpy()
                lengths[rows] += 1
                going = ~((tokens == end) | ((tokens == newline) & (last == newline)))
                if not going.all():
                    keep = torch.from_numpy(np.flatnonzero(going))
                    cache.batch_select_indices(keep.to(device))
                    chosen = chosen[keep]
                rows, last = rows[going], tokens[going]
                if not len(rows):
                    break
                ids = chosen[:, None].to(device)
        return [
            (written[i, : lengths[i]].tolist(), float(likelihood[i] / max(lengths[i], 1)), done)
            for i, done in enumerate(~np.isin(np.arange(n), rows))
        ]

    def log_likelihoods(self, texts: Sequence[str]) -> np.ndarray:
        """Logarithms of the probabilities of whole texts, from their second token on.

        Parameters
        ----------
        texts : sequence of str, length n
            In the plain dialect, such as headers to compare.

        Returns
        -------
        logarithms : ndarray of shape (n,)
            Sums over the tokens.
        """
        import torch

        out = []
        for text in texts:
            ids = self.tokenizer.encode(_bracketed(text) if self.tokenizer.brackets else text)
            tokens = torch.tensor([ids], device=self.network.device)
            with torch.no_grad():
                logs = torch.log_softmax(self.network(input_ids=tokens).logits[0].float(), dim=1)
            out.append(float(logs[:-1].gather(1, tokens[0, 1:, None]).sum()))
        return np.array(out)

    def probabilities(self, ids: Sequence[int]) -> np.ndarray:
        """Probability of each token to come next.

        Parameters
        ----------
        ids : sequence of int
            Tokens so far.

        Returns
        -------
        probabilities : ndarray of shape (n_tokens,)
            They sum to 1.
        """
        import torch

        with torch.no_grad():
            tokens = torch.tensor([list(ids)], device=self.network.device)
            logits = self.network(input_ids=tokens).logits[0, -1].float()
        return torch.softmax(logits, dim=0).cpu().numpy().astype(float)


def load_crystallm(
    source: str | Path | None = None, *, local_files_only: bool = True, device: str = "cpu"
) -> CrystaLLM:
    """Load a model.

    Parameters
    ----------
    source : str, Path or None, default=None
        None is the model in the package. Else a folder with a published
        ``ckpt.pt``; a folder of transformers' GPT-2 (``config.json`` and
        safetensors), as :func:`train_crystallm` and the Hugging Face port have it;
        or, with ``local_files_only=False``, a name on the hub.
    local_files_only : bool, default=True
        Never use the network.
    device : str, default="cpu"
        Where to compute.

    Returns
    -------
    model : CrystaLLM
        Ready to generate.

    Raises
    ------
    CheckpointError
        If the files are missing, damaged, or not those of a CrystaLLM model.

    Examples
    --------
    >>> from sklearn_kt.structures.crystallm import load_crystallm
    >>> model = load_crystallm()
    >>> model.form, model.context
    ('short', 256)
    """
    source = SHIPPED if source is None else source
    folder = Path(source)
    if (folder / _NANOGPT).is_file():
        return CrystaLLM(_of_nanogpt(folder / _NANOGPT).to(device))
    folder = model_folder(source, local_files_only=local_files_only)
    settings = read_settings(folder, "config.json")
    from safetensors import SafetensorError
    from transformers import GPT2Config, GPT2LMHeadModel

    try:
        with quiet_transformers():
            config = GPT2Config.from_dict(settings)
            check_extent(lambda: GPT2LMHeadModel(config), config, folder)
            loaded: Any = GPT2LMHeadModel.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                dtype="float32",
            )
        network, report = loaded
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise CheckpointError(
            f"{source} has no CrystaLLM model that can be read: {reason_of(error)}"
        ) from error
    missing = sorted(set(report["missing_keys"]) - {"lm_head.weight"})
    if missing:
        raise CheckpointError(f"{source} lacks weights: {', '.join(missing[:3])} ...")
    return CrystaLLM(network.to(device))


def new_crystallm(
    *,
    n_layer: int = 4,
    n_head: int = 4,
    n_embd: int = 256,
    context: int = 256,
    dropout: float = 0.1,
    form: str = "short",
    seed: int = 0,
) -> CrystaLLM:
    """Make an untrained model of texts of a form: ``"short"`` or ``"full"``.

    Elements that are alike have token vectors that are alike: they are a random projection of
    the elements' properties. The global generator is left alone.
    """
    import torch

    with torch_generator_kept():
        seed_torch(seed)
        network = _network(n_layer, n_head, n_embd, context, _SIZES[0], dropout, form)
        features = torch.tensor(element_features(), dtype=torch.float32)
        rows = [ELEMENTS.index(symbol) + 1 for symbol in ELEMENT_TOKENS]
        width = features.shape[1]
        projected = features[rows] @ torch.randn(width, n_embd) / math.sqrt(width)
        with torch.no_grad():
            vectors = network.transformer.wte.weight[: len(rows)]
            vectors += network.config.initializer_range * projected
    return CrystaLLM(network)


def _network(
    n_layer: int,
    n_head: int,
    n_embd: int,
    context: int,
    vocab: int,
    dropout: float = 0.1,
    form: str = "full",
) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=vocab,
        n_positions=context,
        n_embd=n_embd,
        n_layer=n_layer,
        n_head=n_head,
        # the same as "gelu_new", in one kernel
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        # a quicker kernel without
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
    )
    # kept in config.json
    config.cif_form = form
    return GPT2LMHeadModel(config)


def _of_nanogpt(path: Path) -> Any:
    """Network with the weights of a published file."""
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        sizes = state["model_args"]
        shape = [int(sizes[k]) for k in ("n_layer", "n_head", "n_embd", "block_size", "vocab_size")]
        weights = {k.removeprefix(_PREFIX): v for k, v in state["model"].items()}
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is damaged, or no checkpoint of CrystaLLM: {type(error).__name__}: {error}"
        ) from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than weights and is not loaded, as it could run code: {error}"
        ) from error
    if shape[-1] not in _SIZES:
        raise CheckpointError(f"CrystaLLM has 371 tokens; {path} has {shape[-1]}.")
    n_layer, n_head, n_embd, context, vocab = shape
    network = _network(n_layer, n_head, n_embd, context, vocab)
    expected = network.state_dict()
    given = {k: v for k, v in weights.items() if not k.endswith(_BUFFERS)}
    converted = {k: v.T.contiguous() if k.endswith(_TRANSPOSED) else v for k, v in given.items()}
    for name, value in expected.items():
        if name not in converted and name.endswith(".bias"):
            # the published models have no biases
            converted[name] = torch.zeros_like(value)
    converted.setdefault("lm_head.weight", converted.get("transformer.wte.weight"))
    wrong = [
        name
        for name, value in expected.items()
        if converted.get(name) is None or converted[name].shape != value.shape
    ]
    unknown = sorted(set(converted) - set(expected))
    if wrong or unknown:
        raise CheckpointError(
            f"{path} does not fit its own sizes: {', '.join([*wrong, *unknown][:3])} ..."
        )
    network.load_state_dict(converted)
    return network


def _masked(logits: Any, written: np.ndarray, allowed: Allowed) -> Any:
    """Leave the logits of tokens that may come next."""
    import torch

    mask = torch.full_like(logits, -math.inf)
    for row, ids in enumerate(written.tolist()):
        tokens = allowed(ids)
        mask[row, tokens] = logits[row, tokens]
    return mask


def _draw(
    logits: Any, temperature: float, top_k: int | None, top_p: float | None, generator: Any
) -> Any:
    import torch

    logits = logits / temperature
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[1]), dim=1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -math.inf)
    probabilities = torch.softmax(logits, dim=1)
    if top_p is not None:
        ordered, order = probabilities.sort(dim=1, descending=True)
        # the token that crosses the threshold still counts
        beyond = ordered.cumsum(dim=1) - ordered >= top_p
        ordered = ordered.masked_fill(beyond, 0)
        probabilities = torch.zeros_like(probabilities).scatter(1, order, ordered)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]


def _bracketed(prompt: str) -> str:
    """Write the prompt in the dialect of the Hugging Face port."""
    lines = []
    for line in prompt.rstrip("\n").split("\n"):
        if line.startswith("data_"):
            lines.append(f"<bos>\ndata_[{line.removeprefix('data_')}]")
        elif line.startswith("_symmetry_space_group_name_H-M"):
            name, _, group = line.partition(" ")
            lines += ["]", f"{name} [{group}]"]
        elif line == "_atom_type_ionic_radius":
            lines += [line, "["]
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"
