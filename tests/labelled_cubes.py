"""Embedding cubes with labels that their vectors tell, and the same as tables."""

from __future__ import annotations

import embedding_cubes
import numpy as np
import pyproj
import xarray as xr

NAMES = ("water", "forest", "crops")


def cube(*, dates=2, y=12, x=14, dim=6, chunks=None):
    """An embedding cube with a hole."""
    return embedding_cubes.cube("float32", dates=dates, y=y, x=x, dim=dim, chunks=chunks)


def scores(data, classes=3, seed=1):
    """`(t, classes, y, x)`: linear in the vectors, with noise."""
    draw = np.random.default_rng(seed)
    weights = draw.normal(size=(classes, data.sizes["embedding"]))
    found = np.einsum("kd,tdyx->tkyx", weights, data.values)
    return found + 0.2 * draw.normal(size=found.shape)


def raster(data, values):
    """A cube of labels `(t, y, x)` on the patches of an embedding cube."""
    coords = {name: data[name] for name in ("t", "y", "x")}
    return xr.DataArray(values, dims=("t", "y", "x"), coords=coords).rio.write_crs(data.rio.crs)


def classes(data, codes=(3, 7, 20), lacking=0.2):
    """A raster of classes, NaN where there is none."""
    values = np.asarray(codes, float)[scores(data, len(codes)).argmax(axis=1)]
    values[np.random.default_rng(2).random(values.shape) < lacking] = np.nan
    return raster(data, values)


def numbers(data):
    """A raster of numbers."""
    return raster(data, scores(data, 1)[:, 0])


def table(data, labels):
    """Vectors `(n, dim)` and labels `(n,)` of the patches that have both."""
    x = np.moveaxis(data.values, 1, -1)
    y = np.broadcast_to(labels.values, x.shape[:-1])
    good = np.isfinite(x).all(-1) & np.isfinite(y)
    return x[good], y[good]


def points(data, labels, names=NAMES):
    """GeoJSON: a point in each patch of the first date that has a label, its name as `cover`."""
    to = pyproj.Transformer.from_crs(data.rio.crs, "EPSG:4326", always_xy=True)
    values = labels.values[0]
    codes = np.unique(values[np.isfinite(values)])
    features = []
    for row, column in np.argwhere(np.isfinite(values)):
        place = to.transform(float(data.x[column]) + 11, float(data.y[row]) - 7)
        name = names[int(np.searchsorted(codes, values[row, column]))]
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "Point", "coordinates": list(place)},
                "properties": {"cover": name},
            }
        )
    return {"type": "FeatureCollection", "features": features}
