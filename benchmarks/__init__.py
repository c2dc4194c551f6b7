"""Measurements of the project against published and installed peers; run from the repository root.

`python -m benchmarks.accuracy` and `python -m benchmarks.http`; results lie in `results/`.
"""
