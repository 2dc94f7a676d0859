"""Imports what process graphs need; processes that are forked after it start at once."""

from __future__ import annotations

import rasterio  # noqa: F401
import stackstac  # noqa: F401

import openeo_nc.cubes.geotiff
import openeo_nc.cubes.netcdf
import openeo_nc.cubes.store  # noqa: F401
from openeo_nc.graphs.served import served_registry

served_registry()
