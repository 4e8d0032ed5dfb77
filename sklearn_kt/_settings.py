"""What scikit-learn does inside the package does not depend on the host program's settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from sklearn import config_context

if TYPE_CHECKING:
    # what is both a context manager and a decorator that keeps types has no public name
    from contextlib import _GeneratorContextManager

__all__ = ["own_settings"]

own_settings: Callable[[], _GeneratorContextManager[None]] = partial(
    config_context,
    assume_finite=False,
    working_memory=1024,
    pairwise_dist_chunk_size=256,
    enable_cython_pairwise_dist=True,
    array_api_dispatch=False,
    transform_output="default",
    enable_metadata_routing=False,
)
"""Context manager, and decorator of public methods: scikit-learn's defaults while they run.

``sklearn.set_config`` is made for the host's own estimators. Frames between our inner models,
or NaN let through unseen, are none of its business; what a method of ours returns is wrapped
outside, by scikit-learn, as ``set_output`` and ``transform_output`` say.
"""
