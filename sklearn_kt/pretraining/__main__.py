"""``python -m sklearn_kt.pretraining --config recipe.json``."""

from __future__ import annotations

import sys

from .recipes import main

sys.exit(main())
