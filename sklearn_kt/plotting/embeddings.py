"""Compositions on a map of their features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.utils import check_consistent_length

from sklearn_kt._settings import own_settings
from sklearn_kt.exceptions import InputError

from ._style import COLOURS, MAX_BARS, MAX_DOTS, figure_of, new_axes, plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


__all__ = ["EmbeddingDisplay"]

_MARKERS = "osD^vP*"


class EmbeddingDisplay:
    """A map of compositions in two dimensions.

    Parameters
    ----------
    points : array-like of shape (n_samples, 2)
        Places on the map.
    y : array-like of shape (n_samples,), default=None
        Property that colours the points: numbers or labels.
    axes_names : tuple of str, default=("", "")
        What the two axes are.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        What was drawn on.
    figure_ : matplotlib.figure.Figure
        Its figure.

    See Also
    --------
    sklearn_kt.CompositionEmbedder : Makes the embeddings.

    Examples
    --------
    >>> from sklearn_kt import CompositionTokenizer
    >>> from sklearn_kt.plotting import EmbeddingDisplay
    >>> X, y = ["NaCl", "KCl", "Fe2O3", "FeO"], ["salt", "salt", "oxide", "oxide"]
    >>> embedder = CompositionTokenizer("fraction").fit(X)
    >>> EmbeddingDisplay.from_estimator(embedder, X, y).points.shape
    (4, 2)
    """

    ax_: Axes
    figure_: Figure

    def __init__(self, points: Any, y: Any = None, axes_names: tuple[str, str] = ("", "")) -> None:
        self.points = np.asarray(points, dtype=np.float64)
        if self.points.ndim != 2 or self.points.shape[1] != 2:
            raise InputError(f"points must be of shape (n_samples, 2), got {self.points.shape}.")
        self.y = None if y is None else np.asarray(y)
        if self.y is not None:
            check_consistent_length(self.points, self.y)
        self.axes_names = axes_names

    @classmethod
    def from_estimator(
        cls,
        transformer: Any,
        X: Any,
        y: Any = None,
        *,
        method: str = "pca",
        random_state: Any = None,
        label: str = "",
        ax: Axes | None = None,
    ) -> EmbeddingDisplay:
        """Embed compositions and plot the map.

        Parameters
        ----------
        transformer : fitted transformer
            Such as :class:`~sklearn_kt.CompositionEmbedder`.
        X : array-like of compositions
            What the transformer takes; at least 3 rows.
        y : array-like of shape (n_samples,), default=None
            Property that colours the points: numbers or labels.
        method : {"pca", "tsne"}, default="pca"
            Principal components, which keep distances between far groups, or t-SNE, which
            keeps neighbours together.
        random_state : int, RandomState instance or None, default=None
            Seeds t-SNE.
        label, ax
            As for :meth:`plot`.

        Returns
        -------
        EmbeddingDisplay
            Plotted.
        """
        if method not in ("pca", "tsne"):
            raise InputError(f"method must be 'pca' or 'tsne', got {method!r}.")
        # sums over the columns of a frame, which lie apart in memory, round differently
        embeddings = np.ascontiguousarray(transformer.transform(X), dtype=np.float64)
        if len(embeddings) < 3:
            raise InputError(f"a map needs at least 3 compositions, got {len(embeddings)}.")
        with own_settings():
            if method == "pca":
                pca = PCA(2).fit(embeddings)
                points = pca.transform(embeddings)
                shares = pca.explained_variance_ratio_
                names = tuple(f"component {i + 1} ({s:.0%})" for i, s in enumerate(shares))
            else:
                perplexity = min(30.0, (len(embeddings) - 1) / 3)
                tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=random_state)
                points = tsne.fit_transform(embeddings)
                names = ("t-SNE 1", "t-SNE 2")
        return cls(points, y, (names[0], names[1])).plot(label=label, ax=ax)

    def plot(self, *, label: str = "", ax: Axes | None = None) -> EmbeddingDisplay:
        """Plot the map.

        Parameters
        ----------
        label : str, default=""
            Name of the property, with its unit.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        EmbeddingDisplay
            With ``ax_`` and ``figure_``.

        Raises
        ------
        InputError
            If there are more than seven labels, which colours cannot tell apart.
        """
        self.ax_ = ax = new_axes((5.6, 4.4)) if ax is None else ax
        self.figure_ = figure_of(ax)
        size = 24 if len(self.points) <= MAX_BARS else 9 if len(self.points) <= MAX_DOTS else 4
        style: dict[str, Any] = {"s": size, "linewidths": 0, "alpha": 0.85}
        if self.y is None:
            ax.scatter(*self.points.T, color=COLOURS[0], **style)
        elif self.y.dtype.kind in "fiu":
            x, y = self.points.T
            dots = ax.scatter(x, y, c=self.y, cmap="cividis", **style)
            self.figure_.colorbar(dots, ax=ax, label=plain_text(label))
        else:
            labels = np.unique(self.y.astype(str))
            if len(labels) > len(COLOURS):
                raise InputError(
                    f"y has {len(labels)} labels, but there are {len(COLOURS)} colours that all "
                    "readers can tell apart; join some labels, or pass numbers."
                )
            for text, colour, marker in zip(labels, COLOURS, _MARKERS, strict=False):
                chosen = self.points[self.y.astype(str) == text]
                ax.scatter(*chosen.T, color=colour, marker=marker, label=plain_text(text), **style)
            ax.legend(
                title=plain_text(label) or None,
                fontsize=9,
                markerscale=1.5,
                frameon=False,
                loc="upper left",
                bbox_to_anchor=(1.0, 1.0),
            )
        ax.set_xlabel(plain_text(self.axes_names[0]))
        ax.set_ylabel(plain_text(self.axes_names[1]))
        ax.set_xticks([])
        ax.set_yticks([])
        return self
