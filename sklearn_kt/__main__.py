"""Run the command line: ``python -m sklearn_kt``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
