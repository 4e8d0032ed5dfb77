"""How fitted estimators look in notebooks: what was trained, from what, and how it went."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
from sklearn.utils import estimator_html_repr

__all__ = ["FittedReprMixin", "fitted_html"]

_WIDTH, _HEIGHT, _EDGE = 260, 90, 4
# as in sklearn_kt.plotting, but visible on light and on dark pages
_LINES = (("train_loss", "training", "#2b8cc4", ""), ("valid_loss", "validation", "#e0722b", "4 3"))
_STYLE = "border-collapse:collapse;font-size:0.9em;margin:0"
_CELL = "text-align:left;padding:1px 10px 1px 0;border:none;background:none;vertical-align:top"


class FittedReprMixin:
    """Adds what :func:`fitted_html` says to scikit-learn's picture of an estimator.

    To the left of :class:`~sklearn.base.BaseEstimator`.
    """

    def _html_repr(self) -> str:
        return estimator_html_repr(self) + fitted_html(self)


def fitted_html(estimator: Any) -> str:
    """Describe what an estimator learned, as HTML that needs no other file.

    Parameters
    ----------
    estimator : estimator of this package
        Fitted or not.

    Returns
    -------
    str
        Encoder, checkpoint, networks, readouts with their shares and out-of-fold losses,
        device and training curve of implicit transfer; rows with and without structures of
        explicit transfer; shares and errors of blended models; ``""`` before ``fit``.

    Examples
    --------
    >>> from sklearn_kt import ImplicitKTRegressor
    >>> from sklearn_kt.estimators.html_repr import fitted_html
    >>> model = ImplicitKTRegressor(
    ...     None, backbone="tiny", readout="head", n_estimators=1, max_epochs=2, random_state=0
    ... )
    >>> fitted_html(model)
    ''
    >>> "training curve" in fitted_html(model.fit(["NaCl", "MgO", "Si"], [8.5, 7.8, 1.1]))
    True
    """
    rows: list[tuple[str, str]] = []
    if hasattr(estimator, "readout_weights_"):
        rows = _implicit_rows(estimator)
    elif hasattr(estimator, "structure_model_"):
        rows = _explicit_rows(estimator)
    elif hasattr(estimator, "weights_"):
        rows = _blended_rows(estimator)
    if not rows:
        return ""
    cells = "".join(
        f'<tr><th style="{_CELL};font-weight:600">{name}</th><td style="{_CELL}">{text}</td></tr>'
        for name, text in rows
    )
    return (
        '<details open style="margin-top:0.5em"><summary>What was learned</summary>'
        f'<table style="{_STYLE}">{cells}</table></details>'
    )


def _implicit_rows(estimator: Any) -> list[tuple[str, str]]:
    rows = [
        ("encoder", _encoder(estimator)),
        ("started from", _origin(estimator)),
        ("prediction", _shares(estimator)),
    ]
    if estimator.nets_:
        rows.append(("networks", _networks(estimator)))
    rows.append(("device", html.escape(_device(estimator))))
    if estimator.history_:
        rows.append(("training curve", _curve(estimator.history_)))
    return rows


def _explicit_rows(estimator: Any) -> list[tuple[str, str]]:
    if estimator.input_kind_ == "features":
        return [("prediction from columns", _model(estimator.structure_model_))]
    generator = estimator.generator
    name = "PrototypeGenerator" if generator is None else type(generator).__name__
    rows = [("structures from", html.escape(name))]
    if estimator.structure_model_ is not None:
        rows.append(("rows with a structure", _model(estimator.structure_model_)))
    if estimator.composition_model_ is not None:
        rows.append(("rows without one", _model(estimator.composition_model_)))
    rows.append(("last call", f"{len(estimator.fallback_rows_):,} rows without a structure"))
    return rows


def _model(model: Any) -> str:
    name = html.escape(type(model).__name__)
    # a model of the user's own has no shares
    return f"{name}<br>{_shares(model)}" if hasattr(model, "readout_weights_") else name


def _blended_rows(estimator: Any) -> list[tuple[str, str]]:
    scores = estimator.scores_
    shares = []
    for name, weight in estimator.weights_.items():
        error = f" (out-of-fold error {scores[name]:.3g})" if name in scores else ""
        shares.append(f"{weight:.0%} {html.escape(name)}{error}")
    if "blend" in scores and len(shares) > 1:
        shares.append(f"together: out-of-fold error {scores['blend']:.3g}")
    return [("prediction", "<br>".join(shares))]


def _encoder(estimator: Any) -> str:
    kind, config = estimator.encoder_.spec["kind"], estimator.encoder_.spec["config"]
    if kind == "features":
        return f"none: residual network on {config['n_features']} columns of numbers"
    name = "elements" if kind == "composition" else f"text ({config.get('model_type', 'unknown')})"
    sizes = [f"width {config['hidden_size']}"] if "hidden_size" in config else []
    if "num_hidden_layers" in config:
        sizes.append(f"{config['num_hidden_layers']} layers")
    modules = [net.module_.backbone for net in estimator.nets_[:1]] or [estimator.encoder_.network]
    if modules[0] is not None:
        sizes.append(f"{sum(p.numel() for p in modules[0].parameters()):,} parameters")
    return html.escape(", ".join([f"transformer on {name}", *sizes]))


def _origin(estimator: Any) -> str:
    kind = estimator.encoder_.spec["kind"]
    if kind == "text":
        return f"Hugging Face model {html.escape(str(estimator.backbone))}"
    if estimator.checkpoint is None or kind == "features":
        return "random weights"
    return f"checkpoint {html.escape(str(estimator.checkpoint))}"


def _shares(estimator: Any) -> str:
    losses = estimator.readout_scores_
    parts = []
    for name, share in estimator.readout_weights_.items():
        # a readout of the user's own is called by its class
        shown = type(estimator.readouts_[name]).__name__ if name == "estimator" else name
        loss = f" (out-of-fold loss {losses[name]:.3g})" if name in losses else ""
        parts.append(f"{share:.0%} {html.escape(shown)}{loss}")
    if "blend" in losses and len(parts) > 1:
        parts.append(f"together: out-of-fold loss {losses['blend']:.3g}")
    return "<br>".join(parts)


def _networks(estimator: Any) -> str:
    epochs = sorted({len(history) for history in estimator.history_})
    spread = str(epochs[0]) if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
    return f"{len(estimator.nets_)}, trained for {spread} epochs"


def _device(estimator: Any) -> str:
    from sklearn_kt.encoder.training import resolve_device

    device = resolve_device(estimator.device)
    return device if device == estimator.device else f"{device} (device={estimator.device!r})"


def _curve(histories: list[list[dict[str, float]]]) -> str:
    """Losses over the epochs as an SVG, with the range that they span."""
    curves = [
        (name, colour, dashes, [(epoch["epoch"], epoch[key]) for epoch in history if key in epoch])
        for key, name, colour, dashes in _LINES
        for history in histories
    ]
    curves = [curve for curve in curves if curve[-1]]
    losses = [loss for *_, points in curves for _, loss in points]
    low, high = min(losses), max(losses)
    last = max(len(history) for history in histories)
    lines = []
    for _, colour, dashes, points in curves:
        places = " ".join(
            f"{_scale(x, 1, last, _WIDTH):.1f},{_HEIGHT - _scale(y, low, high, _HEIGHT):.1f}"
            for x, y in points
        )
        lines.append(
            f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.2"'
            f' stroke-dasharray="{dashes}"/>'
        )
    names = [
        f'<span style="color:{colour}">{name}</span>'
        for name, colour in dict.fromkeys((name, colour) for name, colour, *_ in curves)
    ]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img"'
        f' aria-label="loss over {last} epochs" style="border:1px solid #8884">'
        f"{''.join(lines)}</svg><br>loss of {' and '.join(names)}: from {high:.3g} to {low:.3g}"
    )


def _scale(value: float, low: float, high: float, size: int) -> float:
    share = (value - low) / (high - low) if high > low else 0.5
    return float(np.clip(_EDGE + share * (size - 2 * _EDGE), 0, size))
