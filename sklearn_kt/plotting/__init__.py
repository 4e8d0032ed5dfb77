"""Pictures of models, explanations and embeddings, on matplotlib.

Everything draws on the axes it is given, or on a new figure of pyplot, and can be changed
afterwards. Displays follow scikit-learn: ``from_estimator`` or ``from_predictions``
compute and plot, ``plot`` draws again, ``ax_`` and ``figure_`` hold the result;
functions return the axes. Orange is positive and blue is negative, which readers with
any colour vision can tell apart. For learning curves, scikit-learn's
:class:`~sklearn.model_selection.LearningCurveDisplay` takes the estimators of this package.
"""

from .conditions import ConditionDisplay
from .elements import plot_pair_matrix, plot_periodic_table
from .embeddings import EmbeddingDisplay
from .interactions import InteractionDisplay, write_explanation
from .predictions import IntervalReliabilityDisplay, ParityDisplay
from .structures import StructureDisplay
from .training import plot_training_curve

__all__ = [
    "ConditionDisplay",
    "EmbeddingDisplay",
    "InteractionDisplay",
    "IntervalReliabilityDisplay",
    "ParityDisplay",
    "StructureDisplay",
    "plot_pair_matrix",
    "plot_periodic_table",
    "plot_training_curve",
    "write_explanation",
]
