"""find_similar on cubes, against a search of every patch in float64."""

from __future__ import annotations

import json

import dask
import embedding_cubes
import numpy as np
import pandas as pd
import pytest
from pyproj import Transformer

from openeo_nc.errors import (
    EmbeddingsIncomparableError,
    GeometryInvalidError,
    InvalidParameterError,
    NoDataAvailableError,
    TemporalExtentEmptyError,
)
from openeo_nc.search.arrow_index import ArrowIndex
from openeo_nc.search.frame import geojson
from openeo_nc.search.patches import rows_of
from openeo_nc.search.similar import find_similar


@pytest.fixture(scope="module")
def cube():
    return embedding_cubes.cube()


def every(cube, query):
    """Scores `(t, y, x)` of all patches."""
    values = cube.compute().values.astype(np.float64)
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    return np.einsum("teyx,e->tyx", unit, np.asarray(query, np.float64) / np.linalg.norm(query))


def place(cube, y, x):
    """GeoJSON of the middle of a patch."""
    transform = Transformer.from_crs("EPSG:32631", "EPSG:4326", always_xy=True).transform
    return {"type": "Point", "coordinates": list(transform(float(cube.x[x]), float(cube.y[y])))}


def test_the_nearest_patches_of_a_cube(cube):
    query = cube.isel(t=1, y=4, x=9).values
    scores = every(cube, query)
    found = find_similar(cube, query.tolist(), 7).compute()
    np.testing.assert_allclose(found["score"], np.sort(scores[np.isfinite(scores)])[::-1][:7], atol=1e-5)  # fmt: skip
    assert found["rank"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    first = found.iloc[0]
    assert first["score"] == pytest.approx(1, abs=1e-5)
    assert first["time"] == pd.Timestamp(cube.t.values[1])
    assert first["model"] == "test-model"
    local = found.to_crs("EPSG:32631").geometry.iloc[0]
    x, y = float(cube.x[9]), float(cube.y[4])
    assert local.bounds == pytest.approx((x - 40, y - 40, x + 40, y + 40), abs=1e-3)


def test_nothing_is_computed_before(cube):
    def refuse(*args, **kwargs):
        raise AssertionError("computed")

    with dask.config.set(scheduler=refuse):
        found = find_similar(cube, place(cube, 4, 9), 3)
        find_similar(cube, cube.isel(t=0, y=5, x=5), 3)
    assert dask.is_dask_collection(found)
    assert found.crs == "EPSG:4326"


def test_a_place_stands_for_the_mean_over_its_dates(cube):
    mean = cube.isel(y=4, x=9).mean("t").values
    by_place = find_similar(cube, place(cube, 4, 9), 5).compute()
    by_vector = find_similar(cube, mean.tolist(), 5).compute()
    np.testing.assert_allclose(by_place["score"], by_vector["score"], atol=1e-6)


@pytest.mark.parametrize("change", [{"id": "other"}, {"weights_sha256": "cd" * 32}])
def test_a_vector_of_another_model_is_no_query(cube, tmp_path, change):
    one = cube.isel(t=[0], y=[5], x=[5])
    one.attrs["nc:model"] = json.dumps({**embedding_cubes.MODEL, **change})
    with pytest.raises(EmbeddingsIncomparableError, match="test-model"):
        find_similar(cube, one, 5)
    if "id" in change:  # all that an index knows
        ArrowIndex.create(tmp_path / "i", rows_of(cube))
        with pytest.raises(EmbeddingsIncomparableError, match="test-model"):
            find_similar(str(tmp_path / "i"), one, 5)


def test_a_cube_with_one_vector_is_a_query(cube):
    one = cube.isel(t=[0], y=[5], x=[5])
    np.testing.assert_allclose(
        find_similar(cube, one, 5).compute()["score"],
        find_similar(cube, one.values.ravel().tolist(), 5).compute()["score"],
    )
    with pytest.raises(InvalidParameterError, match="one vector"):
        find_similar(cube, cube, 5)


def test_filters_keep_what_lies_in_them(cube):
    query = cube.isel(t=0, y=5, x=5).values
    box = {
        "west": float(cube.x[3]) - 1, "east": float(cube.x[6]) + 1, "crs": 32631,
        "south": float(cube.y[8]) - 1, "north": float(cube.y[2]) + 1,
    }  # fmt: skip
    filters = {"spatial_extent": box, "temporal_extent": ["2024-06-06", None]}
    scores = every(cube, query)[1:, 2:9, 3:7]
    found = find_similar(cube, query.tolist(), 100, filters).compute()
    assert len(found) == scores.size
    np.testing.assert_allclose(found["score"], np.sort(scores.ravel())[::-1], atol=1e-5)
    assert set(found["time"]) == {pd.Timestamp("2024-06-06")}
    nowhere = {"spatial_extent": {"west": 100, "south": 0, "east": 101, "north": 1}}
    assert len(find_similar(cube, query.tolist(), 5, nowhere).compute()) == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"k": 0}, InvalidParameterError),
        ({"k": True}, InvalidParameterError),
        ({"query": [1.0, 2.0]}, InvalidParameterError),
        ({"query": "text"}, InvalidParameterError),
        ({"query": [[1.0]]}, InvalidParameterError),
        ({"query": {"type": "Nothing"}}, GeometryInvalidError),
        ({"query": {"type": "Point", "coordinates": [50, 50]}}, NoDataAvailableError),
        ({"filters": {"colour": 1}}, InvalidParameterError),
        ({"filters": {"temporal_extent": ["2024-02-01", "2024-01-01"]}}, TemporalExtentEmptyError),
        ({"data": 3}, InvalidParameterError),
        ({"data": "no-such-index"}, InvalidParameterError),
    ],
)
def test_what_is_wrong_is_said_at_once(cube, arguments, error):
    given = {"data": cube, "query": [0.0] * 15 + [1.0], "k": 3, "filters": None} | arguments
    with pytest.raises(error):
        find_similar(**given)


def test_an_index_finds_what_the_cube_does(cube, tmp_path, monkeypatch):
    ArrowIndex.create(tmp_path / "alps", rows_of(cube, "https://example.com/item.json"))
    monkeypatch.setenv("OPENEO_NC_INDEXES", str(tmp_path))
    query = cube.isel(t=0, y=5, x=5).values.tolist()
    for asked in (query, place(cube, 4, 9), cube.isel(t=0, y=5, x=5)):
        by_index = find_similar("alps", asked, 6).compute()
        by_cube = find_similar(cube, asked, 6).compute()
        np.testing.assert_allclose(by_index["score"], by_cube["score"], atol=3e-3)
    features = geojson(by_index)["features"]
    assert features[0]["links"] == [
        {"rel": "derived_from", "href": "https://example.com/item.json"}
    ]
    assert features[0]["properties"]["datetime"] == "2024-06-01T00:00:00Z"
    with pytest.raises(NoDataAvailableError):
        find_similar("alps", {"type": "Point", "coordinates": [50, 50]}, 3).compute()
