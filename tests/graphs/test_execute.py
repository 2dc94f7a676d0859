"""Graphs run: values, parameters, callbacks; nothing is computed; errors name the node."""

from __future__ import annotations

import dask
import fakes
import numpy as np
import pytest

from openeo_nc import errors
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.graphs import execute


def chain(*nodes):
    """A graph of nodes that each take the one before as `data`."""
    graph = {"load": {"process_id": "load_fake", "arguments": {}}}
    last = "load"
    for index, (process_id, arguments) in enumerate(nodes):
        name = f"n{index}"
        graph[name] = {
            "process_id": process_id,
            "arguments": {"data": {"from_node": last}, **arguments},
        }
        last = name
    graph[last]["result"] = True
    return graph


def callback(process_id, **arguments):
    node = {"process_id": process_id, "arguments": arguments, "result": True}
    return {"process_graph": {"inner": node}}


def ref(name):
    return {"from_parameter": name}


SAVE = {"format": "ZARR"}
MEAN = callback("mean", data=ref("data"))


def test_compress_and_reduce(registry):
    graph = chain(
        ("compress_cube", {"codec": "fake-rgb"}),
        ("reduce_dimension", {"dimension": "bands", "reducer": MEAN}),
    )
    expected = fakes.cube(dtype="float32").mean("bands")
    np.testing.assert_allclose(execute(graph, registry=registry), expected, rtol=1e-6)


def test_encode_filter_and_decode(registry, codecs):
    graph = chain(
        ("encode_embedding", {"model": "fake-rgb"}),
        ("filter_temporal", {"extent": ["2022-06-05", "2022-06-30"]}),
        ("decode_embedding", {"bands": ["B03"]}),
    )
    decoded = execute(graph, registry=registry)
    expected = fakes.cube(dtype="float32").isel(t=[1]).sel(bands=["B03"])
    np.testing.assert_array_equal(decoded, expected)
    assert codecs.calls["analyse"] == 9


def test_decode_after_arithmetic_is_refused(registry):
    graph = chain(
        ("encode_embedding", {"model": "fake-rgb"}),
        ("apply", {"process": callback("multiply", x=ref("x"), y=2)}),
        ("decode_embedding", {}),
    )
    with pytest.raises(errors.EmbeddingChangedError):
        execute(graph, registry=registry).compute()


def test_decode_after_a_crop_off_the_grid_names_the_node(registry):
    extent = {"west": 600_010, "east": 600_200, "south": 4_999_700, "north": 4_999_990}
    graph = chain(
        ("encode_embedding", {"model": "fake-rgb"}),
        ("filter_bbox", {"extent": {**extent, "crs": 32631}}),
        ("decode_embedding", {}),
    )
    with pytest.raises(errors.EmbeddingMisalignedError, match=r"^node 'n2' \(decode_embedding\): "):
        execute(graph, registry=registry)


@pytest.mark.parametrize(
    "node",
    [
        ("compress_cube", {"codec": "fake-rgb"}),
        ("encode_embedding", {"model": "fake-rgb"}),
        ("save_result", SAVE),
        ("save_result", {"format": "GTIFF"}),
        ("save_result", {"format": "NETCDF"}),
        ("reduce_dimension", {"dimension": "t", "reducer": MEAN}),
        ("apply", {"process": callback("absolute", x=ref("x"))}),
        ("ndvi", {"nir": "B04", "red": "B03"}),
        ("filter_bands", {"bands": ["B02"]}),
    ],
    ids=lambda node: node[0],
)
def test_building_computes_nothing(registry, codecs, tmp_path, node):
    with (
        dask.config.set(scheduler=fakes.raising_scheduler),
        output_folder(tmp_path / "out") as outputs,
    ):
        execute(chain(node), registry=registry)
        execute(chain(("compress_cube", {"codec": "fake-any"}), node), registry=registry)
        outputs.plans.clear()
    assert not codecs.calls


def test_building_decode_embedding_computes_nothing(registry, codecs):
    graph = chain(("encode_embedding", {"model": "fake-rgb"}), ("decode_embedding", {}))
    with dask.config.set(scheduler=fakes.raising_scheduler):
        execute(graph, registry=registry)
    assert not codecs.calls


def test_every_node_runs_once_and_also_those_that_are_no_result(registry, codecs, tmp_path):
    graph = chain(("compress_cube", {"codec": "fake-rgb"}), ("save_result", SAVE))
    graph["also"] = {
        "process_id": "save_result",
        "arguments": {"data": {"from_node": "n0"}, "format": "NETCDF"},
    }
    with output_folder(tmp_path / "out") as outputs:
        assert execute(graph, registry=registry) is True
    assert sorted(s.format for s in outputs.saved) == ["NETCDF", "ZARR"]
    assert codecs.calls["pack"] == 18


def test_a_doubled_cube_is_saved_doubled(registry, codecs, tmp_path):
    import xarray as xr

    graph = chain(
        ("compress_cube", {"codec": "fake-rgb"}),
        ("apply", {"process": callback("multiply", x=ref("x"), y=2)}),
        ("save_result", SAVE),
    )
    with output_folder(tmp_path / "out") as outputs:
        execute(graph, registry=registry)
    opened = xr.open_zarr(outputs.saved[0].path)
    values = next(iter(opened.data_vars.values())).values
    np.testing.assert_array_equal(values, 2 * fakes.cube(dtype="float32").values)


# --- parameters ------------------------------------------------------------------------------------


def test_parameters_are_resolved_in_lists_objects_and_callbacks(registry):
    graph = chain(
        ("compress_cube", {"codec": "fake-any", "options": {"scale": ref("scale")}}),
        ("filter_bands", {"bands": [ref("first"), "B04"]}),
        ("apply", {"process": callback("multiply", x=ref("x"), y=ref("factor"))}),
    )
    parameters = {"scale": 1, "first": "B02", "factor": 3}
    result = execute(graph, registry=registry, parameters=parameters)
    expected = 3 * fakes.cube(dtype="float32").sel(bands=["B02", "B04"])
    np.testing.assert_array_equal(result, expected)


def test_context_reaches_the_reducer(registry):
    inner = {
        "process_graph": {
            "m": {"process_id": "mean", "arguments": {"data": ref("data")}},
            "a": {
                "process_id": "add",
                "arguments": {"x": {"from_node": "m"}, "y": ref("context")},
                "result": True,
            },
        }
    }
    graph = chain(("reduce_dimension", {"dimension": "t", "reducer": inner, "context": 1000}))
    expected = fakes.cube(dtype="float32").mean("t") + 1000
    np.testing.assert_allclose(execute(graph, registry=registry), expected, rtol=1e-6)


def test_callbacks_nest(registry):
    """A callback in a callback sees the parameters of both, and of the graph."""
    inner = {
        "process_graph": {
            "each": {
                "process_id": "array_apply",
                "arguments": {
                    "data": ref("data"),
                    "process": callback("add", x=ref("x"), y=ref("offset")),
                },
            },
            "top": {
                "process_id": "max",
                "arguments": {"data": {"from_node": "each"}},
                "result": True,
            },
        }
    }
    graph = chain(("reduce_dimension", {"dimension": "bands", "reducer": inner}))
    result = execute(graph, registry=registry, parameters={"offset": 5})
    np.testing.assert_array_equal(result, fakes.cube(dtype="float32").max("bands") + 5)


def test_strings_that_look_like_years_stay_strings(registry):
    from openeo_pg_parser_networkx.process_registry import Process

    seen = {}
    spec = {
        "id": "keep",
        "parameters": [
            {"name": "label", "schema": {"type": "string"}},
            {"name": "day", "schema": {"type": "string", "subtype": "date"}},
        ],
    }
    registry["keep"] = Process(spec=spec, implementation=lambda label, day: seen.update(locals()))
    try:
        arguments = {"label": "2020", "day": "2020-01-01"}
        keep = {"process_id": "keep", "arguments": arguments, "result": True}
        execute({"k": keep}, registry=registry)
    finally:
        del registry["keep"]
    assert seen["label"] == "2020"
    assert seen["day"].root.year == 2020


# --- errors ----------------------------------------------------------------------------------------


def test_errors_name_the_node_and_keep_their_type(registry):
    graph = chain(("filter_bands", {"bands": ["B04"]}), ("compress_cube", {"codec": "fake-rgb"}))
    with pytest.raises(errors.BandMismatchError, match=r"^node 'n1' \(compress_cube\): The cube"):
        execute(graph, registry=registry)


def test_errors_of_other_packages_become_typed_and_keep_openeos_code(registry):
    graph = chain(("drop_dimension", {"name": "z"}))
    with pytest.raises(errors.ProcessFailedError, match=r"^node 'n0' \(drop_dimension\)") as info:
        execute(graph, registry=registry)
    assert info.value.code == "DimensionNotAvailable"
    assert info.value.http_status == 400
    assert info.value.__cause__ is not None


def test_errors_in_callbacks_name_both_nodes(registry):
    graph = chain(
        (
            "reduce_dimension",
            {"dimension": "t", "reducer": callback("array_element", data=ref("data"), index=9)},
        )
    )
    with pytest.raises(errors.OpenEONCError, match=r"node 'n0' .*node 'inner' \(array_element\)"):
        execute(graph, registry=registry).compute()


def test_a_faulty_graph_does_not_begin_to_run(registry):
    graph = chain(("compress_cube", {"codec": "fake-rgb"}), ("save_result", {}))
    with pytest.raises(errors.MissingParameterError, match="'format'"):
        execute(graph, registry=registry)
