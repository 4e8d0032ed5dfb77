"""Recipes: a pretraining run as one file, from tables to a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sklearn_kt.exceptions import InputError

from .corpus import Corpus, build_corpus
from .sources import dft_tables
from .teachers import (
    CHGNetTeacher,
    Teacher,
    TextTeacher,
    add_embeddings,
    embed_corpus,
    read_embeddings,
)

__all__ = ["read_recipe", "run_recipe"]

_KEYS = {"data_home", "corpus", "teachers", "pretrainer", "output", "card"}
# makes the teacher of each kind from its entry in a recipe, and takes out what it needs
TEACHERS: Mapping[str, Callable[[dict[str, Any]], Teacher]] = {
    "chgnet": lambda entry: CHGNetTeacher(),
    "text": lambda entry: TextTeacher(entry.pop("model")),
}


def read_recipe(path: str | Path) -> dict[str, Any]:
    """Read a JSON or YAML file with the keys of :func:`run_recipe`."""
    import yaml

    path = Path(path)
    try:
        # JSON is YAML
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"the recipe {path} cannot be read: {error}.") from error
    if not isinstance(recipe, dict):
        raise InputError(f"the recipe {path} is not a mapping of keys to values.")
    unknown = sorted(set(recipe) - _KEYS)
    if unknown:
        raise InputError(f"the recipe {path} has no key {unknown[0]!r}; keys are {sorted(_KEYS)}.")
    return recipe


def run_recipe(
    recipe: Mapping[str, Any], *, data_home: str | Path | None = None, verbose: int = 1
) -> Path:
    """Build the corpus, embed it, pretrain and save; go on where an earlier call stopped.

    Parameters
    ----------
    recipe : mapping
        ``corpus``: folder of the corpus, built from ``data_home`` if it is not there.
        ``teachers``: list of mappings with ``kind`` ("chgnet", "text" or "table") and the
        arguments of :func:`embed_corpus`; "text" needs ``model``, "table" needs ``path`` and
        ``name``. ``pretrainer``: parameters of :class:`CrossModalPretrainer`. ``output``: folder
        of the checkpoint. ``card``: its text, optional.
    data_home : str or Path, optional
        Takes precedence over the recipe's.
    verbose : int, default=1
        Show progress on stderr.

    Returns
    -------
    folder : pathlib.Path
        The checkpoint.

    Raises
    ------
    InputError
        If the recipe is incomplete, or the output folder is not empty.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_kt.encoder import load_checkpoint
    >>> from sklearn_kt.pretraining import CorpusTable, Property, build_corpus, run_recipe
    >>> table = CorpusTable(["NaCl", "KCl", "Si", "GaAs"], {"gap": [5.0, 5.2, 0.6, 0.2]})
    >>> with tempfile.TemporaryDirectory() as home:
    ...     corpus = build_corpus(Path(home) / "corpus", [table], [Property("gap", "eV")])
    ...     recipe = {
    ...         "corpus": corpus.folder,
    ...         "pretrainer": {"encoder": "tiny", "max_steps": 2},
    ...         "output": Path(home) / "mine",
    ...     }
    ...     spec, weights = load_checkpoint(run_recipe(recipe, verbose=0))
    >>> [entry["name"] for entry in spec["config"]["properties"]]
    ['gap']
    """
    from sklearn_kt.encoder.training import resolve_device

    from .parallel import Workers
    from .pretrainer import CrossModalPretrainer

    for key in ("corpus", "output"):
        if key not in recipe:
            raise InputError(f"the recipe has no {key!r}; give it a folder.")
    output = Path(recipe["output"])
    # found now, not after hours of training
    if output.exists() and any(output.iterdir()):
        raise InputError(f"{output} exists and is not an empty folder; choose another output.")
    pretrainer = CrossModalPretrainer(**{"verbose": verbose, **recipe.get("pretrainer", {})})
    workers = Workers(resolve_device(pretrainer.device))
    with workers.first_goes_first():
        corpus = _corpus(Path(recipe["corpus"]), data_home or recipe.get("data_home"), verbose)
        for entry in recipe.get("teachers", ()):
            _embed(corpus, dict(entry), verbose)
    pretrainer.fit(corpus)
    if workers.is_first:
        pretrainer.save(output, card=recipe.get("card") or _card(pretrainer, corpus, recipe))
    return output


def _corpus(folder: Path, data_home: Any, verbose: int) -> Corpus:
    if folder.exists():
        return Corpus(folder)
    if data_home is None:
        raise InputError(
            f"there is no corpus at {folder}, and no data to build it from; set the environment "
            "variable SKLEARN_KT_DATA or the recipe's 'data_home'."
        )
    return build_corpus(folder, dft_tables(data_home), verbose=verbose)


def _embed(corpus: Corpus, entry: dict[str, Any], verbose: int) -> None:
    kind = entry.pop("kind", None)
    if kind not in (*TEACHERS, "table"):
        raise InputError(f"a teacher's kind is one of {(*TEACHERS, 'table')}, got {kind!r}.")
    name = entry.get("name", kind)
    if name in corpus.teachers:
        return
    if kind == "table":
        add_embeddings(corpus, name, *read_embeddings(entry["path"]))
    else:
        embed_corpus(corpus, TEACHERS[kind](entry), verbose=verbose, **entry)


def _card(pretrainer: Any, corpus: Corpus, recipe: Mapping[str, Any]) -> str:
    return (
        f"# {Path(recipe['output']).name}\n\n"
        f"Composition encoder pretrained on {len(corpus)} reduced compositions, "
        f"{pretrainer.n_steps_} steps.\n\n"
        f"Recipe:\n\n```json\n{json.dumps(dict(recipe), indent=2, default=str)}\n```\n\n"
        f"Held-out compositions:\n\n```json\n{json.dumps(pretrainer.scores_, indent=2)}\n```\n"
    )
