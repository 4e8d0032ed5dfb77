"""Saved models that can be loaded without running code from them.

A model file is a zip archive in the format of skops [1]_: JSON and NumPy arrays, no pickles.
Networks are stored as their architecture and weights. Beside skops' members it holds
``sklearn_kt.json``: format, versions of libraries, and the SHA-256 of every member.

Libraries are imported where they are used: what a file says of itself, and that there is none, is
told at once.

References
----------
.. [1] skops, "Secure persistence with skops", https://skops.readthedocs.io
"""

from __future__ import annotations

import copy
import errno
import hashlib
import importlib
import inspect
import json
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._files import replacing
from ._model_guards import (
    check_objects,
    check_packed,
    check_schema,
    check_tokenizer,
    objects_in,
    parse_json,
)
from ._version import __version__
from .exceptions import CheckpointError, InputError
from .randomness import torch_generator_kept

if TYPE_CHECKING:
    from skorch import NeuralNet

    from .encoder.encoder import Encoder

__all__ = ["TRUSTED_TYPES", "describe_model", "load_model", "save_model"]

# layout of a model file; raised when another version of the package could misread it
FORMAT_VERSION = 10

TRUSTED_TYPES = (
    "builtins.frozenset",
    "builtins.range",
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    *(
        f"sklearn.gaussian_process.kernels.{name}"
        for name in (
            *("CompoundKernel", "ConstantKernel", "DotProduct", "ExpSineSquared"),
            *("Exponentiation", "Matern", "PairwiseKernel", "Product", "RBF"),
            *("RationalQuadratic", "Sum", "WhiteKernel"),
        )
    ),
    "sklearn.metrics._scorer._CurveScorer",
    "sklearn.metrics._scorer._MultimetricScorer",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
    *(
        f"sklearn.model_selection._split.{name}"
        for name in (
            *("GroupKFold", "GroupShuffleSplit", "KFold", "LeaveOneGroupOut", "LeaveOneOut"),
            *("LeavePGroupsOut", "LeavePOut", "PredefinedSplit", "RepeatedKFold"),
            *("RepeatedStratifiedKFold", "ShuffleSplit", "StratifiedGroupKFold"),
            *("StratifiedKFold", "StratifiedShuffleSplit", "TimeSeriesSplit"),
        )
    ),
    "sklearn.multiclass._ConstantPredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
    "sklearn_kt.persistence.StoredEncoder",
    "sklearn_kt.persistence.StoredNetwork",
    "sklearn_kt.persistence.StoredTokenizer",
    "sklearn_kt._targets.ClassTargets",
    "sklearn_kt._targets.NumberTargets",
)
"""Types that a model file may hold, beside those of this package and what skops trusts by itself.

They keep plain data or other estimators, or are trees of scikit-learn, whose arrays are checked.
"""

_ABOUT = "sklearn_kt.json"
# folders to be created or read, and the right to use the network
_OF_THE_MACHINE = {"cache_dir": None, "memory": None, "local_files_only": True}
_BLOCK = 2**20
# 173 MB of a default model: 55 MB in 1.5 s; 6 is zlib's own choice, 52 MB in 5.5 s
_COMPRESSION = 1
_STAND_INS = ("cython.cimports", "cython.dataclasses", "cython.parallel")
_LIBRARIES = ("numpy", "scikit-learn", "scipy", "skops", "skorch", "torch")


class StoredEncoder:
    """An encoder as plain data: ``spec``, arrays of ``weights``, and what its reader is made of."""

    def __init__(self, encoder: Encoder) -> None:
        self.spec = encoder.spec
        self.weights = None if encoder.network is None else _arrays(encoder.network.backbone)
        tokenizer = getattr(encoder.reader, "tokenizer", None)
        self.tokenizer: Any = None if tokenizer is None else StoredTokenizer(tokenizer)
        self.scaler: Any = getattr(encoder.reader, "scaler", None)
        self.conditions = encoder.scaler

    def restore(self) -> Encoder:
        """Build the encoder."""
        from .encoder.encoder import ElementInputs, Encoder, NumberInputs, TextInputs
        from .encoder.modeling import FrozenEncoder
        from .encoder.weights import check_weights

        network = None
        if self.weights is not None:
            weights = _tensors(self.weights)
            check_weights(self.spec, weights)
            network = FrozenEncoder(self.spec, weights)
        reader: ElementInputs | TextInputs | NumberInputs = ElementInputs()
        if self.spec["kind"] == "text":
            reader = TextInputs.of(self.spec, self.tokenizer.restore())
        elif self.spec["kind"] == "features":
            reader = NumberInputs(self.scaler)
        return Encoder(self.spec, reader, network, self.conditions)


class StoredNetwork:
    """A trained network as plain data: parameters of its module and arrays of ``weights``."""

    def __init__(self, net: NeuralNet) -> None:
        self.module = {
            name.removeprefix("module__"): value
            for name, value in net.get_params(deep=False).items()
            if name.startswith("module__")
        }
        self.weights = _arrays(net.module_)

    def restore(self) -> NeuralNet:
        """Build the network, as training leaves it: trimmed, in evaluation mode, on the CPU."""
        import torch
        from skorch import NeuralNet

        from .encoder.modeling import PropertyNetwork
        from .encoder.weights import check_weights

        weights = _tensors(self.weights)
        check_weights(self.module["spec"], weights, lambda: PropertyNetwork(**self.module))
        options = {f"module__{name}": value for name, value in self.module.items()}
        # training is over: what it would minimise has no part in a prediction
        net = NeuralNet(PropertyNetwork, torch.nn.L1Loss, device="cpu", verbose=0, **options)
        # initialising must not move torch's global generator
        with torch_generator_kept():
            net.initialize()
        net.module_.load_state_dict(weights)
        net.module_.eval()
        net.trim_for_prediction()
        return net


class StoredTokenizer:
    """A Hugging Face tokenizer as its JSON text."""

    def __init__(self, tokenizer: Any) -> None:
        self.text = tokenizer.to_str()

    def restore(self) -> Any:
        """Build the tokenizer."""
        return check_tokenizer(self.text)


def save_model(
    model: Any, path: str | Path, *, about: Mapping[str, str | float] | None = None
) -> Path:
    """Save an estimator in a file that is safe to load.

    Parameters
    ----------
    model : estimator
        Fitted or not: one of ours, or any of scikit-learn's that skops knows (pipelines,
        searches, ...), also around ours.
    path : str or Path
        File to write. It appears in one piece; one that is there is replaced.
    about : mapping of str to str or number, default=None
        What to remember of the model, such as its target and the unit; :func:`describe_model`
        reads it.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InputError
        If the model holds something that cannot be stored without a pickle.

    See Also
    --------
    load_model : Reads it.
    describe_model : Reads what it says of itself.

    Notes
    -----
    Paths among parameters are stored as text. Load a file with the version of sklearn_kt that
    wrote it or the next minor one; scikit-learn warns when its own version differs.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_kt import ImplicitKTRegressor
    >>> from sklearn_kt import load_model, save_model
    >>> model = ImplicitKTRegressor(
    ...     None, backbone="tiny", readout="head", n_estimators=1, max_epochs=2, random_state=0
    ... ).fit(["NaCl", "MgO", "Si"], [8.5, 7.8, 1.1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_model(model, Path(folder) / "gap.model")
    ...     bool((load_model(path).predict(["KCl"]) == model.predict(["KCl"])).all())
    True
    """
    path = Path(path)
    with replacing(path) as temporary:
        try:
            with _no_imports_by_name():
                import skops.io

                stored = with_replaced(model, _store)
                skops.io.dump(
                    stored,
                    temporary,
                    compression=zipfile.ZIP_DEFLATED,
                    compresslevel=_COMPRESSION,
                )
            with zipfile.ZipFile(temporary) as archive:
                # what will not be read is not written
                check_schema(archive, None)
        except (TypeError, ValueError, AttributeError, RuntimeError, RecursionError) as error:
            raise InputError(
                f"this {type(model).__name__} holds something that cannot be saved without a "
                f"pickle ({error}). Save the parts, or pickle it and load that file only "
                "where you trust it."
            ) from error
        _write_about(temporary, model, about or {})
    return path


def load_model(path: str | Path, *, trusted: Sequence[str] = ()) -> Any:
    """Load an estimator that :func:`save_model` wrote.

    Parameters
    ----------
    path : str or Path
        The file.
    trusted : sequence of str, default=()
        Full names of further types that it may hold, such as a readout of another package.
        Name only what you trust: building such an object may run its code.

    Returns
    -------
    estimator
        On the CPU.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, no model file (pickles are refused), unpacks to
        far more than its size, is of a newer format, or holds types that are not trusted.

    See Also
    --------
    save_model : Writes it, and has an example.

    Notes
    -----
    Nothing in the file is executed; only types that skops trusts, estimators of this package,
    :data:`TRUSTED_TYPES` and ``trusted`` are built, and what compiled code would walk through is
    checked, except in types that ``trusted`` names. What belongs to the machine that wrote the
    file does not come back: ``cache_dir`` and ``memory`` are None and ``local_files_only`` is True
    until they are set again, and ``n_jobs`` is at most every core. Checksums find damage, not
    forgery: whoever can write the file can write them too.

    Examples
    --------
    >>> from sklearn_kt import load_model
    >>> load_model("no_such.model")
    Traceback (most recent call last):
        ...
    sklearn_kt.exceptions.CheckpointError: There is no model file no_such.model...
    """
    path = _existing(path)
    _check_archive(path)
    # after the file is known to be there: this imports torch, which takes seconds
    with _no_imports_by_name():
        import skops.io
        from skops.io.exceptions import UntrustedTypesFoundException

    try:
        with zipfile.ZipFile(path) as archive:
            check_schema(archive, trusted)
        ours = [name for name in skops.io.get_untrusted_types(file=path) if _is_ours(name)]
        known = [*TRUSTED_TYPES, *_score_functions(), *ours, *trusted]
        stored = skops.io.load(path, trusted=known)
        check_objects(stored, trusted)
        model = with_replaced(stored, _restore)
        _leave_machine(model)
    except UntrustedTypesFoundException as error:
        raise CheckpointError(
            f"{path} holds types that are not trusted. {_short(error)} If you know them to be "
            "harmless, pass their names to load_model(path, trusted=[...]), or each as "
            "--trust NAME on the command line."
        ) from error
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except MemoryError as error:
        raise CheckpointError(f"{path} does not fit into memory.") from error
    # what is built from arrays and names that somebody edited can raise anything
    except Exception as error:
        raise CheckpointError(
            f"{path} is not a model that can be loaded ({type(error).__name__}: "
            f"{_short(error)}); it is damaged, or needs other versions of libraries."
        ) from error
    return model


def describe_model(path: str | Path) -> dict[str, Any]:
    """Read what a model file says of itself, without loading the model.

    Parameters
    ----------
    path : str or Path
        A file that :func:`save_model` wrote.

    Returns
    -------
    about : dict
        ``model``, the class; ``sklearn_kt``, the version; ``about``, what was told when it was
        saved: ``sklearn-kt fit`` tells the target, its unit, rows, elements, the date and the error
        on held-out rows.

    Raises
    ------
    CheckpointError
        As of :func:`load_model`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn_kt.persistence import describe_model, save_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_model(Ridge(), Path(folder) / "gap.model", about={"unit": "eV"})
    ...     describe_model(path)["about"]
    {'unit': 'eV'}
    """
    path = _existing(path)
    found = _check_archive(path)
    about = found.get("about")
    return {
        "model": str(found.get("model")),
        "sklearn_kt": str(found.get("sklearn_kt")),
        "about": about if isinstance(about, dict) else {},
    }


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"There is no model file {path}: write one with save_model or 'sklearn-kt fit'."
        )
    return path


@contextmanager
def _no_imports_by_name() -> Iterator[None]:
    """Hide modules of Cython that import whatever they are asked for, also from the current folder.

    skops asks every loaded module for names such as those of SciPy's functions: a file ``iv.py``
    that lies about would run.
    """
    hidden = {name: sys.modules[name] for name in [*sys.modules] if name.startswith(_STAND_INS)}
    for name in hidden:
        del sys.modules[name]
    try:
        yield
    finally:
        sys.modules.update(hidden)


def _arrays(module: Any) -> dict[str, np.ndarray]:
    import torch

    if any(value.dtype == torch.bfloat16 for value in module.state_dict().values()):
        raise InputError(
            "a model in bfloat16 is not saved: save the one that reduce_precision was given, and "
            "reduce it after loading."
        )
    return {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def with_replaced(value: Any, change: Callable[[Any], Any]) -> Any:
    """Copy an estimator with some of what it holds, at any depth, replaced."""
    return _Replacing(change).copy(value)


class _Replacing:
    """Copies each object once, so that what was shared still is, and the copy is no larger."""

    def __init__(self, change: Callable[[Any], Any]) -> None:
        self.change = change
        # with the originals: an id is theirs only while they live
        self.copies: dict[int, tuple[Any, Any]] = {}

    def copy(self, value: Any) -> Any:
        """Copy one object."""
        if id(value) not in self.copies:
            self.copies[id(value)] = value, self._copied(value)
        return self.copies[id(value)][1]

    def _copied(self, value: Any) -> Any:
        from sklearn.base import BaseEstimator

        new = self.change(value)
        if new is not value:
            return new
        if isinstance(value, dict):
            filled = copy.copy(value)
            filled.update({key: self.copy(item) for key, item in value.items()})
            return filled
        if type(value) in (list, tuple):
            return type(value)(self.copy(item) for item in value)
        if isinstance(value, np.ndarray) and value.dtype == object:
            array = np.empty_like(value)
            for place, item in np.ndenumerate(value):
                array[place] = self.copy(item)
            return array
        # also scikit-learn's own holders of estimators, which are none themselves
        ours = isinstance(value, BaseEstimator) or type(value).__module__.startswith("sklearn.")
        if ours and hasattr(value, "__dict__"):
            new = object.__new__(type(value))
            new.__dict__.update({name: self.copy(item) for name, item in vars(value).items()})
        return new


def _store(value: Any) -> Any:
    """Give what stands for a network, a tokenizer or a path in a file."""
    if isinstance(value, Path):
        return str(value)
    kind = type(value).__module__.partition(".")[0]
    if kind == "tokenizers":
        return StoredTokenizer(value)
    if kind not in ("skorch", "sklearn_kt", "torch"):
        return value
    from skorch import NeuralNet
    from torch import nn

    from .encoder.encoder import Encoder

    if isinstance(value, NeuralNet) and hasattr(value, "module__spec"):
        return StoredNetwork(value)
    if isinstance(value, Encoder):
        return StoredEncoder(value)
    if isinstance(value, nn.Module | NeuralNet):
        raise InputError(
            f"a {type(value).__name__} cannot be saved without a pickle; save its state with "
            "safetensors."
        )
    return value


def _restore(value: Any) -> Any:
    if isinstance(value, StoredEncoder | StoredNetwork | StoredTokenizer):
        return value.restore()
    return value


def _leave_machine(model: Any) -> None:
    """Reset what belongs to the machine that a model comes from."""
    from joblib import cpu_count
    from sklearn.base import BaseEstimator

    cores = cpu_count()
    for item in objects_in(model):
        if isinstance(item, BaseEstimator):
            own = vars(item)
            own.update({name: value for name, value in _OF_THE_MACHINE.items() if name in own})
            # each is a thread or process, also where there is nothing for it to do
            if isinstance(own.get("n_jobs"), Real) and own["n_jobs"] > cores:
                own["n_jobs"] = -1


def _write_about(path: Path, model: Any, told: Mapping[str, str | float]) -> None:
    from importlib.metadata import version

    with zipfile.ZipFile(path) as archive:
        digests = {info.filename: _digest(archive, info) for info in archive.infolist()}
    about = {
        "format_version": FORMAT_VERSION,
        "sklearn_kt": __version__,
        "model": type(model).__name__,
        "about": dict(told),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "sha256": digests,
    }
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_ABOUT, json.dumps(about, indent=1))


def _digest(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    digest = hashlib.sha256()
    with archive.open(info) as member:
        while block := member.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _check_archive(path: Path) -> dict[str, Any]:
    """Refuse what is no model file, before anything of it is unpacked or built.

    Returns what it says of itself.
    """
    hint = "write it again with save_model"
    try:
        with zipfile.ZipFile(path) as archive:
            check_packed(archive, path.stat().st_size, str(path))
            members = archive.infolist()
            about = _read_about(path, archive)
            named = {info.filename: info for info in members if info.filename != _ABOUT}
            if len(members) != len(named) + 1 or named.keys() != about["sha256"].keys():
                raise CheckpointError(f"{path} has lost or gained members; {hint}.")
            for name, info in named.items():
                if _digest(archive, info) != about["sha256"][name]:
                    raise CheckpointError(f"{path} is damaged: {name[:80]!r} has changed; {hint}.")
            return about
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{path} is not a model file of sklearn_kt, or is damaged ({_short(error)}). Pickles "
            f"(also joblib's) are not loaded: they can run any code. Else {hint}."
        ) from error
    # a damaged stream, whatever the compression
    except Exception as error:
        offsets = isinstance(error, OSError) and error.errno in (None, errno.EINVAL)
        if isinstance(error, CheckpointError | OSError) and not offsets:
            raise
        raise CheckpointError(f"{path} is damaged ({_short(error)}); {hint}.") from error


def _short(error: Exception) -> str:
    """Message of an error, which may quote the file."""
    return str(error)[:500]


def _read_about(path: Path, archive: zipfile.ZipFile) -> dict[str, Any]:
    try:
        about = parse_json(archive.read(_ABOUT), _ABOUT)
    except (KeyError, CheckpointError) as error:
        raise CheckpointError(
            f"{path} has no readable {_ABOUT}: it was not written by save_model."
        ) from error
    if not isinstance(about, dict) or not isinstance(about.get("sha256"), dict):
        raise CheckpointError(f"{path} has no checksums: it was not written by save_model.")
    version = about.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} was written by sklearn_kt {str(about.get('sklearn_kt'))[:40]} in format "
            f"{str(version)[:40]}; this is sklearn_kt {__version__}, which reads format "
            f"{FORMAT_VERSION}. Use the version that wrote it, or fit and save the model again."
        )
    return about


def _score_functions() -> list[str]:
    """Public functions of scikit-learn that score predictions or columns: searches name them."""
    from sklearn import feature_selection, metrics

    public = [
        getattr(module, name) for module in (feature_selection, metrics) for name in module.__all__
    ]
    return [f"{value.__module__}.{value.__name__}" for value in public if inspect.isfunction(value)]


def _is_ours(name: str) -> bool:
    """Tell whether a type is an estimator of this package."""
    from sklearn.base import BaseEstimator

    module, _, kind = name.rpartition(".")
    # a module that is run when it is imported
    if not module.startswith("sklearn_kt.") or module.endswith("__main__"):
        return False
    try:
        found = getattr(importlib.import_module(module), kind, None)
    except ImportError:
        return False
    return isinstance(found, type) and issubclass(found, BaseEstimator)
