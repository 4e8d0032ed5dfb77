"""What files from strangers must be like: saved models, beyond the names of types, and arrays.

skops [1]_ asks which types a file holds. These guards ask for the rest: that nothing grows when it
is built (:func:`check_schema`), that no compiled code of scikit-learn or NumPy walks out of the
arrays that it is given (:func:`check_objects`), and that a tokenizer stays small and does not fail
in its own language (:func:`check_tokenizer`). Files of arrays beside models are held to the same
sizes (:func:`check_arrays`).

References
----------
.. [1] skops, "Secure persistence with skops", https://skops.readthedocs.io
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .exceptions import CheckpointError, reason_of

__all__ = [
    "FORMULA_PARTS",
    "check_arrays",
    "check_objects",
    "check_packed",
    "check_schema",
    "check_tokenizer",
    "objects_in",
    "parse_json",
    "read_json",
]

# A file may unpack to so many bytes, and so many times its size: forests shrink to a fifth,
# zip bombs to a thousandth.
_UNPACKED_ALWAYS = 64 * 2**20
_UNPACKED_RATIO = 60
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Lists and objects in one JSON text, its values, and how deep they lie: each takes 60 to 250 bytes
# of memory for as few as 3 of the text. A forest of 1,000 trees has a fifth of these.
_CONTAINERS = 300_000
_VALUES = 1_500_000
_TEXT = 32 * 2**20
_DEPTH = 200
# protocol of skops; older ones have readers that check less
_PROTOCOL = 2
_TREE = ("sklearn.tree._tree", "Tree")
_KEY_TYPES = ("bool", "float", "int", "str")
# these make as many bytes as a number says
_SIZED_SCALARS = ("void", "bytes_")
# What a loader makes by calling the type that it names, which could be any trusted function.
_MADE_BY = {
    "ConstructorFromReduceNode": ("builtins.frozenset", "builtins.range"),
    "DictNode": ("builtins.dict", "collections.OrderedDict", "sklearn.utils._bunch.Bunch"),
    "ListNode": ("builtins.list",),
    "RandomStateNode": ("numpy.random.mtrand.RandomState",),
    "SetNode": ("builtins.set",),
    "TupleNode": ("builtins.tuple",),
}
# the first is what scikit-learn 1.8 calls the second, which it has always loaded by then
_LOSSES = ("_loss", "sklearn._loss._loss", "sklearn.linear_model._sgd_fast")
# numbers that NumPy mixes to seed a generator, each with each
_POOL = "4"
# a list of integers stands between bytes and a bytearray
_BYTEARRAY = 9
# threads that a stored model may ask for
_THREADS = 1024
# attributes that say which methods of other estimators are called
_NAMES_METHODS = ("_response_method", "chain_method_", "response_method", "stack_method_")
_METHODS = {"auto", "decision_function", "predict", "predict_log_proba", "predict_proba"}
# attributes that hold numbers that were learned
_LEARNED = (
    "_dual_coef_",
    "_intercept_",
    "cluster_centers_",
    "coef_",
    "coefs_",
    "dual_coef_",
    "floor_",
    "intercept_",
    "intercepts_",
    "mean_",
    "new_readout_weights_",
    "ratios_",
    "readout_weights_",
    "scale_",
    "support_vectors_",
    "temperature_",
    "weights_",
)
_HISTOGRAM = "sklearn.ensemble._hist_gradient_boosting"
# trusted only inside of the estimators that check them
_PARTS = (
    f"{_HISTOGRAM}.binning._BinMapper",
    f"{_HISTOGRAM}.predictor.TreePredictor",
    ".".join(_TREE),
)
# steps of tokenizers whose work grows with the text alone
_STEPS = (
    *("BPE", "Unigram", "WordLevel", "WordPiece"),
    *("BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Precompiled", "Replace"),
    *("Sequence", "Strip", "StripAccents"),
    *("BertPreTokenizer", "ByteLevel", "Digits", "Metaspace", "Punctuation", "Whitespace"),
    *("Split", "WhitespaceSplit"),
    *("BertProcessing", "RobertaProcessing", "TemplateProcessing"),
)
# the only regular expressions in use: others may take longer than any screening
_SPACES = {"Regex": " {2,}"}
FORMULA_PARTS = r"[A-Z][a-z]?|[0-9]|\."
"""Parts of a formula, which this package's own tokenizers split off."""
# replacements, and parts of a template: each may make a text longer
_FEW_STEPS = 8

_EDITED = "it is damaged or was edited; do not use the file"


def check_packed(archive: zipfile.ZipFile, packed: int, name: str) -> None:
    """Refuse an archive that takes far more memory than its size, before it is unpacked."""
    members = archive.infolist()
    # zipfile reads no more of a member than it declares
    _check_unpacked(sum(info.file_size for info in members), packed, name)
    # others may take gigabytes for the dictionary that they declare
    if any(info.compress_type not in _COMPRESSIONS for info in members):
        raise CheckpointError(f"{name} is not compressed as this package does: {_EDITED}.")


def check_arrays(archive: zipfile.ZipFile, packed: int, name: str) -> None:
    """Check an archive of NumPy arrays (.npz): each is as large as it says, and holds no pickle."""
    check_packed(archive, packed, name)
    for info in archive.infolist():
        _check_array(archive, info)


def _check_unpacked(unpacked: int, packed: int, name: str) -> None:
    if unpacked > max(_UNPACKED_ALWAYS, _UNPACKED_RATIO * packed):
        raise CheckpointError(
            f"{name} would unpack to {unpacked:,} bytes, far more than a file of its "
            "size holds (a zip bomb?); it is not loaded."
        )


def parse_json(text: bytes, name: str) -> Any:
    """Parse JSON that is not much larger in memory than as text.

    It is refused if it is long, or holds too many lists, objects or values.
    """
    containers = text.count(b"[") + text.count(b"{")
    if containers > _CONTAINERS or text.count(b",") > _VALUES or len(text) > _TEXT:
        raise CheckpointError(
            f"{name} holds more than {_CONTAINERS:,} parts, {_VALUES:,} values or {_TEXT:,} bytes "
            "(thousands of trees?); such models are not kept in this format."
        )
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{name} is no JSON ({reason_of(error)}).") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file that is no larger than :func:`parse_json` allows."""
    try:
        with path.open("rb") as stream:
            content = parse_json(stream.read(_TEXT + 1), path.name)
    except (OSError, CheckpointError) as error:
        raise CheckpointError(f"{path} cannot be read: {reason_of(error)}.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a JSON object.")
    return content


def check_schema(archive: zipfile.ZipFile, trusted: Collection[str] | None = ()) -> None:
    """Check that what a file of skops describes is no larger than the description.

    Parts must not be repeated by reference, nested too deeply, or other than what skops writes,
    and arrays must be as large as they say. None stands for trust in all types.
    """
    if "schema.json" not in archive.namelist():
        raise CheckpointError(f"there is no schema.json: {_EDITED}.")
    # no more than what is refused for its length
    with archive.open("schema.json") as stream:
        schema = parse_json(stream.read(_TEXT + 1), "schema.json")
    if not isinstance(schema, dict):
        raise CheckpointError("schema.json is not a JSON object.")
    protocol = schema.get("protocol")
    if type(protocol) is not int or protocol < _PROTOCOL:
        raise CheckpointError(f"protocol {str(protocol)[:40]} of skops is not read.")
    sizes: dict[int, int] = {}
    users: dict[str, int] = {}

    def size_of(value: Any, depth: int) -> int:
        """Count objects below and check those that stand for Python's."""
        if depth > _DEPTH:
            raise CheckpointError(f"parts lie more than {_DEPTH} deep: {_EDITED}.")
        parts = value.values() if isinstance(value, dict) else value
        size = 1 + sum(size_of(p, depth + 1) for p in parts if isinstance(p, dict | list))
        if isinstance(value, dict) and ("__id__" in value or "__loader__" in value):
            _check_node(value, trusted)
            # a part that comes twice is written out twice; naming it again would let a few lines
            # stand for a doubling at each level
            if sizes.setdefault(value["__id__"], size) != size:
                raise CheckpointError(f"a part is repeated by reference: {_EDITED}.")
            if (
                "file" in value
                and users.setdefault(value["file"], value["__id__"]) != (value["__id__"])
            ):
                raise CheckpointError(f"two parts share one array: {_EDITED}.")
            if value["__loader__"] == "BytearrayNode":
                info = archive.getinfo(str(value["file"]))
                _check_unpacked(_BYTEARRAY * info.file_size, info.compress_size, info.filename)
        return size

    size_of(schema, 0)
    for name in users:
        _check_member(archive, str(name))


def _check_node(node: dict[str, Any], trusted: Collection[str] | None) -> None:
    """Check one part against what skops writes."""
    module, kind, loader = (node.get(key) for key in ("__module__", "__class__", "__loader__"))
    number = node.get("__id__")
    typed = isinstance(module, str) and isinstance(kind, str) and isinstance(loader, str)
    if not typed or type(number) is not int or number < 1:
        raise CheckpointError(f"a part has no type or number: {_EDITED}.")
    assert isinstance(module, str)
    assert isinstance(kind, str)
    content = node.get("content")
    name = f"{module}.{kind}"
    vouched = trusted is None or name in trusted
    good = loader != "CachedNode"
    if not vouched:
        good &= loader not in _MADE_BY or name in _MADE_BY[loader]
        good &= loader != "LossNode" or module in _LOSSES
    if loader == "JsonNode":
        # text, a number, a truth value or nothing: the rest has loaders of its own
        good &= isinstance(content, str) and content.lstrip()[:1] not in ("[", "{")
    elif loader == "DictNode":
        types = node.get("key_types")
        listed = types.get("content") if isinstance(types, dict) else None
        good &= (
            isinstance(listed, list)
            and isinstance(content, dict)
            and len(listed) == len(content)
            and all(map(_is_key_type, listed))
        )
    elif loader == "NdArrayNode":
        good &= module == "numpy" and kind not in _SIZED_SCALARS
    elif loader == "ConstructorFromReduceNode" and not vouched:
        good = good and _is_small(kind, content)
    elif loader == "RandomGeneratorNode":
        good &= isinstance(content, dict) and _pool_of(content) == _POOL
    elif loader == "SparseMatrixNode" and not vouched:
        raise CheckpointError(
            f"it holds types that are not trusted: a sparse matrix, {name[:160]}. If "
            "you know it to be harmless, pass that name to load_model(path, trusted=[...]) or as "
            "--trust NAME on the command line."
        )
    if ((module, kind) == _TREE) != (loader == "TreeNode"):
        good = good and loader in ("TypeNode", "FunctionNode")
    file = node.get("file")
    if loader in ("NdArrayNode", "SparseMatrixNode") and file is not None:
        good = good and file in (f"{number}.npy", f"{number}.npz")
    if not good:
        raise CheckpointError(f"a {kind[:80]} is not described as skops does: {_EDITED}.")


def _is_small(kind: str, arguments: Any) -> bool:
    """Tell whether what is made of these arguments is as small as they are."""
    given = arguments["content"]
    if kind == "frozenset":
        return [part["__loader__"] for part in given] == ["ListNode"]
    return len(range(*(int(part["content"]) for part in given))) <= _VALUES


def _pool_of(generator: dict[str, Any]) -> Any:
    return generator["seed_seq"]["content"]["pool_size"]["content"]


def _is_key_type(node: Any) -> bool:
    return (
        isinstance(node, dict)
        and node.get("__loader__") == "TypeNode"
        and node.get("__module__") == "builtins"
        and node.get("__class__") in _KEY_TYPES
    )


def _check_member(archive: zipfile.ZipFile, name: str) -> None:
    """Check that an array is as large as it says, also inside a stored sparse matrix."""
    try:
        info = archive.getinfo(name)
    except KeyError as error:
        raise CheckpointError(f"the array {name[:80]!r} is missing: {_EDITED}.") from error
    if name.endswith(".npz"):
        with zipfile.ZipFile(io.BytesIO(archive.read(info))) as inner:
            check_arrays(inner, info.file_size, name)
    elif name.endswith(".npy"):
        _check_array(archive, info)


def _check_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
        else:
            raise CheckpointError(f"an array has the layout {version}: {_EDITED}.")
        count = 1
        for length in shape:
            count *= int(length)
        there = info.file_size - stream.tell()
    if dtype.hasobject or count < 0 or count * dtype.itemsize != there or (count and not there):
        raise CheckpointError(
            f"an array of {str(shape)[:80]} {str(dtype)[:80]} takes {there:,} bytes: {_EDITED}."
        )


# Compiled code walks through these arrays without looking.


def objects_in(root: Any) -> Iterator[Any]:
    """Objects in an estimator, at any depth, each once.

    Neither plain values nor what is inside networks and tokenizers.
    """
    seen: set[int] = set()
    pending = [root]
    while pending:
        item = pending.pop()
        if id(item) in seen or isinstance(item, str | bytes | int | float | type):
            continue
        seen.add(id(item))
        yield item
        if isinstance(item, Mapping):
            pending.extend(item.keys())
            pending.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            pending.extend(item)
        elif isinstance(item, np.ndarray):
            # also what a mask hides
            pending.extend(np.asarray(item).ravel().tolist() if item.dtype == object else ())
        elif type(item).__module__.partition(".")[0] not in ("skorch", "tokenizers", "torch"):
            pending.extend(_attributes(item).values())


def check_objects(model: Any, trusted: Collection[str] = ()) -> None:
    """Check what is trusted by its type for what is in it; what the user vouches for is not.

    Compiled code must not leave an array, learned numbers must be finite, and methods the own.
    """
    # what is checked with its holder, and must not stand alone
    held: set[int] = set()
    alone: list[Any] = []
    for item in objects_in(model):
        names = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(item).__mro__]
        if names[0] in trusted:
            held.update(map(id, objects_in(item)))
            continue
        _check_attributes(item)
        if names[0] in _PARTS:
            alone.append(item)
        for guard in (_GUARDS[name] for name in names if name in _GUARDS):
            try:
                held.update(map(id, guard(item)))
            except CheckpointError:
                raise
            # anything at all may stand where an array should
            except Exception as error:
                raise _bad(item, f"{type(error).__name__}: {str(error)[:200]}") from error
    for item in alone:
        if id(item) not in held:
            raise _bad(item, "it stands outside of an estimator")


def _attributes(item: Any) -> dict[str, Any]:
    return getattr(item, "__dict__", {})


def _bad(item: Any, reason: str) -> CheckpointError:
    kind = type(item)
    return CheckpointError(
        f"a {kind.__name__} in the model is damaged or was edited ({reason}); do not use the file. "
        f"If you know where it comes from, load_model(path, trusted=['{kind.__module__}."
        f"{kind.__qualname__}']), or --trust with that name, loads it unchecked."
    )


def _need(item: Any, condition: Any, reason: str) -> None:
    if not condition:
        raise _bad(item, reason)


def _check_attributes(item: Any) -> None:
    """Check that no attribute takes the place of a method, and learned numbers are numbers."""
    if isinstance(item, np.ndarray):
        # masked ones have attributes of their own
        return
    for name, value in _attributes(item).items():
        method = getattr(type(item), name, None)
        _need(item, not (callable(method) or isinstance(method, property)), f"{name!r} is replaced")
        # compiled code does not see the mask that hides values from checks
        parts = value if isinstance(value, list | tuple) else [value]
        _need(item, not any(isinstance(p, np.ma.MaskedArray) for p in parts), f"{name} has a mask")
        if name in _NAMES_METHODS:
            # any other would be called as well, such as what writes a file
            _need(item, set(parts) <= _METHODS, f"{name} is no method that predicts")
        if name in _LEARNED:
            for part in value.values() if isinstance(value, dict) else parts:
                array = np.asarray(part)
                _need(
                    item,
                    array.dtype.kind != "f" or np.isfinite(array).all(),
                    f"{name} is not finite",
                )


def _columns(item: Any) -> int:
    """Columns that predict insists on; without them it does not look."""
    columns = _attributes(item).get("n_features_in_")
    _need(item, isinstance(columns, int | np.integer) and columns > 0, "n_features_in_ is missing")
    return int(columns)  # type: ignore[arg-type]


def _check_decision_tree(item: Any) -> list[Any]:
    tree = _attributes(item).get("tree_")
    if tree is None:
        return []
    _need(item, (type(tree).__module__, type(tree).__name__) == _TREE, "tree_ is no tree")
    # before its arrays are looked at: they are as long as it says
    _need(item, tree.node_count == tree.capacity > 0, "not as many nodes as are stored")
    left, right = tree.children_left, tree.children_right
    inner = left != -1
    _check_nodes(item, left, right, tree.feature, inner, min(_columns(item), tree.n_features))
    _need(item, np.isfinite(tree.value).all(), "values are not finite")
    depth, level = -1, np.zeros(1, dtype=np.int64)
    while len(level):
        depth += 1
        level = level[inner[level]]
        level = np.concatenate([left[level], right[level]])
        _need(item, depth <= tree.max_depth, "it is deeper than it says")
    return [tree]


def _check_nodes(
    item: Any, left: np.ndarray, right: np.ndarray, feature: np.ndarray, inner: Any, columns: int
) -> None:
    """Check that no walk through a tree leaves its arrays or goes round in circles."""
    _need(item, len(left) > 0, "a tree is empty")
    _need(item, ((feature[inner] >= 0) & (feature[inner] < columns)).all(), "a column is missing")
    for child in (left[inner], right[inner]):
        # children come after their parents
        good = (child > np.flatnonzero(inner)) & (child < len(left))
        _need(item, good.all(), "a branch leads astray")
    # and each has one: else the same few nodes are many paths
    children = np.concatenate([left[inner], right[inner]])
    _need(item, np.bincount(children, minlength=1).max() <= 1, "branches meet")


def _check_histogram_boosting(item: Any) -> list[Any]:
    state = _attributes(item)
    if "_predictors" not in state:
        return []
    _need(
        item,
        state.get("_preprocessor") is None and not state.get("_in_fit"),
        "its categorical features are not checked",
    )
    columns = _columns(item)
    held = [tree for iteration in state["_predictors"] for tree in iteration]
    for tree in held:
        nodes = tree.nodes
        left, right, feature = (nodes[k].astype(np.int64) for k in ("left", "right", "feature_idx"))
        inner = nodes["is_leaf"] == 0
        _check_nodes(item, left, right, feature, inner, columns)
        _need(item, not nodes["is_categorical"].any(), "its categorical features are not checked")
        _need(item, np.isfinite(nodes["value"]).all(), "values are not finite")
    mapper = state["_bin_mapper"]
    _need(item, len(mapper.is_categorical_) == columns, "bins do not fit the columns")
    return [*held, mapper]


def _check_gradient_boosting(item: Any) -> list[Any]:
    state = _attributes(item)
    if "estimators_" not in state:
        return []
    trees = state["estimators_"]
    _need(item, isinstance(trees, np.ndarray) and trees.ndim == 2 and trees.size, "no trees")
    columns, width = _columns(item), trees.shape[1]
    for tree in trees.ravel():
        _need(item, _columns(tree) == columns, "a tree has other columns")
        _need(item, tree.tree_.value.shape[1:] == (1, 1), "a tree gives more than a number")
    # compiled code adds to as many columns as there are trees in a round
    start = state["init_"]
    if isinstance(start, str):
        given = state["n_trees_per_iteration_"] if start == "zero" else 0
    else:
        _need(
            item,
            type(start).__module__ == "sklearn.dummy" and start.n_outputs_ == 1,
            "what it starts from is not checked",
        )
        given = 1
        if hasattr(start, "class_prior_"):
            _need(item, start.strategy == "prior" and np.ndim(start.class_prior_) == 1, "its start")
            if state["_loss"].is_multiclass is True:
                given = len(start.class_prior_)
    _need(item, given == width, "rounds of another width")
    return []


def _check_support_vectors(item: Any) -> list[Any]:
    state = _attributes(item)
    if "support_" not in state:
        return []
    _need(item, state.get("_sparse") is False, "sparse vectors are not checked")
    _need(item, "_impl" not in state, "another algorithm")
    kernel, shape = state["kernel"], state["shape_fit_"]
    _need(item, kernel in ("linear", "poly", "rbf", "sigmoid", "precomputed"), "its kernel")
    columns, support = _columns(item), state["support_"]
    n, vectors, counts = len(support), state["support_vectors_"], state["_n_support"]
    _need(item, support.ndim == 1 and len(shape) == 2 and shape[1] == columns, "its shape")
    _need(item, ((support >= 0) & (support < shape[0])).all(), "a vector is missing")
    if kernel != "precomputed":
        _need(item, vectors.shape == (n, columns), "vectors are missing")
    # regressors have no classes, and libsvm then leaves the second count as it was
    classes = len(counts)
    used = counts if "classes_" in state else counts[:1]
    _need(item, classes >= 2 and (used >= 0).all() and used.sum() == n, "counts of vectors")
    pairs = classes * (classes - 1) // 2
    _need(item, state["_dual_coef_"].shape == (classes - 1, n), "coefficients are missing")
    _need(item, state["_intercept_"].shape == (pairs,), "intercepts are missing")
    scales = (state["_probA"].shape, state["_probB"].shape)
    _need(item, scales in (((0,), (0,)), ((pairs,), (pairs,)), ((1,), (0,))), "its probabilities")
    return []


def _check_neighbors(item: Any) -> list[Any]:
    state = _attributes(item)
    if "_fit_X" not in state:
        return []
    rows = state["_fit_X"]
    _need(item, isinstance(rows, np.ndarray), "its rows are not checked")
    _need(item, rows.ndim == 2 and rows.shape[1] == _columns(item), "rows of another width")
    _need(item, state["n_samples_fit_"] == len(rows), "rows are missing")
    if state.get("_y") is not None:
        labels = state["_y"]
        _need(item, len(labels) == len(rows), "targets are missing")
        classes = state.get("classes_")
        if isinstance(classes, np.ndarray) and labels.ndim == 1:
            _need(item, ((labels >= 0) & (labels < len(classes))).all(), "a class is missing")
    return []


def _check_clusters(item: Any) -> list[Any]:
    state = _attributes(item)
    if "cluster_centers_" in state:
        centers = state["cluster_centers_"]
        _need(item, centers.ndim == 2 and centers.shape[1] == _columns(item), "its centers")
        _need(item, 0 < state.get("_n_threads", 1) <= _THREADS, "its threads")
    return []


def _check_random_state(item: Any) -> list[Any]:
    generator = getattr(item, "bit_generator", None) or item._bit_generator
    state = generator.state
    # where in its block of numbers it stands
    position = state.get("buffer_pos", state["state"].get("pos", 0))
    _need(item, 0 <= position <= len(state.get("buffer", state["state"].get("key", ()))), "it")
    return []


def _check_hashing(item: Any) -> list[Any]:
    # compiled code divides by it
    columns = _attributes(item).get("n_features")
    _need(item, type(columns) is int and 0 < columns < 2**31, "n_features")
    return []


# what a class, or one that it is derived from, must be like; each gives the parts that it checked
_GUARDS: dict[str, Callable[[Any], list[Any]]] = {
    f"{_HISTOGRAM}.gradient_boosting.BaseHistGradientBoosting": _check_histogram_boosting,
    "numpy.random._generator.Generator": _check_random_state,
    "numpy.random.mtrand.RandomState": _check_random_state,
    "sklearn.cluster._kmeans._BaseKMeans": _check_clusters,
    "sklearn.ensemble._gb.BaseGradientBoosting": _check_gradient_boosting,
    "sklearn.feature_extraction._hash.FeatureHasher": _check_hashing,
    "sklearn.feature_extraction.text.HashingVectorizer": _check_hashing,
    "sklearn.neighbors._base.NeighborsBase": _check_neighbors,
    "sklearn.svm._base.BaseLibSVM": _check_support_vectors,
    "sklearn.tree._classes.BaseDecisionTree": _check_decision_tree,
}


def check_tokenizer(text: Any) -> Any:
    """Read a tokenizer from its JSON text.

    It must not pad or cut to a length, nor have steps that could make much of a short text.
    """
    from tokenizers import Tokenizer

    if not isinstance(text, str):
        raise CheckpointError("a tokenizer is not stored as text.")
    settings = parse_json(text.encode(), "a tokenizer")
    if not isinstance(settings, dict):
        raise CheckpointError("a tokenizer is not a JSON object.")
    padding = settings.get("padding") or {"strategy": "BatchLongest"}
    free = isinstance(padding, dict) and padding.get("strategy") == "BatchLongest"
    if not free or padding.get("pad_to_multiple_of") or settings.get("truncation"):
        raise CheckpointError("a tokenizer pads or cuts texts to a length; it is not loaded.")
    replacements = 0
    parts = ("model", "normalizer", "pre_tokenizer", "post_processor")
    pending: list[Any] = [settings.get(name) for name in parts]
    while pending:
        step = pending.pop()
        if isinstance(step, list):
            pending.extend(part for part in step if isinstance(part, dict | list))
        if not isinstance(step, dict):
            continue
        # Rust guesses what has no type by its keys; models are all known
        kind = step.get("type", "WordPiece" if step is settings.get("model") else None)
        bad = kind not in _STEPS
        if kind == "Replace":
            replacements += 1
            pattern = step.get("pattern")
            bad |= not (pattern == _SPACES or (isinstance(pattern, dict) and pattern.get("String")))
            bad |= len(str(step.get("content"))) > 1 or replacements > _FEW_STEPS
        elif kind == "Split":
            bad |= step.get("pattern") != {"Regex": FORMULA_PARTS}
        elif kind == "TemplateProcessing":
            special = list((step.get("special_tokens") or {}).values())
            sizes = [len(entry.get("ids", ())) for entry in special if isinstance(entry, dict)]
            bad |= max([len(step.get("single") or ()), len(step.get("pair") or ()), *sizes]) > (
                _FEW_STEPS
            )
        if bad:
            raise CheckpointError(f"a tokenizer has a step {str(kind)[:80]!r} that is not loaded.")
        pending.extend(
            step[name] for name in ("normalizers", "pretokenizers", "processors") if name in step
        )
    try:
        tokenizer = Tokenizer.from_str(text)
        # what fails in Rust does so at its first words
        tokenizer.encode("hydrogen 0.5 oxygen 1234567890")
        # what copies a vocabulary counts up to its last token
        if max(tokenizer.get_vocab().values(), default=0) > _VALUES:
            raise ValueError("numbers of tokens are far apart")
    # a panic of Rust is no Exception
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise CheckpointError(f"a tokenizer cannot be read ({reason_of(error)}).") from error
    return tokenizer
