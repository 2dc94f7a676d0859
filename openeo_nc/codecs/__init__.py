"""Codecs: NumPy in, bytes or NumPy out; knows nothing of cubes, dates, CRS or Dask."""
