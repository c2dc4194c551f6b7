"""Synthetic series: one file per family, mixed by `mixture.generate`."""
