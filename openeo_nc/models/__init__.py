"""Embedding models: pixels in, a vector a patch out; NumPy on both sides, no xarray, Dask or openEO."""
