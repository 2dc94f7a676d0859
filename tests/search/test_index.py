"""Indexes on disk: what both kinds keep, and what is the Arrow one's own."""

from __future__ import annotations

import importlib.util
import sys

import embedding_cubes
import numpy as np
import pytest

from openeo_nc.errors import (
    InvalidParameterError,
    NoDataAvailableError,
    OutputExistsError,
    PayloadError,
    ResourceUnavailableError,
)
from openeo_nc.search.arrow_index import ArrowIndex
from openeo_nc.search.filters import Filters
from openeo_nc.search.lance_index import condition
from openeo_nc.search.opening import KINDS, create_index, ids, open_index, place_of
from openeo_nc.search.patches import rows_of

NO_LANCE = importlib.util.find_spec("lancedb") is None


@pytest.fixture(scope="module")
def cube():
    return embedding_cubes.cube("float32")


@pytest.fixture(
    params=[
        pytest.param(
            kind,
            marks=pytest.mark.skipif(
                kind == "lancedb" and NO_LANCE, reason="the extra lancedb is not installed"
            ),
        )
        for kind in KINDS
    ]
)
def kind(request):
    return request.param


def vectors(cube):
    """`(rows, dim)` in the order of t, y, x, without holes."""
    flat = cube.compute().values.transpose(0, 2, 3, 1).reshape(-1, cube.sizes["embedding"])
    return flat[np.isfinite(flat).all(axis=1)]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_it_finds_the_nearest(cube, tmp_path, kind, metric):
    index = create_index(tmp_path / "i", rows_of(cube, "a"), kind=kind, metric=metric)
    query = embedding_cubes.vectors(1, seed=3)[0] * 2
    every = vectors(cube).astype(np.float64)
    if metric == "cosine":
        scores = every @ query / np.linalg.norm(query)
    else:
        scores = -np.linalg.norm(every - query, axis=1)
    for one in (index, open_index(str(tmp_path / "i"))):
        found = one.search(query, 8)
        np.testing.assert_allclose(found.scores, np.sort(scores)[::-1][:8], atol=1e-5)
        assert {found.origins[n].source for n in found.places.origin} == {"a"}


def test_filters_cost_no_result(cube, tmp_path, kind):
    index = create_index(tmp_path / "i", rows_of(cube, "a"), kind=kind)
    places = index.search(vectors(cube)[0], 1000).places
    west, south = np.quantile(places.lon, 0.6), np.quantile(places.lat, 0.5)
    box = {"west": west, "south": south, "east": 90.0, "north": 90.0}
    filters = Filters.of({"spatial_extent": box, "temporal_extent": ["2024-06-06", "2024-06-07"]})
    found = index.search(vectors(cube)[0], 1000, filters)
    keep = (places.lon >= west) & (places.lat >= south)
    keep &= places.time == np.datetime64("2024-06-06", "us").astype(np.int64)
    assert len(found.scores) == keep.sum() > 3


def test_adding_and_describing(cube, tmp_path, kind):
    index = create_index(tmp_path / "i", rows_of(cube.isel(t=[0]), "a"), kind=kind)
    before = index.info()
    assert index.add(rows_of(cube.isel(t=[1]), "b")) == 140
    after = open_index(str(tmp_path / "i")).info()
    assert (before.rows, after.rows, after.dim) == (137, 277, embedding_cubes.DIM)
    assert (after.sources, after.models) == (("a", "b"), ("test-model",))
    other = embedding_cubes.cube("float32", dim=8)
    with pytest.raises(InvalidParameterError, match="16 values"):
        index.add(rows_of(other, "c"))
    assert open_index(str(tmp_path / "i")).info().rows == 277


def test_the_vector_at_a_place(cube, tmp_path, kind):
    index = create_index(tmp_path / "i", rows_of(cube, "a"), kind=kind)
    places = index.search(vectors(cube)[50], 1).places
    found = index.vector_at(float(places.lon[0]), float(places.lat[0]))
    at = cube.sel(x=places.x[0], y=places.y[0]).mean("t").values
    np.testing.assert_allclose(found, at, atol=1e-5)
    assert index.vector_at(0.0, 0.0) is None


@pytest.mark.parametrize(("query", "k"), [([1.0], 3), ([np.nan] * 16, 3), ([1.0] * 16, 0)])
def test_what_is_no_query_is_refused(cube, tmp_path, kind, query, k):
    index = create_index(tmp_path / "i", rows_of(cube, "a"), kind=kind)
    with pytest.raises(InvalidParameterError):
        index.search(np.array(query, np.float32), k)


def test_a_new_index_counts_once_it_is_whole(cube, tmp_path, kind):
    path = tmp_path / "i"
    old = create_index(path, rows_of(cube, "a"), kind=kind)

    def failing():
        yield from rows_of(cube, "b")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        create_index(path, failing(), kind=kind, overwrite=True)
    assert open_index(str(path)).info().sources == ("a",)
    create_index(path, rows_of(cube.isel(t=[0]), "b"), kind=kind, overwrite=True)
    assert (open_index(str(path)).info().sources, open_index(str(path)).info().rows) == (
        ("b",),
        137,
    )
    assert len(old.search(vectors(cube)[0], 5).scores) == 5  # for who reads it


@pytest.mark.skipif(NO_LANCE, reason="the extra lancedb is not installed")
def test_rows_that_a_writer_left_when_it_died_do_not_count(cube, tmp_path, monkeypatch):
    from openeo_nc.search.lance_index import LanceIndex

    path = str(tmp_path / "i")
    create_index(tmp_path / "i", rows_of(cube.isel(t=[0]), "a"), kind="lancedb")
    with monkeypatch.context() as patched:
        patched.setattr(LanceIndex, "_publish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            open_index(path).add(rows_of(cube.isel(t=[1]), "b"))
    assert (open_index(path).info().rows, open_index(path).info().sources) == (137, ("a",))
    assert open_index(path).add(rows_of(cube.isel(t=[1]), "b")) == 140
    assert (open_index(path).info().rows, open_index(path).info().sources) == (277, ("a", "b"))


def test_an_index_is_replaced_whole_or_not_at_all(cube, tmp_path):
    path = tmp_path / "i"
    old = ArrowIndex.create(path, rows_of(cube, "a"))
    with pytest.raises(OutputExistsError):
        ArrowIndex.create(path, rows_of(cube, "b"))

    def failing():
        yield from rows_of(cube, "b")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        ArrowIndex.create(path, failing(), overwrite=True)
    assert ArrowIndex.open(path).info().sources == ("a",)
    assert len(list(path.glob("*.arrow"))) == 1
    ArrowIndex.create(path, rows_of(cube, "b"), overwrite=True)
    assert ArrowIndex.open(path).info().sources == ("b",)
    assert len(list(path.iterdir())) == 3
    assert len(old.search(vectors(cube)[0], 5).scores) == 5


def test_nothing_is_left_of_an_index_of_nothing(tmp_path):
    with pytest.raises(NoDataAvailableError):
        ArrowIndex.create(tmp_path / "i", [])
    assert not (tmp_path / "i").exists()


def test_damage_and_other_files_are_told(cube, tmp_path):
    ArrowIndex.create(tmp_path / "i", rows_of(cube, "a"))
    part = next((tmp_path / "i").glob("*.arrow"))
    part.write_bytes(part.read_bytes()[:1000])
    with pytest.raises(PayloadError):
        ArrowIndex.open(tmp_path / "i")
    (tmp_path / "i" / "index.json").write_text("{}")
    for opened in (ArrowIndex.open, lambda path: open_index(str(path))):
        with pytest.raises(InvalidParameterError):
            opened(tmp_path / "i")
    with pytest.raises(InvalidParameterError, match="Kinds"):
        create_index(tmp_path / "j", [], kind="other")


def test_ids_are_folders_of_the_operator(cube, tmp_path, monkeypatch):
    ArrowIndex.create(tmp_path / "alps", rows_of(cube, "a"))
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("OPENEO_NC_INDEXES", str(tmp_path))
    assert ids() == ["alps"]
    assert place_of("alps") == str(tmp_path / "alps")
    with pytest.raises(InvalidParameterError, match="alps"):
        place_of("../alps/none")


def test_conditions_are_sql():
    box = {"west": 1, "south": 2, "east": 3, "north": 4}
    both = Filters.of({"spatial_extent": box, "temporal_extent": [None, "1970-01-02"]})
    assert condition(Filters()) is None
    assert condition(both).startswith("lon >= 1.0 AND lon <= 3.0 AND lat >= 2.0 AND lat <= 4.0")
    assert condition(both).endswith("AND time < 86400000000")
    with pytest.raises(InvalidParameterError, match="boxes in degrees"):
        condition(Filters.of({"spatial_extent": {**box, "crs": 3857}}))


def test_without_lancedb_its_extra_is_named(cube, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(ResourceUnavailableError, match="openeo-nc\\[lancedb\\]"):
        create_index(tmp_path / "i", rows_of(cube, "a"), kind="lancedb")
