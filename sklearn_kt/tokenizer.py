"""Compositions as tokens: :class:`CompositionTokenizer`.

Tokens are elements, never characters: a text tokenizer cuts ``LiFePO4`` into
``life ##po ##4``, and an uncased one cannot tell cobalt (``Co``) from carbon
monoxide (``CO``).

Notes
-----
The vocabulary is fixed (:data:`VOCABULARY`, 134 tokens): ``[PAD]`` 0, ``[UNK]`` 1,
``[CLS]`` 2, ``[SEP]`` 3, ``[MASK]`` 4, the element of atomic number ``Z`` is ``4 + Z``
(5 to 122), the digits 0 to 9 are 123 to 132, and ``.`` is 133.
"""

from __future__ import annotations

import inspect
import json
import os
import re
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import validate_data

from ._model_guards import FORMULA_PARTS, check_tokenizer, read_json
from .compositions import ELEMENTS, CompositionBatch, parse_formula, read_compositions
from .exceptions import CheckpointError, CompositionError, InputError, reason_of
from .fitting import fit_context
from .hub import model_folder, read_settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

__all__ = [
    "VOCABULARY",
    "CompositionTokenizer",
    "batch_from_tokens",
    "composition_text",
    "token_matrix",
]

VOCABULARY: tuple[str, ...] = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *ELEMENTS,
    *"0123456789.",
)
"""All tokens; ``VOCABULARY[i]`` has the id ``i``."""

N_TOKENS = len(VOCABULARY)
PAD_ID, UNK_ID, CLS_ID, SEP_ID, MASK_ID = range(5)

# element of atomic number Z has the id Z + _ELEMENT_OFFSET
_ELEMENT_OFFSET = MASK_ID
_LAST_ELEMENT_ID = _ELEMENT_OFFSET + len(ELEMENTS)

_ID_OF_CHARACTER = np.full(128, UNK_ID, dtype=np.int64)
for _character in "0123456789.":
    _ID_OF_CHARACTER[ord(_character)] = VOCABULARY.index(_character)

_ELEMENT_NAMES = (
    "hydrogen helium lithium beryllium boron carbon nitrogen oxygen fluorine neon sodium "
    "magnesium aluminum silicon phosphorus sulfur chlorine argon potassium calcium scandium "
    "titanium vanadium chromium manganese iron cobalt nickel copper zinc gallium germanium "
    "arsenic selenium bromine krypton rubidium strontium yttrium zirconium niobium molybdenum "
    "technetium ruthenium rhodium palladium silver cadmium indium tin antimony tellurium "
    "iodine xenon cesium barium lanthanum cerium praseodymium neodymium promethium samarium "
    "europium gadolinium terbium dysprosium holmium erbium thulium ytterbium lutetium hafnium "
    "tantalum tungsten rhenium osmium iridium platinum gold mercury thallium lead bismuth "
    "polonium astatine radon francium radium actinium thorium protactinium uranium neptunium "
    "plutonium americium curium berkelium californium einsteinium fermium mendelevium "
    "nobelium lawrencium rutherfordium dubnium seaborgium bohrium hassium meitnerium "
    "darmstadtium roentgenium copernicium nihonium flerovium moscovium livermorium tennessine "
    "oganesson"
)

# of a Hugging Face model: where its tokenizer is, and what its tokens stand for
_TOKENIZER = "tokenizer.json"
_ROLES = (
    "bos_token",
    "cls_token",
    "eos_token",
    "mask_token",
    "pad_token",
    "sep_token",
    "unk_token",
)
_ELEMENT_LENGTH = 24
_FORMULA_LENGTH = 256
# smaller amounts count as absent when a formula is read
_SMALLEST_AMOUNT = 1e-8


def token_matrix(
    batch: CompositionBatch, length: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Encode compositions as element tokens with amounts.

    Parameters
    ----------
    batch : CompositionBatch
        Compositions of n rows.
    length : int, default=None
        Tokens per row; None takes what the longest row needs.

    Returns
    -------
    ids : ndarray of int64, shape (n, length)
        ``[CLS]``, one token per element in the order of atomic numbers, ``[PAD]``.
    amounts : ndarray of float64, shape (n, length)
        The total amount under ``[CLS]``, the amounts as written under elements, 0 under
        ``[PAD]``. A row that is not a composition is ``[CLS]`` with amount 0.

    Raises
    ------
    InputError
        If a row needs more than `length` tokens.

    Examples
    --------
    >>> ids, amounts = token_matrix(read_compositions(["Fe2O3", "Si"]))
    >>> ids
    array([[ 2, 12, 30],
           [ 2, 18,  0]])
    >>> amounts
    array([[5., 3., 2.],
           [1., 1., 0.]])
    """
    n_rows, needed = len(batch), batch.n_elements + 1
    if length is None:
        length = int(needed.max(initial=1))
    _check_length(batch, needed, length)
    row = np.repeat(np.arange(n_rows), batch.n_elements)
    order = np.argsort(row * (len(ELEMENTS) + 1) + batch.atomic_numbers, kind="stable")
    column = np.arange(len(row)) - batch.offsets[row] + 1
    ids = np.full((n_rows, length), PAD_ID, dtype=np.int64)
    amounts = np.zeros((n_rows, length))
    ids[:, 0] = CLS_ID
    ids[row, column] = batch.atomic_numbers[order] + _ELEMENT_OFFSET
    amounts[row, column] = batch.amounts[order]
    amounts[:, 0] = amounts.sum(axis=1)
    return ids, amounts


def is_token_matrix(X: np.ndarray) -> bool:
    """Tell whether a matrix was made by ``CompositionTokenizer(scheme="element")``.

    Every row must have the structure of the scheme: ``[CLS]``, elements in strictly increasing
    order, then ``[PAD]``; positive amounts under elements that add up to that under ``[CLS]``.
    """
    if X.ndim != 2 or X.shape[0] == 0 or X.shape[1] < 4 or X.shape[1] % 2:
        return False
    # almost every other matrix is told by its first column
    if not (X[:, 0] == CLS_ID).all():
        return False
    ids, amounts = np.hsplit(X, 2)
    total, ids, amounts = amounts[:, 0], ids[:, 1:], amounts[:, 1:]
    is_element = (ids > _ELEMENT_OFFSET) & (ids <= _LAST_ELEMENT_ID) & (ids % 1 == 0)
    is_pad = ids == PAD_ID
    grows = (np.diff(ids, axis=1) > 0) | is_pad[:, 1:]
    return bool(
        (is_element | is_pad).all()
        and is_element[:, 0].all()
        and not (is_pad[:, :-1] & ~is_pad[:, 1:]).any()
        and grows.all()
        and (amounts[is_element] > 0).all()
        and np.isfinite(total).all()
        and (amounts[is_pad] == 0).all()
        # single precision may lie between the tokenizer and this check
        and np.isclose(amounts.sum(axis=1), total, rtol=1e-5, atol=0).all()
    )


def batch_from_tokens(X: np.ndarray) -> CompositionBatch:
    """Read the matrix of ``scheme="element"`` back into compositions.

    Parameters
    ----------
    X : ndarray of float64, shape (n, 2 * length)
        Rows of NaN stand for rows that are not compositions.

    Returns
    -------
    batch : CompositionBatch
        Elements in the order of atomic numbers, amounts unchanged.

    Raises
    ------
    InputError
        If `X` is not such a matrix.

    Examples
    --------
    >>> batch_from_tokens(CompositionTokenizer().transform(["O3Fe2"])).formulas()
    ['O3Fe2']
    """
    invalid = np.isnan(X).all(axis=1)
    even = X.shape[1] >= 4 and X.shape[1] % 2 == 0
    if not (even and (invalid.all() or is_token_matrix(X[~invalid]))):
        raise InputError(
            "The matrix is not one that CompositionTokenizer(scheme='element') makes: columns "
            "token_0 ([CLS], 2), token_1 ... of elements, then amount_0 (the sum), amount_1 ..."
        )
    ids, amounts = np.hsplit(np.where(invalid[:, None], 0.0, X), 2)
    filled = ids > _ELEMENT_OFFSET
    offsets = np.concatenate(([0], np.cumsum(filled.sum(axis=1))))
    numbers = ids[filled].astype(np.int64) - _ELEMENT_OFFSET
    return CompositionBatch(numbers, amounts[filled], offsets)


def composition_text(batch: CompositionBatch) -> list[str]:
    """Spell compositions in words that any text tokenizer keeps apart.

    Parameters
    ----------
    batch : CompositionBatch
        Compositions of n rows.

    Returns
    -------
    texts : list of str
        Element names in written order, each followed by its amount unless that
        is 1. Rows that are not compositions give ``""``.

    Examples
    --------
    >>> composition_text(read_compositions(["LiFePO4", "CO", "Co"]))
    ['lithium iron phosphorus oxygen 4', 'carbon oxygen', 'cobalt']
    """
    names = _ELEMENT_NAMES.split()
    words = [
        f"{names[z - 1]} {amount}" if amount else names[z - 1]
        for z, amount in zip(batch.atomic_numbers.tolist(), _decimals(batch.amounts), strict=True)
    ]
    bounds = batch.offsets.tolist()
    return [" ".join(words[bounds[i] : bounds[i + 1]]) for i in range(len(batch))]


def read_tokenizer(
    name: str | os.PathLike, *, local_files_only: bool = True
) -> PreTrainedTokenizerBase:
    """Read the tokenizer of a Hugging Face model, whatever it can spell.

    `name` is a folder, or that of a model in the local Hugging Face cache.
    """
    from transformers import PreTrainedTokenizerFast

    try:
        folder = model_folder(name, local_files_only=local_files_only)
        settings = read_settings(folder, "special_tokens_map.json")
        settings |= read_settings(folder, "tokenizer_config.json")
        kind = str(read_settings(folder, "config.json").get("model_type"))
        if not (folder / _TOKENIZER).is_file():
            raise CheckpointError(f"there is no {_TOKENIZER}")
        # how long texts are is for whoever calls it
        stored = {**read_json(folder / _TOKENIZER), "padding": None, "truncation": None}
        bare = check_tokenizer(json.dumps(stored))
        longest = settings.get("model_max_length")
        more = {"model_max_length": longest} if type(longest) is int else {}
        # not by way of AutoTokenizer, which makes any class that the settings name, with its code
        return PreTrainedTokenizerFast(
            tokenizer_object=bare, **_special_tokens(settings, kind, bare), **more
        )
    # tokenizers raises bare Exception for a damaged file
    except Exception as error:
        raise CheckpointError(
            f"No tokenizer was read from {os.fspath(name)!r}: {reason_of(error)}. "
            f"{_tokenizer_remedy(local_files_only)}."
        ) from error


def _special_tokens(settings: dict[str, Any], kind: str, tokenizer: Any) -> dict[str, str]:
    """Find what pads, hides or is unknown, as far as the vocabulary has it."""
    from transformers import CONFIG_MAPPING, TOKENIZER_MAPPING

    named = {}
    # many folders leave out what is usual for their type
    if kind in CONFIG_MAPPING and CONFIG_MAPPING[kind] in TOKENIZER_MAPPING:
        made: Any = TOKENIZER_MAPPING[CONFIG_MAPPING[kind]]
        usual = inspect.signature(made).parameters
        named = {role: usual[role].default for role in _ROLES if role in usual}
    named |= {role: settings[role] for role in _ROLES if role in settings}
    tokens = {
        role: token.get("content") if isinstance(token, dict) else token
        for role, token in named.items()
    }
    return {
        role: token
        for role, token in tokens.items()
        if isinstance(token, str) and tokenizer.token_to_id(token) is not None
    }


def _tokenizer_remedy(local_files_only: bool) -> str:
    remedy = (
        f"Pass a folder that holds {_TOKENIZER} (AutoTokenizer.from_pretrained and "
        "save_pretrained write one)"
    )
    if local_files_only:
        remedy += ", or allow a download with local_files_only=False"
    return remedy


def load_text_tokenizer(
    name: str | os.PathLike, *, local_files_only: bool = True
) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a Hugging Face model for :func:`composition_text`.

    It must be able to spell the names of all elements.
    """
    tokenizer = read_tokenizer(name, local_files_only=local_files_only)
    shown, remedy = repr(os.fspath(name)), _tokenizer_remedy(local_files_only)
    try:
        names = tokenizer(_ELEMENT_NAMES)["input_ids"]
    # tokenizers raises bare Exception where nothing stands for what it does not know
    except Exception as error:
        raise CheckpointError(
            f"The tokenizer in {shown} cannot spell the names of the elements "
            f"({reason_of(error)}). {remedy}."
        ) from error
    if tokenizer.unk_token_id in names:
        raise CheckpointError(
            f"The tokenizer in {shown} does not know the names of the elements; its vocabulary "
            f"has {len(tokenizer)} tokens. {remedy}."
        )
    if tokenizer.pad_token_id is None:
        raise CheckpointError(
            f"The tokenizer in {shown} has no padding token. Set one (tokenizer.pad_token = "
            "tokenizer.eos_token), save it with save_pretrained and pass that folder."
        )
    return tokenizer


def _check_length(batch: CompositionBatch, needed: np.ndarray, length: int) -> None:
    longest = int(needed.max(initial=0))
    if longest <= length:
        return
    row = int(np.argmax(needed > length))
    formula = batch[[row]].formulas()[0]
    if len(formula) > 60:
        formula = f"{formula[:60]}..."
    raise InputError(
        f"Row {row} ('{formula}') needs {needed[row]} tokens, but max_length is {length}. "
        f"Pass max_length={longest}, which is enough for all rows."
    )


def _decimals(amounts: np.ndarray) -> list[str]:
    """Amounts as shortest exact decimals without exponents, ``""`` for 1."""
    distinct, which = np.unique(amounts, return_inverse=True)
    texts = [
        "" if amount == 1 else np.format_float_positional(amount, trim="-") for amount in distinct
    ]
    return [texts[i] for i in which.tolist()]


def _formula_ids(batch: CompositionBatch, length: int) -> np.ndarray:
    decimals = _decimals(batch.amounts)
    n_digits = np.fromiter(map(len, decimals), dtype=np.int64, count=len(decimals))
    # tokens written before each entry, all rows in one line
    before = np.concatenate(([0], np.cumsum(n_digits + 1)))
    row_starts = before[batch.offsets]
    _check_length(batch, np.diff(row_starts) + 2, length)
    line = np.empty(before[-1], dtype=np.int64)
    is_element = np.zeros(before[-1], dtype=bool)
    is_element[before[:-1]] = True
    line[is_element] = batch.atomic_numbers + _ELEMENT_OFFSET
    characters = np.frombuffer("".join(decimals).encode("ascii"), dtype=np.uint8)
    line[~is_element] = _ID_OF_CHARACTER[characters]
    ids = np.full((len(batch), length), PAD_ID, dtype=np.int64)
    row = np.repeat(np.arange(len(batch)), np.diff(row_starts))
    ids[row, np.arange(len(line)) - row_starts[row] + 1] = line
    ids[:, 0] = CLS_ID
    ids[np.arange(len(batch)), np.diff(row_starts) + 1] = SEP_ID
    return ids


def _formulas_from_ids(X: np.ndarray) -> list[str]:
    rows: list[dict[str, float]] = []
    invalid = np.isnan(X).all(axis=1)
    for row in np.flatnonzero(~invalid).tolist():
        ids = X[row]
        end = int(np.argmax(ids == SEP_ID))
        body = ids[1:end]
        if (
            ids[0] != CLS_ID
            or end == 0
            or (ids[end + 1 :] != PAD_ID).any()
            or not np.isin(body, np.arange(MASK_ID + 1, N_TOKENS)).all()
        ):
            raise InputError(
                f"Row {row} is not a formula in tokens: [CLS], elements, digits and '.', [SEP], "
                "then only [PAD]. [UNK] and [MASK] cannot be read back."
            )
        try:
            formula = "".join(VOCABULARY[int(i)] for i in body)
            # every amount and an exponent, so that nothing but elements and decimals is meant
            formula = re.sub(r"(?<=[A-Za-z])(?=[A-Z]|$)", "1", formula)
            rows.append(parse_formula(re.sub(r"\.\d*", r"\g<0>e0", formula)))
        except CompositionError as error:
            raise InputError(f"The tokens of row {row} are not a formula: {error}") from None
    return _with_empty(read_compositions(rows).formulas(), invalid)


def _formulas_from_fractions(X: np.ndarray) -> list[str]:
    invalid = np.isnan(X).all(axis=1)
    rows = X[~invalid]
    with np.errstate(over="ignore"):
        # a power of two changes no digit of the composition
        smallest = np.where(rows > 0, rows, np.inf).min(axis=1, initial=np.inf)
        exponents = np.ceil(np.log2(_SMALLEST_AMOUNT) - np.log2(smallest))
        rows = np.ldexp(rows, np.maximum(exponents, 0).astype(int)[:, None])
    bad = ~np.isfinite(rows).all(axis=1) | (rows < 0).any(axis=1) | ~(rows > 0).any(axis=1)
    if bad.any():
        raise InputError(
            f"Row {np.flatnonzero(~invalid)[np.argmax(bad)]} cannot be written as a formula: "
            "fractions must be finite, none negative and at least one positive, within the "
            "range of double precision."
        )
    _, columns = np.nonzero(rows)
    offsets = np.concatenate(([0], np.cumsum((rows > 0).sum(axis=1))))
    batch = CompositionBatch(columns.astype(np.int64) + 1, rows[rows > 0], offsets)
    return _with_empty(batch.formulas(), invalid)


def _with_empty(formulas: list[str], invalid: np.ndarray) -> list[str]:
    remaining = iter(formulas)
    return ["" if empty else next(remaining) for empty in invalid.tolist()]


class CompositionTokenizer(TransformerMixin, BaseEstimator):
    """Turn compositions into a matrix of tokens, one token per element.

    Stateless: :meth:`transform` works without :meth:`fit`, which only checks
    parameters and input.

    Parameters
    ----------
    scheme : {"element", "formula", "fraction"}, default="element"
        What a row of the matrix holds:

        - ``"element"``: columns ``token_0`` ... ``token_{L-1}``, then ``amount_0`` ...
          ``amount_{L-1}``. ``token_0`` is ``[CLS]`` and ``amount_0`` the total amount; then
          one token per element in the order of atomic numbers with its amount as written, not
          normalised; then ``[PAD]`` with amount 0. The written order plays no role.
        - ``"formula"``: columns ``token_0`` ... ``token_{L-1}`` of ids: ``[CLS]``, each
          element in written order followed by its amount in digits (omitted if it is 1),
          ``[SEP]``, ``[PAD]``. For language-model backbones.
        - ``"fraction"``: one column per element with its atomic fraction.
    max_length : int, default=None
        Tokens per row, ``L``. None means 24 with ``"element"`` and 256 with ``"formula"``;
        ``"fraction"`` takes none.
    tokenizer : str or path-like, default=None
        Folder or name of a Hugging Face tokenizer to use with ``"formula"`` instead of the
        vocabulary of this module. It gets :func:`composition_text`: names of
        elements, which any text tokenizer keeps apart.
    local_files_only : bool, default=True
        False allows `tokenizer` to be downloaded.
    errors : {"raise", "nan"}, default="raise"
        What :meth:`transform` does with rows that are not compositions: an error that
        names them, or rows of NaN (the matrix is float64 then) and one warning. :meth:`fit`
        always raises.

    Attributes
    ----------
    n_features_in_ : int
        Always 1. Only after :meth:`fit`.
    feature_names_in_ : ndarray of str, shape (1,)
        Name of the column. Only after :meth:`fit` with a DataFrame.

    See Also
    --------
    read_compositions : What may be passed as `X`.
    ImplicitKTRegressor : Reads formulas and the matrix of ``scheme="element"``.

    Notes
    -----
    A composition with more tokens than `max_length` raises; nothing is truncated.
    Amounts keep full precision: dopants of 5.7e-5 in steels stay visible.

    References
    ----------
    .. [1] A. Y.-T. Wang, S. K. Kauwe, R. J. Murdock, T. D. Sparks, "Compositionally
       restricted attention-based network for materials property predictions", npj
       Computational Materials 7, 77 (2021). Element tokens with amounts.

    Examples
    --------
    >>> from sklearn_kt import CompositionTokenizer
    >>> tokenizer = CompositionTokenizer(max_length=4)
    >>> tokenizer.transform(["Fe2O3", "NaCl"])
    array([[ 2., 12., 30.,  0.,  5.,  3.,  2.,  0.],
           [ 2., 15., 21.,  0.,  2.,  1.,  1.,  0.]])
    >>> CompositionTokenizer("formula", max_length=7).transform(["Fe2O3", "NaCl"])
    array([[  2,  30, 125,  12, 126,   3,   0],
           [  2,  15,  21,   3,   0,   0,   0]])
    >>> tokenizer.inverse_transform(tokenizer.transform(["Fe2O3"]))
    array(['O3Fe2'], dtype=object)
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "scheme": [StrOptions({"element", "formula", "fraction"})],
        "max_length": [Interval(Integral, 2, None, closed="left"), None],
        "tokenizer": [str, os.PathLike, None],
        "local_files_only": ["boolean"],
        "errors": [StrOptions({"raise", "nan"})],
    }

    def __init__(
        self,
        scheme: str = "element",
        *,
        max_length: int | None = None,
        tokenizer: str | os.PathLike | None = None,
        local_files_only: bool = True,
        errors: str = "raise",
    ) -> None:
        self.scheme = scheme
        self.max_length = max_length
        self.tokenizer = tokenizer
        self.local_files_only = local_files_only
        self.errors = errors

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check parameters and input; nothing is learned.

        Parameters
        ----------
        X : array-like of compositions, shape (n,) or (n, 1)
            Formulas, pymatgen Compositions or ``{element: amount}`` mappings.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : CompositionTokenizer
            The same object.

        Raises
        ------
        CompositionError
            If a row is not a composition.
        InputError
            If a parameter does not fit the others, or `X` holds no rows.
        """
        self._check_scheme()
        if len(read_compositions(X)) == 0:
            raise InputError(
                "Found array with 0 sample(s) while a minimum of 1 is required: X is empty."
            )
        if hasattr(X, "columns"):
            validate_data(self, X, skip_check_array=True, reset=True)
        self.n_features_in_ = 1
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Encode compositions.

        Parameters
        ----------
        X : array-like of compositions, shape (n,) or (n, 1)
            Formulas, pymatgen Compositions or ``{element: amount}`` mappings.

        Returns
        -------
        tokens : ndarray of shape (n, n_features_out)
            float64 with ``"element"`` and ``"fraction"``, int64 with ``"formula"``; always
            float64 with ``errors="nan"``.

        Raises
        ------
        CompositionError
            If a row is not a composition and ``errors="raise"``.
        InputError
            If a row needs more tokens than `max_length`.
        CheckpointError
            If `tokenizer` is not found or cannot spell the elements.
        """
        # fit may never have been called
        self._validate_params()
        self._check_scheme()
        batch = read_compositions(X, errors=self.errors)
        if hasattr(X, "columns") and hasattr(self, "feature_names_in_"):
            validate_data(self, X, skip_check_array=True, reset=False)
        if self.scheme == "fraction":
            return batch.fractions()
        if self.scheme == "element":
            tokens = np.hstack(token_matrix(batch, self._length()))
        elif self.tokenizer is None:
            tokens = _formula_ids(batch, self._length())
        else:
            tokens = self._external_ids(batch)
        if self.errors == "nan":
            tokens = tokens.astype(np.float64)
            tokens[~batch.valid] = np.nan
        return tokens

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Read a matrix of :meth:`transform` back into formulas.

        Parameters
        ----------
        X : array-like of shape (n, n_features_out)
            What :meth:`transform` returned.

        Returns
        -------
        formulas : ndarray of object, shape (n,)
            Formulas with exactly the same amounts: the amounts as written, or with
            ``"fraction"`` the atomic fractions (times a power of 2, if one is smaller than
            the 1e-8 that a formula can hold). Rows of NaN give ``""``.

        Raises
        ------
        InputError
            If a row is not what :meth:`transform` makes, or if the ids are those of
            an external `tokenizer`, which do not determine the formula.
        """
        self._validate_params()
        self._check_scheme()
        if self.tokenizer is not None:
            raise InputError(
                "inverse_transform cannot read the ids of an external tokenizer: other texts "
                "may give the same ids. Keep the formulas, or use tokenizer=None."
            )
        matrix = np.asarray(X, dtype=np.float64)
        width = len(self.get_feature_names_out())
        if matrix.ndim != 2 or matrix.shape[1] != width:
            raise InputError(
                f"Expected a matrix of shape (n, {width}) as transform makes it with "
                f"scheme={self.scheme!r}, got shape {matrix.shape}."
            )
        if self.scheme == "element":
            formulas = batch_from_tokens(matrix).formulas()
        elif self.scheme == "formula":
            formulas = _formulas_from_ids(matrix)
        else:
            formulas = _formulas_from_fractions(matrix)
        return np.array(formulas, dtype=object)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns of the matrix.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Ignored: the columns follow from the parameters.

        Returns
        -------
        names : ndarray of object, shape (n_features_out,)
            ``token_0`` ..., ``amount_0`` ..., or the symbols of the elements.
        """
        if self.scheme == "fraction":
            return np.array(ELEMENTS, dtype=object)
        kinds = ("token", "amount") if self.scheme == "element" else ("token",)
        names = [f"{kind}_{i}" for kind in kinds for i in range(self._length())]
        return np.array(names, dtype=object)

    def to_pretrained_tokenizer(self) -> PreTrainedTokenizerFast:
        """Make a `transformers` tokenizer with the vocabulary of this module.

        It reads plain formulas (symbols and decimal amounts, no brackets,
        exponents or explicit 1s) and gives the ids of ``scheme="formula"``. Pass others
        through :func:`~sklearn_kt.read_compositions` first.

        Returns
        -------
        tokenizer : transformers.PreTrainedTokenizerFast
            A fast tokenizer; ``save_pretrained`` writes it to a folder.

        Examples
        --------
        >>> tokenizer = CompositionTokenizer("formula").to_pretrained_tokenizer()
        >>> tokenizer("Fe2O3")["input_ids"]
        [2, 30, 125, 12, 126, 3]
        >>> tokenizer.decode([2, 30, 125, 12, 126, 3], skip_special_tokens=True)
        'Fe2O3'
        """
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
        from transformers import PreTrainedTokenizerFast

        vocabulary = {token: i for i, token in enumerate(VOCABULARY)}
        backend = Tokenizer(models.WordLevel(vocabulary, unk_token=VOCABULARY[UNK_ID]))
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.WhitespaceSplit(),
                pre_tokenizers.Split(Regex(FORMULA_PARTS), behavior="isolated"),
            ]
        )
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B [SEP]",
            special_tokens=[("[CLS]", CLS_ID), ("[SEP]", SEP_ID)],
        )
        backend.decoder = decoders.Fuse()
        return PreTrainedTokenizerFast(
            tokenizer_object=backend,
            model_max_length=self.max_length or _FORMULA_LENGTH,
            clean_up_tokenization_spaces=False,
            pad_token=VOCABULARY[PAD_ID],
            unk_token=VOCABULARY[UNK_ID],
            cls_token=VOCABULARY[CLS_ID],
            sep_token=VOCABULARY[SEP_ID],
            mask_token=VOCABULARY[MASK_ID],
        )

    def _check_scheme(self) -> None:
        if self.tokenizer is not None and self.scheme != "formula":
            raise InputError(
                f"tokenizer={os.fspath(self.tokenizer)!r} needs scheme='formula', got "
                f"scheme={self.scheme!r}."
            )
        if self.max_length is not None and self.scheme == "fraction":
            raise InputError(
                f"scheme='fraction' always has {len(ELEMENTS)} columns; leave max_length=None, got "
                f"{self.max_length}."
            )

    def _length(self) -> int:
        if self.max_length is not None:
            return self.max_length
        return _ELEMENT_LENGTH if self.scheme == "element" else _FORMULA_LENGTH

    def _external_ids(self, batch: CompositionBatch) -> np.ndarray:
        assert self.tokenizer is not None
        text_tokenizer = load_text_tokenizer(self.tokenizer, local_files_only=self.local_files_only)
        length = self._length()
        rows = text_tokenizer(composition_text(batch), truncation=False)["input_ids"]
        needed = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        _check_length(batch, needed, length)
        ids = np.full((len(batch), length), text_tokenizer.pad_token_id, dtype=np.int64)
        for row, tokens in zip(ids, rows, strict=True):
            row[: len(tokens)] = tokens
        return ids

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []
        tags.requires_fit = False
        return tags
