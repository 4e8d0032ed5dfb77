"""Fitted networks made faster, or carried to other runtimes.

:func:`reduce_precision` runs encoders in bfloat16; :func:`export_onnx` writes what fitting
made as an ONNX graph [1]_, which predicts without this package and without torch.

References
----------
.. [1] ONNX, "Open Neural Network Exchange", https://onnx.ai
"""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._files import replacing
from ._version import __version__
from .compositions import read_compositions
from .encoder import Encoder
from .encoder.encoder import element_inputs
from .estimators.embedder import CompositionEmbedder
from .estimators.implicit import ImplicitKTClassifier, ImplicitKTRegressor
from .exceptions import InputError
from .persistence import with_replaced

if TYPE_CHECKING:
    from torch import nn

    from .encoder.modeling import CompositionEncoder

__all__ = ["export_onnx", "onnx_inputs", "reduce_precision"]

# Rows that the graph is traced with; both of its axes stay free.
_TRACED = ("NaCl", "LiFePO4")


def reduce_precision(estimator: Any) -> Any:
    """Copy a fitted estimator, with its composition encoders in bfloat16.

    Parameters
    ----------
    estimator : estimator
        Fitted: one of ours, or any of scikit-learn's around ours.

    Returns
    -------
    estimator
        The copy. It predicts faster where the processor has instructions for bfloat16, and
        slower where it has none; the guide "Beyond one machine" has measured figures of both
        speed and change.

    Raises
    ------
    InputError
        If there is no composition encoder in it.

    See Also
    --------
    sklearn_kt.screening.screen : Predicts for millions of formulas.

    Notes
    -----
    Weights and inputs of the products in a block are rounded to 8 bits; amounts, norms, sums and
    property heads stay in float32 [1]_. Predictions do not depend on the rows that they come with,
    as before. The copy is for predicting: it is not saved, since a saved model is reduced in
    an instant after loading.

    References
    ----------
    .. [1] D. Kalamkar et al., "A study of BFLOAT16 for deep learning training",
       arXiv:1905.12322 (2019).

    Examples
    --------
    >>> from sklearn_kt import CompositionEmbedder
    >>> from sklearn_kt.export import reduce_precision
    >>> exact = CompositionEmbedder(blocks=["embedding"]).fit(["NaCl"])
    >>> fast = reduce_precision(exact)
    >>> change = fast.transform(["LiFePO4"]) - exact.transform(["LiFePO4"])
    >>> bool(0 < abs(change).max() < 0.1)
    True
    """
    found = 0

    def reduced(value: Any) -> Any:
        nonlocal found
        if _composition_encoder(value) is None:
            return value
        found += 1
        value = copy.deepcopy(value)
        encoder = _composition_encoder(value)
        assert encoder is not None
        encoder.reduce_precision()
        return value

    result = with_replaced(estimator, reduced)
    if not found:
        raise InputError(
            f"this {type(estimator).__name__} holds no composition encoder that could run in "
            "bfloat16; it is not fitted, or predicts by other means."
        )
    return result


def onnx_inputs(X: Any) -> dict[str, np.ndarray]:
    """Encode compositions as the graphs of :func:`export_onnx` read them.

    Parameters
    ----------
    X : array-like of compositions
        Formulas, :class:`pymatgen.core.Composition` objects or dicts.

    Returns
    -------
    dict of str to ndarray of shape (n_samples, length)
        ``input_ids`` (int64): 2, then an element's atomic number plus 4 for each element
        in the order of atomic numbers, then 0. ``fractions`` (float32): 1, the atomic fractions
        (they sum to 1), then 0.

    Raises
    ------
    CompositionError
        If a row is not a composition.

    See Also
    --------
    export_onnx : Writes a graph.

    Examples
    --------
    >>> from sklearn_kt.export import onnx_inputs
    >>> inputs = onnx_inputs(["Fe2O3", "Si"])
    >>> inputs["input_ids"]
    array([[ 2, 12, 30],
           [ 2, 18,  0]])
    >>> inputs["fractions"]
    array([[1. , 0.6, 0.4],
           [1. , 1. , 0. ]], dtype=float32)
    """
    return element_inputs(read_compositions(X, errors="raise"))


def export_onnx(estimator: Any, path: str | Path) -> Path:
    """Write fitted networks as an ONNX graph.

    Parameters
    ----------
    estimator : ImplicitKTRegressor, ImplicitKTClassifier or CompositionEmbedder
        Fitted. A regressor or classifier must predict by networks on element tokens alone
        (``readout="head"``): the whole ensemble goes into the graph, with the scaling of targets
        or the temperature and weights of classes.
    path : str or Path
        File to write. It appears in one piece; one that is there is replaced.

    Returns
    -------
    pathlib.Path
        The file. Inputs are those of :func:`onnx_inputs`, of any number of rows and any length;
        padding changes nothing. Outputs, in float32:

        - a regressor's ``prediction``, (n, n_outputs), in the units of the targets;
        - a classifier's ``probabilities``, (n, n_classes), in the order of ``classes``, a JSON list
          in the file's metadata;
        - an embedder's ``embeddings``, (n, width), and ``properties``, (n, n_properties), if the
          checkpoint has any, in the order of ``properties`` in the metadata.

    Raises
    ------
    InputError
        If the estimator is none of these, or the extra ``onnx`` is not installed.

    See Also
    --------
    onnx_inputs : Encodes compositions for it.
    reduce_precision : Faster predictions without another runtime.

    Notes
    -----
    Predictions agree with the estimator's to 1e-4 of a target's standard deviation or better.
    ``ImplicitKTRegressor(readout="fast")`` predicts by forests, which are no part of a graph:
    export the encoder that feeds them (``CompositionEmbedder``), and the forests by skl2onnx.

    Examples
    --------
    >>> import tempfile
    >>> import onnxruntime
    >>> from sklearn_kt import ImplicitKTRegressor
    >>> from sklearn_kt.export import export_onnx, onnx_inputs
    >>> model = ImplicitKTRegressor(
    ...     None, backbone="tiny", readout="head", n_estimators=1, max_epochs=2, random_state=0
    ... ).fit(["NaCl", "MgO", "Si"], [8.5, 7.8, 1.1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = export_onnx(model, Path(folder) / "gap.onnx")
    ...     session = onnxruntime.InferenceSession(path)
    ...     (prediction,) = session.run(None, onnx_inputs(["KCl", "LiFePO4"]))
    >>> bool((abs(prediction[:, 0] - model.predict(["KCl", "LiFePO4"])) < 1e-4).all())
    True
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"export_onnx needs {error.name}: pip install 'sklearn_kt[onnx]'."
        ) from error
    import torch

    graph, names, about = _graph(estimator)
    inputs = {name: torch.from_numpy(array) for name, array in onnx_inputs(_TRACED).items()}
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with _quiet_export(), torch.no_grad():
        program = torch.onnx.export(
            graph,
            tuple(inputs.values()),
            dynamo=True,
            dynamic_shapes=dict.fromkeys(inputs, free),
            input_names=list(inputs),
            output_names=names,
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(about)
    path = Path(path)
    with replacing(path) as temporary:
        program.save(temporary)
    return path


def _composition_encoder(value: Any) -> CompositionEncoder | None:
    """Give the composition encoder that an encoder or a network is made of, if there is one."""
    from skorch import NeuralNet

    from .encoder.modeling import CompositionEncoder

    module = None
    if isinstance(value, Encoder):
        module = value.network
    elif isinstance(value, NeuralNet):
        module = getattr(value, "module_", None)
    backbone = getattr(module, "backbone", None)
    return backbone if isinstance(backbone, CompositionEncoder) else None


def _graph(estimator: Any) -> tuple[nn.Module, list[str], dict[str, str]]:
    """Give what is traced, the names of its outputs, and metadata."""
    from .encoder.onnx import Classifier, Embedder, Regressor

    kind = type(estimator).__name__
    about = {"sklearn_kt": __version__, "model": kind}
    if not isinstance(estimator, CompositionEmbedder | ImplicitKTClassifier | ImplicitKTRegressor):
        raise InputError(
            f"export_onnx writes an ImplicitKTRegressor, ImplicitKTClassifier or "
            f"CompositionEmbedder, not a {kind}; export the parts of a pipeline or stack."
        )
    check_is_fitted(estimator)
    if estimator.encoder_.n_conditions:
        raise InputError(
            f"this {kind} was fitted with the conditions {', '.join(estimator.condition_names_)}, "
            "and graphs read compositions alone; save it with save_model."
        )
    kind_of_input = estimator.encoder_.spec["kind"]
    if isinstance(estimator, CompositionEmbedder):
        network = estimator.encoder_.network
        if network is None or kind_of_input != "composition":
            raise InputError(
                "this CompositionEmbedder has no encoder of element tokens to export; fit one "
                "with a checkpoint."
            )
        properties = network.property_names
        about["properties"] = json.dumps(properties)
        names = ["embeddings", "properties"] if properties else ["embeddings"]
        return Embedder(copy.deepcopy(network)), names, about
    used = dict.fromkeys([*estimator.readout_weights_, *estimator.new_readout_weights_])
    if [*used] != ["network"] or kind_of_input != "composition":
        raise InputError(
            f"this {kind} predicts by {', '.join(used)} on "
            f"{kind_of_input}; only networks on element tokens can be exported. "
            "Fit with readout='head', without a text backbone, or export the encoder alone "
            "(CompositionEmbedder)."
        )
    nets: list[nn.Module] = [copy.deepcopy(net.module_) for net in estimator.nets_]
    if isinstance(estimator, ImplicitKTClassifier):
        about["classes"] = json.dumps(estimator.classes_.tolist())
        return (
            Classifier(nets, estimator.temperature_, estimator.class_weights_),
            ["probabilities"],
            about,
        )
    targets = estimator.targets_
    mean = targets.loss == "squared_error"
    return Regressor(nets, mean, targets.scaler), ["prediction"], about


@contextmanager
def _quiet_export() -> Iterator[None]:
    """Keep remarks of torch's exporter about itself and other packages from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
