"""How the data in the package were made: run ``python -m making.prototypes`` in a clone."""
