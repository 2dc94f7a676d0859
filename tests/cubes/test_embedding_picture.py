"""Pictures of embedding cubes: principal components by scikit-learn are the oracle."""

from __future__ import annotations

import warnings

import dask
import embedding_cubes
import fakes
import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.errors import NotGeoreferencedWarning
from sklearn.decomposition import PCA

from openeo_nc.cubes import embedding_picture
from openeo_nc.cubes.embedding_picture import rgb
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.errors import DimensionMissingError, InvalidParameterError
from openeo_nc.processes.save_result import save_result


@pytest.fixture(autouse=True)
def serial():
    with dask.config.set(scheduler="synchronous"):
        yield


def correlated(cube, seed=1):
    """The cube with a few directions of much variance, as real embeddings have."""
    mix = np.diag(np.linspace(3, 0.2, cube.sizes["embedding"]) ** 2)
    turned = np.linalg.qr(np.random.default_rng(seed).normal(size=mix.shape))[0] @ mix
    values = np.einsum("tdyx,de->teyx", cube.values, turned).astype(np.float32)
    return cube.copy(data=values).chunk({"t": 1, "y": 6, "x": 7})


@pytest.fixture
def cube():
    return correlated(embedding_cubes.cube("float32", dates=3, y=20, x=21))


def expected(cube):
    """`(t, 3, y, x)` uint8."""
    rows = cube.transpose("t", "y", "x", "embedding").values.astype(np.float64)
    known = np.isfinite(rows).all(-1)
    components = PCA(3).fit(rows[known]).components_
    largest = np.abs(components).argmax(1)
    components *= np.sign(components[[0, 1, 2], largest])[:, None]
    found = (rows - rows[known].mean(0)) @ components.T
    low, high = np.percentile(found[known], (2, 98), axis=0)
    with np.errstate(invalid="ignore"):
        colours = 1 + np.rint(np.clip((found - low) / (high - low), 0, 1) * 254)
    return np.where(known[..., None], colours, 0).transpose(0, 3, 1, 2)


def test_colours_are_principal_components(cube):
    found = rgb(cube)
    assert found.dtype == np.uint8
    assert found.dims == ("t", "bands", "y", "x")
    assert found.bands.values.tolist() == ["red", "green", "blue"]
    assert found.rio.crs == cube.rio.crs
    difference = np.abs(found.values.astype(int) - expected(cube))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01
    np.testing.assert_array_equal((found == 0).all("bands"), np.isnan(cube).any("embedding"))


def test_nothing_is_computed_before_it_is_asked_for(cube):
    with dask.config.set(scheduler=fakes.raising_scheduler):
        assert rgb(cube).chunks is not None


def test_chunks_make_no_difference(cube):
    whole = rgb(cube.chunk(-1)).values
    for chunks in ({"t": 1, "y": 3, "x": 4}, {"t": 2, "embedding": 5, "y": 20, "x": 1}):
        difference = rgb(cube.chunk(chunks)).values.astype(int) - whole
        assert np.abs(difference).max() <= 1


def test_colours_stay_when_vectors_nearly_do(cube):
    """An eigenvector's sign is anybody's choice; a picture whose colours flip cannot be compared."""
    noise = np.random.default_rng(5).normal(0, 1e-4, cube.shape).astype(np.float32)
    first, again = (rgb(one).values.astype(int) for one in (cube, cube + noise))
    assert np.abs(first - again).max() <= 8
    turned = rgb(cube.isel(y=slice(None, None, -1))).values[:, :, ::-1]
    assert np.abs(first - turned).max() <= 1


def test_some_wild_vectors_take_no_contrast_away(cube):
    wild = cube.copy(data=cube.values.copy())
    wild[0, :, :2, :2] *= 3
    spread = rgb(wild).values[1:].reshape(2, 3, -1)
    assert (np.percentile(spread, 90, axis=-1) - np.percentile(spread, 10, axis=-1)).min() > 90


def test_a_sample_is_enough_for_the_stretch(cube, monkeypatch):
    every = rgb(cube).values.astype(int)
    monkeypatch.setattr(embedding_picture, "SAMPLE", 300)
    assert np.abs(rgb(cube).values - every).mean() < 10


@pytest.mark.parametrize("dim", [1, 2])
def test_few_dimensions_fill_few_colours(cube, dim):
    found = rgb(cube.isel(embedding=slice(dim))).values
    known = found[:, :, ~np.isnan(cube.values[0]).any(0)]
    assert (known[:, dim:] == 1).all()
    assert known[:, 0].max() == 255


def test_a_cube_without_data_or_t(cube):
    assert (rgb(cube * np.nan).values == 0).all()
    one = rgb(cube.isel(t=0, drop=True))
    assert one.dims == ("t", "bands", "y", "x")
    with pytest.raises(DimensionMissingError):
        rgb(cube.rename(embedding="bands"))


def read(path):
    """`(4, y, x)` of a PNG, which has no place on Earth."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            return file.read()


def test_saved_as_png(cube, tmp_path):
    with output_folder(tmp_path / "out") as outputs:
        save_result(cube, "PNG", {"filename_prefix": "vectors"})
    (saved,) = outputs.saved
    assert len(saved.files) == 3
    picture = rgb(cube).values
    for date, path in enumerate(saved.files):
        colours = read(path)
        seen = colours[3] > 0
        np.testing.assert_array_equal(seen, picture[date, 0] > 0)
        np.testing.assert_array_equal(colours[:3, seen], picture[date][:, seen])


def test_dimensions_that_are_named_are_the_colours(cube, tmp_path):
    options = {"red": "e003", "green": "e001", "blue": "e000", "min": -1, "max": 1}
    with output_folder(tmp_path / "out") as outputs:
        save_result(cube, "PNG", options)
    colours = read(outputs.saved[0].files[0])
    seen = colours[3] > 0
    share = np.clip((cube.values[0][[3, 1, 0]] + 1) / 2, 0, 1)[:, seen]
    np.testing.assert_array_equal(colours[:3, seen], np.rint(share * 255))
    with pytest.raises(InvalidParameterError, match="gray"), output_folder(tmp_path / "two"):
        save_result(cube, "PNG", {"min": 0})


def test_the_shape_of_other_cubes_is_refused(cube):
    with pytest.raises(DimensionMissingError):
        rgb(xr.DataArray(np.zeros((2, 3)), dims=("y", "x")))
