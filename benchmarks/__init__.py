"""How good and how fast the models are: what is measured, and the pages made of it.

Each module is a command, such as ``python -m benchmarks.accuracy.compare matbench``.
"""
