"""Computed properties of compositions from the pretrained heads: no table, no fit.

A checkpoint was pretrained to predict what density-functional calculations say of a compound:
energies, gaps, moduli and more. :func:`predict_properties` gives these predictions in the units of
the property, with the error that the heads had on compositions held out of pretraining, and says
where pretraining has seen the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_kt._property_names import choose_properties, first_of_each, read_property_table
from sklearn_kt._settings import own_settings
from sklearn_kt.compositions import CompositionBatch, read_compositions
from sklearn_kt.encoder import Encoder, held_out_scores
from sklearn_kt.encoder.pool import POOL_FILE, pool_elements
from sklearn_kt.encoder.weights import checkpoint_folder
from sklearn_kt.estimators.base import UnseenElements
from sklearn_kt.evaluation.audit import CompositionPool
from sklearn_kt.exceptions import InputError
from sklearn_kt.pretraining.corpus import UNIT_FORMS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PropertyHeads", "list_properties", "predict_properties"]

# from what a head predicts to the property, by how the head's unit begins
_INVERSE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "": lambda x: x,
    UNIT_FORMS["log"]: lambda x: 10.0**x,
    UNIT_FORMS["log1p"]: np.expm1,
    UNIT_FORMS["binary"]: lambda x: 1.0 / (1.0 + np.exp(-x)),
}


@dataclass(frozen=True)
class _Head:
    """A property head: what it predicts, and how well."""

    name: str
    quantity: str
    source: str
    form: str
    unit: str
    low: float
    high: float
    score: float

    @property
    def is_probability(self) -> bool:
        """Whether it answers yes or no."""
        return self.form == UNIT_FORMS["binary"]

    @property
    def held_out(self) -> str:
        """Spell how well it did on what was held out."""
        if np.isnan(self.score):
            return "unknown"
        if self.is_probability:
            return f"ROC AUC {self.score:.3f}"
        if self.form == UNIT_FORMS["log"]:
            return f"factor {10**self.score:.3g}"
        error = f"MAE {np.expm1(self.score) if self.form else self.score:.3g} {self.unit}".strip()
        # one error of log(1 + x) is an amount of small values and a factor of large ones
        return f"{error} near 0, factor {np.exp(self.score):.3g} far above" if self.form else error

    def values(self, predicted: np.ndarray) -> np.ndarray:
        """Turn predictions into the unit, within the bounds of what pretraining saw."""
        # what log(1 + x) stands for begins at zero: pretraining allows rounding errors below
        low = max(self.low, 0.0) if self.form == UNIT_FORMS["log1p"] else self.low
        return np.clip(_INVERSE[self.form](predicted.astype(np.float64)), low, self.high)

    def errors(self, values: np.ndarray) -> np.ndarray:
        """Error held out as an error of these values, in the unit; nan of probabilities."""
        if self.is_probability:
            return np.full_like(values, np.nan)
        if self.form == UNIT_FORMS["log"]:
            return values * (10**self.score - 1)
        if self.form == UNIT_FORMS["log1p"]:
            return (1 + values) * np.expm1(self.score)
        return np.where(np.isnan(values), np.nan, self.score)


@dataclass(frozen=True)
class PropertyHeads:
    """Some property heads of a checkpoint, by the names that were asked for.

    Parameters
    ----------
    encoder : Encoder
        Of the checkpoint.
    checkpoint : str or Path
        Its name, or its folder.
    heads : dict of str to _Head
        By name; a name is an identifier, such as ``band_gap``.

    Examples
    --------
    >>> from sklearn_kt import read_compositions
    >>> from sklearn_kt.properties import PropertyHeads
    >>> heads = PropertyHeads.load(["volume per atom"])
    >>> {name: values.round() for name, values in heads.predict(read_compositions(["W"])).items()}
    {'volume_per_atom': array([16.])}
    """

    encoder: Encoder
    checkpoint: str | Path
    heads: dict[str, _Head]

    @classmethod
    def load(
        cls, properties: Sequence[str] | str | None = None, checkpoint: str | Path = "default"
    ) -> PropertyHeads:
        """Load the heads of some properties.

        Parameters
        ----------
        properties : sequence of str, "all" or None, default=None
            As of :func:`predict_properties`.
        checkpoint : str or Path, default="default"
            As of :class:`~sklearn_kt.CompositionEmbedder`.

        Returns
        -------
        heads : PropertyHeads
            In the order asked for.

        Raises
        ------
        InputError
            If a property is none of the checkpoint's, or named twice.
        """
        encoder = Encoder.load(checkpoint)
        heads = {head.name: head for head in _heads(encoder, checkpoint)}
        if not heads:
            raise InputError(f"the checkpoint {str(checkpoint)!r} has no heads for properties.")
        quantities = {name: head.quantity for name, head in heads.items()}
        if properties is None:
            # of several tables the first in the file stands for the quantity
            first = first_of_each(quantities).items()
            return cls(encoder, checkpoint, {name: heads[head] for name, head in first})
        if isinstance(properties, str):
            if properties != "all":
                raise InputError(
                    f"properties must be a list of names, 'all' or None, got {properties!r}; for"
                    f" one property, pass [{properties!r}]."
                )
            return cls(encoder, checkpoint, heads)
        chosen = choose_properties(properties, quantities, str(checkpoint)).items()
        return cls(encoder, checkpoint, {name: heads[head] for name, head in chosen})

    @own_settings()
    def predict(self, batch: CompositionBatch, *, device: str = "auto") -> dict[str, np.ndarray]:
        """Predict in the units of the properties.

        Parameters
        ----------
        batch : CompositionBatch
            Compositions.
        device : str, default="auto"
            Where the encoder runs.

        Returns
        -------
        values : dict of str to ndarray of shape (n,)
            By name; nan of rows that are not compositions.
        """
        valid = np.flatnonzero(batch.valid)
        names = self.encoder.property_names
        out = np.full((len(batch), len(names)), np.nan)
        if len(valid):
            out[valid] = self.encoder.features(batch[valid], ["properties"], device=device)[
                "properties"
            ]
        return {
            name: head.values(out[:, names.index(head.name)]) for name, head in self.heads.items()
        }

    def unseen_elements(self) -> UnseenElements:
        """Begin to count rows with elements that no formula of pretraining had.

        Returns
        -------
        unseen : UnseenElements
            It counts none if a checkpoint has no list of what it saw.
        """
        return UnseenElements(pool_elements(self.checkpoint), pretraining=True)

    def seen(self, batch: CompositionBatch) -> dict[str, np.ndarray]:
        """Tell what pretraining has seen of compositions.

        Parameters
        ----------
        batch : CompositionBatch
            Compositions.

        Returns
        -------
        seen : dict of str to ndarray of str, shape (n,)
            By name: ``"label"`` where the pool has this property of this composition,
            ``"formula"`` where it has others of it, ``"no"``; ``"unknown"`` without a pool, and
            ``""`` of rows that are not compositions.
        """
        path = checkpoint_folder(self.checkpoint) / POOL_FILE
        if not path.is_file():
            unknown = np.where(batch.valid, "unknown", "").astype(object)
            return dict.fromkeys(self.heads, unknown)
        pool = CompositionPool.load(path)
        valid = np.flatnonzero(batch.valid)
        inside = np.where(pool.contains(batch[valid]), "formula", "no").astype(object)
        found = {}
        for name, head in self.heads.items():
            found[name] = np.full(len(batch), "", dtype=object)
            label = pool.knows(batch[valid], head.name)
            found[name][valid] = np.where(label, "label", inside)
        return found


def predict_properties(
    compositions: Any,
    properties: Sequence[str] | str | None = None,
    *,
    checkpoint: str | Path = "default",
    errors: str = "raise",
    device: str = "auto",
) -> pd.DataFrame:
    """Predict computed properties of compositions, without a table and without a fit.

    Parameters
    ----------
    compositions : array-like of compositions, shape (n,)
        Anything :func:`~sklearn_kt.read_compositions` takes.
    properties : sequence of str, "all" or None, default=None
        Names of :func:`list_properties`: a quantity, such as ``"band gap"``, which the first
        table that has it stands for, or a column of one table, such as ``"band_gap_oqmd"``. None
        is each quantity once, ``"all"`` each column of each table.
    checkpoint : str or Path, default="default"
        As of :class:`~sklearn_kt.CompositionEmbedder`.
    errors : {"raise", "nan"}, default="raise"
        What happens to rows that are not compositions: an error, or values of nan and a warning.
    device : str, default="auto"
        ``"auto"`` (a GPU when there is one), ``"cpu"``, ``"cuda"``, ...

    Returns
    -------
    table : pandas.DataFrame
        A row for each composition and property, the compositions in their order:

        - ``formula``: as it was read;
        - ``property``: the quantity;
        - ``value``: in ``unit``, pulled in to the bounds of the values of pretraining, and never
          below 0 where the quantity is not (the energy above the hull, magnetizations); yes or no
          as a probability;
        - ``error``: the mean absolute error on compositions held out of pretraining, as an error
          of this value, in ``unit``; nan of probabilities, and of compositions with elements
          that pretraining never saw, of which no error is known;
        - ``unit``, empty for plain numbers; see the notes for those of transport;
        - ``seen``: ``"label"`` where pretraining had this property of this composition (or held
          it out), ``"formula"`` where it had others of it, ``"no"``, or ``"unknown"`` where a
          checkpoint has no list of what it saw;
        - ``held_out``: the mean error held out, of all values: in ``unit``; as a factor that
          values are wrong by where the head predicts their logarithm; both, of values near 0 and
          of those far above 1, where it predicts log(1 + value); of yes or no the area under the
          ROC curve; ``"unknown"`` where no error is known;
        - ``source``: whose calculations the head learned from.

    Raises
    ------
    CompositionError
        If a row is not a composition, and ``errors="raise"``.
    InputError
        If a property is none of the checkpoint's.

    Warns
    -----
    UnseenElementWarning
        If compositions hold elements that no formula of pretraining had.

    See Also
    --------
    CompositionEmbedder : The same heads, untransformed, as features for a model of your own.
    sklearn_kt.screening.screen : Its ``properties`` adds these columns, to filter by.

    Notes
    -----
    These are predictions of calculated numbers of the compound with this formula that is lowest in
    energy among those calculated. Gaps of semilocal functionals are too small by a third to a
    half, and polymorphs share one value. The errors were measured on compositions drawn at random
    from the tables; an unusual one fares worse.

    Seebeck coefficients, power factors and effective masses are at 300 K and 1e18 carriers/cm^3
    [1]_. Power factors are over the relaxation time, which is not calculated: if it is 1e-14 s,
    1 GW/(m K^2 s) is 0.1 uW/(cm K^2). Effective masses are those of free carriers of the same
    conductivity, in masses of an electron; of metals they mean nothing.

    References
    ----------
    .. [1] F. Ricci et al., "An ab initio electronic transport database for inorganic materials",
       Sci. Data 4, 170085 (2017). The table is matminer's, and states no units: they follow from
       those that matminer gives of ``ricci_boltztrap_mp_tabular`` and ``boltztrap_mp``, for its
       power factors are S^2 sigma and its masses n e^2 / sigma, with sigma in 1e15/(ohm m s).

    Examples
    --------
    >>> from sklearn_kt.properties import predict_properties
    >>> table = predict_properties(["MgO", "W"], ["band gap", "bulk modulus"])
    >>> table[["formula", "property", "value", "unit", "seen"]].round()
      formula      property  value unit   seen
    0     MgO      band gap    5.0   eV  label
    1     MgO  bulk modulus  162.0  GPa  label
    2       W      band gap    0.0   eV  label
    3       W  bulk modulus  291.0  GPa  label
    """
    import pandas as pd

    batch = read_compositions(compositions, errors=errors)
    chosen = PropertyHeads.load(properties, checkpoint)
    values, seen = chosen.predict(batch, device=device), chosen.seen(batch)
    unseen = chosen.unseen_elements()
    guessed = np.isin(np.arange(len(batch)), unseen.add(batch))
    unseen.warn()
    formulas = batch.formulas()
    parts = [
        pd.DataFrame(
            {
                "formula": formulas,
                "property": head.quantity,
                "value": values[name],
                "error": np.where(guessed, np.nan, head.errors(values[name])),
                "unit": head.unit,
                "seen": seen[name],
                "held_out": np.where(guessed, "unknown", head.held_out),
                "source": head.source,
            }
        )
        for name, head in chosen.heads.items()
    ]
    # rows of one composition together, in the order of the compositions
    return pd.concat(parts).sort_index(kind="stable").reset_index(drop=True)


def list_properties(checkpoint: str | Path = "default") -> pd.DataFrame:
    """List what a checkpoint predicts of a composition.

    Parameters
    ----------
    checkpoint : str or Path, default="default"
        As of :class:`~sklearn_kt.CompositionEmbedder`.

    Returns
    -------
    table : pandas.DataFrame
        A row for each head, with ``name``, ``property``, ``unit``, ``held_out`` and ``source``,
        as of :func:`predict_properties`.

    Examples
    --------
    >>> from sklearn_kt.properties import list_properties
    >>> list_properties().loc[0].tolist()
    ['formation_energy_mp', 'formation energy', 'eV/atom', 'MAE 0.145 eV/atom', 'Materials Project']
    """
    import pandas as pd

    heads = PropertyHeads.load("all", checkpoint).heads.values()
    rows = [(head.name, head.quantity, head.unit, head.held_out, head.source) for head in heads]
    return pd.DataFrame(rows, columns=["name", "property", "unit", "held_out", "source"])


def _heads(encoder: Encoder, checkpoint: str | Path) -> list[_Head]:
    """Put together what the checkpoint says of its heads and the package of their names."""
    table = {row["name"]: row for row in read_property_table()}
    scores = held_out_scores(checkpoint)
    heads = []
    for entry in encoder.spec["config"].get("properties", []):
        name, unit = entry["name"], entry["unit"]
        form = next((form for form in UNIT_FORMS.values() if unit.startswith(form)), "")
        is_probability = form == UNIT_FORMS["binary"]
        # a head of someone else's corpus is known by its name alone
        about = table.get(name, {})
        heads.append(
            _Head(
                name,
                about.get("quantity", name),
                about.get("source", ""),
                form,
                "probability" if is_probability else unit.removeprefix(form).strip(),
                float(about.get("low") or -np.inf),
                float(about.get("high") or np.inf),
                scores.get(f"{'auc' if is_probability else 'mae'}_{name}", np.nan),
            )
        )
    return heads
