"""Extents, intervals and filters as process graphs and pg-parser state them."""

from __future__ import annotations

import datetime as dt

import pytest
import shapely
from openeo_pg_parser_networkx.pg_schema import BoundingBox, TemporalInterval
from pyproj import Transformer

from openeo_nc.cubes.conditions import condition
from openeo_nc.cubes.query import Query, SpatialExtent, TemporalExtent
from openeo_nc.errors import (
    InvalidParameterError,
    NoDataAvailableError,
    TemporalExtentEmptyError,
)

BOX = {"west": 11.0, "south": 46.0, "east": 11.5, "north": 46.5}
RING = [[11.0, 46.0], [11.5, 46.0], [11.5, 46.5], [11.0, 46.5], [11.0, 46.0]]


@pytest.mark.parametrize(
    ("crs", "expected"),
    [(None, "EPSG:4326"), (32632, "EPSG:32632"), ("EPSG:32632", "EPSG:32632")],
)
def test_boxes_have_a_crs(crs, expected):
    box = BOX if crs is None else BOX | {"crs": crs}
    extent = SpatialExtent.of(box)
    assert extent.crs == expected
    assert extent.bounds == (11.0, 46.0, 11.5, 46.5)
    assert SpatialExtent.of(BoundingBox(**box)).crs == expected
    assert SpatialExtent.of(BOX | {"crs": None}).crs == "EPSG:4326"


def test_a_reprojected_box_encloses_its_edges():
    extent = SpatialExtent.of(BOX)
    left, bottom, right, top = extent.bounds_in("EPSG:32632")
    transformer = Transformer.from_crs(4326, 32632, always_xy=True)
    for i in range(11):
        for lon, lat in ((11 + i / 20, 46), (11 + i / 20, 46.5), (11, 46 + i / 20)):
            x, y = transformer.transform(lon, lat)
            assert left - 1 <= x <= right + 1
            assert bottom - 1 <= y <= top + 1


@pytest.mark.parametrize("kind", ["Polygon", "Feature", "FeatureCollection", "shapely"])
def test_geojson_gives_box_and_polygons(kind):
    polygon = {"type": "Polygon", "coordinates": [RING[:3] + RING[:1]]}
    feature = {"type": "Feature", "properties": {}, "geometry": polygon}
    value = {
        "Polygon": polygon,
        "Feature": feature,
        "FeatureCollection": {"type": "FeatureCollection", "features": [feature]},
        "shapely": shapely.geometry.shape(polygon),
    }[kind]
    extent = SpatialExtent.of(value)
    assert extent.bounds == (11.0, 46.0, 11.5, 46.5)
    assert shapely.area(extent.polygons_in("EPSG:4326")) == pytest.approx(0.125)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"west": 1, "south": 2}, InvalidParameterError),
        ("everywhere", InvalidParameterError),
        (BOX | {"west": "11"}, InvalidParameterError),
        (BOX | {"west": float("nan")}, InvalidParameterError),
        (BOX | {"west": 12.0}, InvalidParameterError),
        (BOX | {"crs": "nowhere"}, InvalidParameterError),
        (BOX | {"east": 11.0}, NoDataAvailableError),
        ({"type": "Point", "coordinates": [11, 46]}, InvalidParameterError),
        ({"type": "FeatureCollection", "features": []}, NoDataAvailableError),
    ],
)
def test_what_is_no_extent_is_a_typed_error(value, error):
    with pytest.raises(error):
        SpatialExtent.of(value)


def test_an_extent_outside_of_a_crs_is_a_typed_error():
    beyond = SpatialExtent.of({"west": 0, "south": 91, "east": 1, "north": 95})
    with pytest.raises(InvalidParameterError, match="outside of"):
        beyond.bounds_in("EPSG:32632")


def test_intervals_are_utc_and_left_closed():
    day = TemporalExtent.of(["2022-06-01", "2022-06-02"])
    assert day.start == dt.datetime(2022, 6, 1, tzinfo=dt.UTC)
    assert TemporalExtent.of(["2022-06-01T02:00:00+02:00", None]).start == day.start
    assert TemporalExtent.of(TemporalInterval(["2022-06-01", "2022-06-02"])) == day
    assert day.overlaps(day.start, day.start)
    assert not day.overlaps(day.end, day.end)
    assert str(TemporalExtent.of([None, "2022-06-02"])) == "../2022-06-02T00:00:00Z"


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (["2022-06-02", "2022-06-01"], TemporalExtentEmptyError),
        (["2022-06-01", "2022-06-01"], TemporalExtentEmptyError),
        ([None, None], InvalidParameterError),
        (["2022-06-01"], InvalidParameterError),
        ("2022-06-01", InvalidParameterError),
        (["yesterday", None], InvalidParameterError),
    ],
)
def test_what_is_no_interval_is_a_typed_error(value, error):
    with pytest.raises(error):
        TemporalExtent.of(value)


@pytest.mark.parametrize(
    ("process", "arguments", "passes", "fails"),
    [
        ("eq", {"y": "A"}, "A", "a"),
        ("eq", {"y": "A", "case_sensitive": False}, "a", "b"),
        ("neq", {"y": 3}, 2, 3),
        ("lt", {"y": 3}, 2, 3),
        ("lte", {"y": 3}, 3, 4),
        ("gt", {"y": 3}, 4, 3),
        ("gte", {"y": 3}, 3, 2),
        ("between", {"min": 1, "max": 3}, 3, 0),
        ("between", {"min": 1, "max": 3, "exclude_max": True}, 1, 3),
        ("array_contains", {"data": [1, 2]}, 2, 3),
        ("text_begins", {"pattern": "S2"}, "S2A", "LS2"),
        ("text_contains", {"pattern": "2A"}, "S2A", "S2B"),
    ],
)
def test_conditions(process, arguments, passes, fails):
    node = {"process_id": process, "arguments": {"x": {"from_parameter": "value"}} | arguments}
    holds = condition("p", {"process_graph": {"1": node | {"result": True}}})
    assert holds(passes)
    assert not holds(fails)


def test_conditions_that_cannot_be_evaluated_are_typed_errors():
    node = {"process_id": "lte", "arguments": {"x": {"from_parameter": "value"}, "y": 3}}
    with pytest.raises(InvalidParameterError, match="one process"):
        condition("p", {"process_graph": {"1": node, "2": node}})
    with pytest.raises(InvalidParameterError, match="one process"):
        condition("p", 5)
    with pytest.raises(InvalidParameterError, match="cannot compare 'cloudy'"):
        condition("p", {"process_graph": {"1": node}})("cloudy")


def test_items_are_matched_by_box_period_and_properties():
    def item(box, **properties):
        return {
            "id": "i",
            "bbox": box,
            "properties": {"datetime": "2022-06-01T10:00:00Z"} | properties,
        }

    here = Query.of(BOX)
    assert here.matches(item([11.4, 46.4, 12, 47]))
    assert here.matches(item([11.4, 46.4, -10, 12, 47, 10]))
    assert not here.matches(item([11.6, 46.4, 12, 47]))
    assert here.matches(item(None))
    fiji = Query.of({"west": 179.5, "south": -18, "east": 180, "north": -17})
    assert fiji.matches(item([179.0, -19, -179.0, -16]))
    assert not fiji.matches(item([-179.9, -19, -179.0, -16]))
    month = Query.of(None, ["2022-06-01", "2022-07-01"])
    period = {"datetime": None, "start_datetime": "2022-05-01T00:00:00Z"}
    assert month.matches(item(None, **period, end_datetime="2022-06-15T00:00:00Z"))
    assert not month.matches(item(None, **period, end_datetime="2022-05-31T00:00:00Z"))
    with pytest.raises(InvalidParameterError, match="no datetime"):
        month.matches(item(None, datetime=None))
