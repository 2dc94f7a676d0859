"""Labels find the patches that they lie on, from features and rasters, whatever the chunks."""

from __future__ import annotations

import dask
import geopandas as gpd
import labelled_cubes
import numpy as np
import pytest
import rasterio.features
import shapely
import xarray as xr
from affine import Affine

from openeo_nc.errors import (
    CRSMissingError,
    DimensionMissingError,
    GeometryInvalidError,
    GridMismatchError,
    InvalidParameterError,
    LabelNotAvailableError,
    NoDataAvailableError,
)
from openeo_nc.ml import passes
from openeo_nc.ml.labels import aligned, coded, marked, of_patches
from openeo_nc.ml.samples import joined
from openeo_nc.ml.training_set import TrainingSet


@pytest.fixture
def cube():
    return labelled_cubes.cube()


def samples(data, target="cover", labels=None, *, classes=True):
    """All samples of a training set, ordered."""
    given = TrainingSet.of(data, target, labels, classes=classes)
    run = passes.Passes(given.source)
    parts = [run.delayed(ref) for ref in run.samples(None)]
    with dask.config.set(scheduler="sync"):
        found = joined(list(dask.compute(*parts)))
    order = np.lexsort([found.y, *found.x.T])
    return given, found.x[order], found.y[order]


def expected(data, labels):
    x, y = labelled_cubes.table(data, labels)
    order = np.lexsort([y, *x.T])
    return x[order], y[order]


def test_points_label_the_patch_that_they_lie_in(cube):
    labels = labelled_cubes.classes(cube.isel(t=[0]), lacking=0.7)
    given, x, y = samples(cube, labels=labelled_cubes.points(cube, labels))
    again = xr.concat([labels.isel(t=0, drop=True)] * 2, "t").transpose("t", "y", "x")
    wanted, codes = expected(cube, again)
    assert np.array_equal(x, wanted)
    names = np.asarray(given.classes)[y.astype(int)]
    told = dict(zip((3, 7, 20), labelled_cubes.NAMES, strict=True))
    assert list(names) == [told[code] for code in codes]
    assert given.classes == ("crops", "forest", "water")


def test_polygons_label_patches_by_their_middle_as_rasterio_does():
    draw = np.random.default_rng(4)
    x, y = np.arange(40) * 80.0 + 40, 3200 - 40 - np.arange(40) * 80.0
    shapes = [
        shapely.Point(draw.uniform(0, 3200, 2)).buffer(draw.uniform(150, 600)) for _ in range(12)
    ]
    values = np.arange(12.0)
    found = marked(x, y, (40, 40), np.asarray(shapes, object), values)
    oracle = rasterio.features.rasterize(
        zip(shapes, values, strict=True),
        (40, 40),
        fill=-1,
        transform=Affine(80, 0, 0, 0, -80, 3200),
    )
    assert np.array_equal(np.nan_to_num(found, nan=-1), oracle)


def test_chunks_without_features_are_not_looked_at(cube):
    labels = labelled_cubes.classes(cube.isel(t=[0]))
    few = labelled_cubes.points(cube, labels.where(cube.x < cube.x[3]).where(cube.y > cube.y[3]))
    given = TrainingSet.of(cube, "cover", few, classes=True)
    assert len(given.source.chunks) == 2 < cube.data.npartitions


def test_a_raster_of_patches_labels_them(cube):
    labels = labelled_cubes.classes(cube)
    for given in (labels, labels.expand_dims(bands=["cover"]), labels.chunk({"y": 5})):
        _, x, y = samples(cube, labels=given)
        wanted, codes = expected(cube, labels)
        assert np.array_equal(x, wanted)
        assert np.array_equal(y, codes)
    one = labels.isel(t=0, drop=True)
    assert len(samples(cube, labels=one)[2]) > len(samples(cube.isel(t=[0]), labels=one)[2])


def test_a_finer_raster_that_covers_more_counts_by_its_commonest_class(cube):
    draw = np.random.default_rng(5)
    fine = draw.integers(0, 3, (14 * 4, 12 * 4)).astype("uint8")
    first = cube.isel(t=[0])
    left, top = float(cube.x[0]) - 40 - 80, float(cube.y[0]) + 40 + 160
    labels = xr.DataArray(
        fine, dims=("y", "x"), attrs={"_FillValue": 0},
        coords={"y": top - 10 - 20 * np.arange(56), "x": left + 10 + 20 * np.arange(48)},
    ).rio.write_crs(cube.rio.crs)  # fmt: skip
    raster, many = aligned(labels, first.chunk({"y": 5, "x": 6}), "any")
    assert many == 4
    found = of_patches(raster.values, 4, classes=True)[0]
    for row in range(12):
        for column in range(11):
            pixels = fine[8 + 4 * row : 12 + 4 * row, 4 + 4 * column : 8 + 4 * column]
            counts = np.bincount(pixels[pixels > 0], minlength=3)
            assert counts[int(found[row, column])] == counts.max()
    assert np.isnan(found[:, 11:]).all()  # beyond the raster
    mean = of_patches(raster.values, 4, classes=False)[0]
    corner = fine[8:12, 4:8]
    assert np.isclose(mean[0, 0], corner[corner > 0].mean())


def test_a_band_of_the_cube_is_its_labels(cube):
    labels = labelled_cubes.classes(cube)
    both = xr.concat(
        [cube.rename(embedding="bands"), labels.expand_dims(bands=["cover"])], "bands"
    ).transpose("t", "bands", "y", "x")
    given, x, y = samples(both.rio.write_crs(cube.rio.crs))
    wanted, codes = expected(cube, labels)
    assert np.allclose(x, wanted)
    assert np.array_equal(y, codes)
    assert "cover" not in given.subject.features


def test_vector_cubes_and_features_are_tables(cube):
    labels = labelled_cubes.classes(cube.isel(t=[0]))
    x, codes = labelled_cubes.table(cube.isel(t=[0]), labels)
    names = [str(code) for code in codes.astype(int)]
    frame = gpd.GeoDataFrame(
        {f"e{n}": x[:, n] for n in range(x.shape[1])} | {"cover": names},
        geometry=[shapely.Point(0, 0)] * len(x),
    )
    collection = frame.__geo_interface__
    aggregated = xr.DataArray(
        x, dims=("geometry", "embedding"), coords={"embedding": [f"e{n}" for n in range(6)]}
    )
    wanted = x[np.lexsort([codes, *x.T])]
    for data, given in ((frame, None), (collection, None), (aggregated, collection)):
        found, rows, y = samples(data, labels=given)
        assert np.allclose(rows, wanted, atol=1e-6)
        assert found.classes == ("20", "3", "7")
        assert found.subject.features == tuple(f"e{n}" for n in range(6))


def test_labels_are_texts_or_whole_numbers():
    values, names = coded(["b", None, "a"], classes=True)
    assert names == ("a", "b")
    assert np.array_equal(values, [1, np.nan, 0], equal_nan=True)
    assert coded([4, 2.0, None], classes=True)[1] == (2, 4)
    assert coded([0.5, None], classes=False)[1] is None
    for wrong in (["a", 1], [0.5], [True, False]):
        with pytest.raises(InvalidParameterError, match="Labels of classes"):
            coded(wrong, classes=True)
    with pytest.raises(InvalidParameterError, match="regression is a number"):
        coded(["a"], classes=False)


def test_what_does_not_fit_is_said_so(cube):
    labels = labelled_cubes.classes(cube)
    points = labelled_cubes.points(cube, labels)
    far = {"type": "Point", "coordinates": [0, 0]}
    cases = [
        (cube, "nothing", points, LabelNotAvailableError),
        (cube, "nothing", None, LabelNotAvailableError),
        (cube, "cover", {"type": "FeatureCollection", "features": [{"a": 1}]}, GeometryInvalidError),
        (cube, "cover", "text", InvalidParameterError),
        (cube, "cover", {"type": "Feature", "geometry": far, "properties": {"cover": "a"}},
         NoDataAvailableError),
        (cube, "cover", labels.assign_coords(x=labels.x + 30), GridMismatchError),
        (cube, "cover", labels.rio.write_crs("EPSG:3857"), GridMismatchError),
        (cube, "cover", labels.assign_coords(t=labels.t + np.timedelta64(1, "D")), GridMismatchError),
        (cube, "cover", labels.drop_vars("spatial_ref"), CRSMissingError),
        (cube.rename(embedding="other"), "cover", labels, DimensionMissingError),
        ("text", "cover", labels, InvalidParameterError),
    ]  # fmt: skip
    for data, target, given, error in cases:
        with pytest.raises(error):
            TrainingSet.of(data, target, given, classes=True)
