"""Pytest plugin: has openeo-test-suite's `--runner=dask` run processes on this package's registry.

A test's process runs as a process graph, as a client would send it: arguments are validated, and
callbacks get their parameters, by `openeo_nc.graphs`. Cubes are Dask arrays, and what computes one
before its result is looked at fails.
"""

from __future__ import annotations

import math

import dask
import xarray as xr
from openeo_test_suite.lib.process_runner import dask as suite
from openeo_test_suite.lib.process_runner.util import datacube_to_xarray, xarray_to_datacube

from openeo_nc.graphs import execute
from openeo_nc.graphs.registry import default_registry
from openeo_nc.processes.standard._labels import with_labels
from openeo_nc.processes.standard._values import LABELS, is_labelled


class Runner(suite.Dask):
    """Encodes JSON as this backend has it, runs a process, and decodes its result."""

    def list_processes(self):
        return [process.spec for process in default_registry().values()]

    def execute(self, process_id, arguments):
        inline = {n: v for n, v in arguments.items() if _is_graph(v)}
        given = {n: v for n, v in arguments.items() if n not in inline}
        references = {name: {"from_parameter": name} for name in given}
        node = {"process_id": process_id, "arguments": inline | references, "result": True}
        with dask.config.set(scheduler=_refuse):
            return execute({"node": node}, parameters=given)

    def encode_process_graph(self, process, parent_process_id=None, parent_parameter=None):
        return process

    def encode_labeled_array(self, data):
        items = data["data"]
        return with_labels([_plain(i["value"]) for i in items], [i["key"] for i in items])

    def encode_datacube(self, data):
        cube = datacube_to_xarray(data | {"data": _plain(data["data"])})
        if cube.dtype == object:
            cube = cube.astype(float)
        nodata = cube.attrs.get("nodata")
        if nodata is not None and not math.isnan(nodata):  # loaders make it NaN
            cube = cube.where(cube != nodata)
        crs = cube.attrs.pop("crs", None)
        if crs is not None:
            cube = cube.rio.write_crs(crs)
        return cube.chunk()

    def encode_data(self, data):
        return data

    def decode_data(self, data, expected):
        if is_labelled(data):
            keys = data[LABELS].values.tolist()
            items = zip(keys, data.values.tolist(), strict=True)
            return {"type": "labeled-array", "data": [{"key": k, "value": v} for k, v in items]}
        if isinstance(data, xr.DataArray):
            return self._cube(data, expected)
        return super().decode_data(data, expected)

    def get_nodata_value(self):
        """As JSON, and so as openEO's API, has it. The suite's own Dask runner says NaN, which
        makes tests that tell no data from NaN contradict each other."""
        return

    def _cube(self, data, expected):
        of_type = dict.fromkeys(data.openeo.spatial_dims, "spatial")
        of_type |= dict.fromkeys(data.openeo.temporal_dims, "temporal")
        of_type |= dict.fromkeys(data.openeo.band_dims, "bands")
        axes = {data.openeo.x_dim: "x", data.openeo.y_dim: "y"}
        extra = [name for name in data.coords if name not in data.dims]
        cube = xarray_to_datacube(data.drop_vars(extra))
        for name, dimension in cube["dimensions"].items():
            dimension["type"] = of_type.get(name, "other")
            dimension.pop("axis", None)
            if name in axes:
                dimension["axis"] = axes[name]
        if isinstance(expected, dict):
            cube["data"] = _as_expected(cube["data"], expected.get("data"), expected.get("nodata"))
            for name, dimension in cube["dimensions"].items():
                same = expected["dimensions"].get(name) if _is_cube(expected) else None
                if same is not None:
                    dimension["values"] = _times_as(dimension["values"], same["values"])
        return cube


def _is_graph(value):
    return isinstance(value, dict) and "process_graph" in value


def _plain(value):
    """Values with the suite's sign for no data as null."""
    if isinstance(value, list):
        return [_plain(member) for member in value]
    return None if value == {"type": "nodata"} else value


def _as_expected(value, expected, nodata):
    """NaN as the sign for no data that is expected: arrays of floats have nothing else for it."""
    if isinstance(value, list) and isinstance(expected, list):
        pairs = zip(value, expected, strict=False)
        return [_as_expected(v, e, nodata) for v, e in pairs] + value[len(expected) :]
    signs = [None, {"type": "nodata"}, nodata]
    gone = isinstance(value, float) and math.isnan(value)
    return expected if gone and expected in signs else value


def _times_as(labels, expected):
    """Times at midnight as dates where these are expected."""
    midnight = "T00:00:00Z"
    return [
        label.removesuffix(midnight) if f"{other}{midnight}" == label else label
        for label, other in zip(labels, expected, strict=False)
    ] + labels[len(expected) :]


def _is_cube(value):
    return value.get("type") == "datacube" and isinstance(value.get("dimensions"), dict)


def _refuse(*args, **kwargs):
    raise AssertionError("building a result computed a cube")


def pytest_addoption(parser):
    parser.addoption(
        "--as-is",
        choices=["ours", "dask"],
        help="the suite's own Dask runner, calling functions without a graph and with NaN for no "
        "data, on this package's registry or on openeo-processes-dask alone",
    )


def pytest_configure(config):
    as_is = config.getoption("--as-is")
    if as_is is None:
        suite.Dask = Runner
    elif as_is == "ours":
        suite.registry = default_registry()
