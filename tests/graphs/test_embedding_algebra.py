"""Embedding cubes through openEO's processes, as graphs over Dask, against plain NumPy.

The cubes: vectors of a model, latents of a codec, and a store of the former that is loaded again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import dask
import dask.array as da
import fakes
import numpy as np
import pytest
import xarray as xr
from distributed import Client
from openeo_pg_parser_networkx.process_registry import Process
from pyproj import Transformer

from openeo_nc import errors
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.graphs import execute
from openeo_nc.models.quantisation import quantiser
from openeo_nc.sentinel2 import BANDS

# silenced where they arise, by filters of the whole process, which threads undo for each other
pytestmark = [
    pytest.mark.filterwarnings("ignore:Dataset has no geotransform"),
    pytest.mark.filterwarnings("ignore:All-NaN slice"),
]
KINDS = ("model", "codec", "store")
DATES = ("2022-06-01", "2022-06-11", "2022-07-01")
LEFT, TOP = 603_200.0, 5_000_640.0
HEIGHT, WIDTH = 48, 96  # pixels that the codec encodes, in tiles of 16
LOAD = {"id": "load_named", "parameters": [{"name": "name", "description": "", "schema": {}}]}


@dataclass(frozen=True)
class World:
    """What graphs run on."""

    registry: object
    cubes: dict

    def run(self, source, **nodes):
        """The cube that the last node gives; `source` is the node `cube`, others by their names."""
        names = {"cube": source, **{name: name for name in self.cubes}}
        used = json.dumps(nodes)
        graph = {
            node: {"process_id": "load_named", "arguments": {"name": name}}
            for node, name in names.items()
            if node == "cube" or f'"{node}"' in used
        }
        graph |= nodes
        graph[list(graph)[-1]] = {**graph[list(graph)[-1]], "result": True}
        return execute({"process_graph": graph}, registry=self.registry)


def raster(bands, height, width):
    """Pixels `(t, bands, height, width)` in blocks of eight, no data in a corner."""
    rng = np.random.default_rng(3)
    coarse = rng.uniform(300, 4000, (len(DATES), len(bands), height // 8, width // 8))
    values = np.kron(coarse, np.ones((8, 8))).astype(np.uint16)
    values[:, :, :24, :40] = 0
    cube = fakes.cube(height, width, bands=bands, dates=len(DATES), x0=LEFT, y0=TOP, nodata=0)
    cube = cube.copy(data=da.from_array(values, chunks=(1, len(bands), height, width // 2)))
    return cube.assign_coords(t=np.array(DATES, "datetime64[ns]"))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    from openeo_nc.graphs.registry import register

    registry, cubes = register(), {}
    registry["load_named"] = Process(spec=LOAD, implementation=lambda name: cubes[name])
    options = {"processes": False, "dashboard_address": None, "threads_per_worker": 2}
    with fakes.codecs_installed(), Client(n_workers=1, **options) as client:
        made = World(registry, cubes)
        cubes["pixels"], cubes["rgb"] = raster(BANDS, 96, 640), raster(fakes.RGB, HEIGHT, WIDTH)
        encode = node("encode_embedding", "pixels", model="s2-embed-small", quantization="int8")
        cubes["model"] = made.run("pixels", vectors=encode).persist()
        latents = node("encode_embedding", "rgb", model="fake-rgb", quality=5)
        cubes["codec"] = made.run("rgb", latents=latents).persist()
        folder = tmp_path_factory.mktemp("stores") / "out"
        with output_folder(folder):
            made.run("model", saved=node("save_result", "cube", format="ZARR"))
        loading = {
            "process_id": "load_embeddings",
            "arguments": {"url": str(folder / "result.zarr")},
        }
        cubes["store"] = made.run("model", loaded=loading)
        assert client.submit(sum, [1]).result() == 1
        yield made


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def known(world, kind):
    """The cube, computed: what oracles start from."""
    return world.cubes[kind].compute()


def node(process_id, of="cube", **arguments):
    given = {"data": {"from_node": of}} | arguments
    return {"process_id": process_id, "arguments": given}


def callback(process_id, **arguments):
    given = {"data": {"from_parameter": "data"}} | arguments
    inner = {"process_id": process_id, "arguments": given, "result": True}
    return {"process_graph": {"one": inner}}


def merge(first, second, **arguments):
    given = {"cube1": {"from_node": first}, "cube2": {"from_node": second}}
    return {"process_id": "merge_cubes", "arguments": given | arguments}


def renamed(cube, prefix, source="cube"):
    labels = cube.embedding.values.tolist()
    target = [f"{prefix}{label}" for label in labels]
    return node("rename_labels", source, dimension="embedding", target=target, source=labels)


def same(found, expected):
    """Found lazily, and after computing exactly what is expected."""
    assert found.chunks is not None
    values = found.compute()
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values.values, expected)
    assert values.rio.crs.to_epsg() == 32631
    return values


def refuses_to_decode(world, cube, kind):
    """A changed cube is no bitstream any more; of a model no cube ever was one."""
    expected = {
        "codec": (errors.EmbeddingChangedError, errors.EmbeddingMisalignedError),
    }.get(kind, errors.EmbeddingNotDecodableError)
    world.cubes["changed"] = cube
    with pytest.raises(expected):
        world.run("changed", pixels=node("decode_embedding")).compute()


def reloaded(world, cube, folder, **options):
    """The cube as it comes back from a Zarr store."""
    world.cubes["kept"] = cube
    with output_folder(folder):
        world.run("kept", saved=node("save_result", format="ZARR", options=options))
    load = {"process_id": "load_embeddings", "arguments": {"url": str(folder / "result.zarr")}}
    return world.run("kept", loaded=load)


def test_the_cubes_are_what_they_are_said_to_be(world, known, kind):
    assert known.dims == ("t", "embedding", "y", "x")
    stride = 4 if kind == "codec" else 8
    assert known.attrs["nc:stride"] == stride
    assert known.attrs["emb:type"] == "chip"
    assert known.attrs["emb:dimensions"] == known.sizes["embedding"]
    assert 0.01 < np.isnan(known).mean() < 0.95
    size = 10.0 * stride
    np.testing.assert_allclose(np.diff(known.x), size)
    np.testing.assert_allclose(np.diff(known.y), -size)
    np.testing.assert_array_equal(world.cubes["store"].values, world.cubes["model"].values)


def test_filter_bbox(world, known, kind):
    west, south, east, north = LEFT + 300, TOP - 700, LEFT + 4200, TOP - 160
    box = {"west": west, "south": south, "east": east, "north": north, "crs": 32631}
    found = world.run(kind, part=node("filter_bbox", extent=box))
    rows = (known.y.values >= south) & (known.y.values <= north)
    columns = (known.x.values >= west) & (known.x.values <= east)
    part = same(found, known.values[..., rows, :][..., columns])
    assert part.attrs["nc:grid"] == known.attrs["nc:grid"]
    assert part.attrs.get("nc:quantization") == known.attrs.get("nc:quantization")
    assert part.rio.bounds() == pytest.approx(
        (part.x.values[0] - size(part), part.y.values[-1] - size(part),
         part.x.values[-1] + size(part), part.y.values[0] + size(part))
    )  # fmt: skip
    refuses_to_decode(world, found, kind)


def size(cube):
    """Half of a patch."""
    return cube.attrs["nc:stride"] * 5.0


def test_filter_bbox_of_degrees_and_of_a_single_row(world, known, kind):
    to_degrees = Transformer.from_crs(32631, 4326, always_xy=True)
    row = known.y.values[3]
    west, south = to_degrees.transform(known.x.values[2] - 5, row - 1)
    east, north = to_degrees.transform(known.x.values[9] + 5, row + 1)
    south, north = min(south, north) - 1e-6, max(south, north) + 1e-6
    box = {"west": west, "south": south, "east": east, "north": north}
    one = node("filter_bbox", extent=box)
    found = world.run(kind, row=one)
    same(found, known.values[..., 3:4, 2:10])
    same(world.run(kind, row=one, again=node("filter_bbox", "row", extent=box)), found.values)


def test_filter_temporal(world, known, kind):
    extent = ["2022-06-11", "2022-07-01"]  # the end is excluded
    found = world.run(kind, part=node("filter_temporal", extent=extent))
    same(found, known.values[1:2])
    assert found.attrs.get("nc:model") == known.attrs.get("nc:model")
    if kind == "codec":  # dates of whole tiles still are bitstreams
        pixels = world.run("rgb", all=node("compress_cube", "rgb", codec="fake-rgb", quality=5))
        world.cubes["dates"] = found
        decoded = world.run("dates", pixels=node("decode_embedding"))
        np.testing.assert_array_equal(decoded.values, pixels.values[1:2])


def test_filter_bands(world, known, kind, tmp_path):
    names = ["e011", "e002", "e030"]
    found = world.run(kind, some=node("filter_bands", bands=names))
    some = same(found, known.values[:, [11, 2, 30]])
    assert some.embedding.values.tolist() == names
    assert some.attrs["emb:dimensions"] == 3
    if kind != "codec":
        assert json.loads(some.attrs["nc:quantization"]) == quantiser("int8", dim=3).document()
    refuses_to_decode(world, found, kind)
    again = reloaded(world, found, tmp_path / "out")
    np.testing.assert_array_equal(again.values, expected_of_store(some, kind))
    assert again.embedding.values.tolist() == names


def expected_of_store(cube, kind):
    """What a store of the cube gives: its own numbers, or those of int8 if the cube says so."""
    if "nc:quantization" not in cube.attrs:
        return cube.values
    dim = cube.sizes["embedding"]
    rows = np.moveaxis(cube.values, -3, -1).reshape(-1, dim)
    scale = np.nanmax(np.abs(np.where(np.isnan(rows), 0, rows)), axis=1, keepdims=True) / 127
    snapped = quantiser("int8", dim=dim).snap(rows)
    np.testing.assert_array_equal(np.isnan(snapped), np.isnan(rows))
    assert (np.abs(snapped - rows) <= scale * 0.51).sum() == (~np.isnan(rows)).sum()
    shape = np.moveaxis(cube.values, -3, -1).shape
    return np.moveaxis(snapped.reshape(shape), -1, -3)


def test_merge_cubes_of_two_models(world, known, kind, tmp_path):
    """The second has patches of another size; its labels get a prefix, as both begin with e000."""
    other = world.cubes["codec" if kind != "codec" else "model"].compute()
    second = "codec" if kind != "codec" else "model"
    found = world.run(kind, named=renamed(other, "b-", second), both=merge("cube", "named"))
    # a patch of 40 m lies in one of 80 m, whose centre is a corner of four: the one right and below
    off = 0 if kind == "codec" else 1
    nearest = other.reindex(
        x=known.x.values + off, y=known.y.values - off, method="nearest", tolerance=size(other)
    )
    same(found, np.concatenate([known.values, nearest.values], axis=1))
    assert found.embedding.values.tolist() == [
        *known.embedding.values, *(f"b-{label}" for label in other.embedding.values)
    ]  # fmt: skip
    told = found.attrs
    assert told["emb:type"] == "chip"
    assert told["emb:dimensions"] == known.sizes["embedding"] + other.sizes["embedding"]
    assert not {"nc:model", "nc:quantization", "nc:codec", "nc:stride"} & set(told)
    refuses_to_decode(world, found, "both")
    again = reloaded(world, found, tmp_path / "out")
    np.testing.assert_array_equal(again.values, found.values)


def test_merge_cubes_of_the_same_labels_asks_which_count(world, kind):
    with pytest.raises(errors.OverlapResolverMissingError, match="rename_labels"):
        world.run(kind, both=merge("cube", kind))
    both = [{"from_parameter": "x"}, {"from_parameter": "y"}]
    resolver = {
        "process_graph": {"max": {"process_id": "max", "arguments": {"data": both}, "result": True}}
    }
    found = world.run(kind, both=merge("cube", kind, overlap_resolver=resolver))
    same(found, world.cubes[kind].values)


def test_merge_cubes_of_neighbours_and_dates(world, known, kind):
    """What was cut apart, by place and by date, is one again: on one grid nothing is resampled."""
    middle = float(known.x.values[20] + known.x.values[21]) / 2
    box = {"south": TOP - 5000, "north": TOP + 5000, "crs": 32631}
    found = world.run(
        kind,
        west=node("filter_bbox", extent=box | {"west": LEFT - 5000, "east": middle}),
        east=node("filter_bbox", extent=box | {"west": middle, "east": LEFT + 9000}),
        late=node("filter_temporal", "west", extent=["2022-06-11", None]),
        early=node("filter_temporal", "west", extent=[None, "2022-06-11"]),
        left=merge("late", "early"),
        both=merge("east", "left"),
    )
    same(found, known.values)
    np.testing.assert_array_equal(found.t.values, known.t.values)
    assert found.attrs.get("nc:model") == known.attrs.get("nc:model")
    assert found.attrs.get("nc:quantization") == known.attrs.get("nc:quantization")
    assert found.attrs["nc:stride"] == known.attrs["nc:stride"]


def test_mask_of_pixels_is_resampled_to_patches(world, known, kind):
    """A patch goes if the pixel at its centre is masked."""
    dark = {"process_id": "lt", "arguments": {"x": {"from_parameter": "x"}, "y": 2000}}
    found = world.run(
        kind,
        red=node("reduce_dimension", "rgb", dimension="bands",
                 reducer=callback("array_element", index=2)),
        dark=node("apply", "red", process={"process_graph": {"lt": dark | {"result": True}}}),
        clear=node("mask", mask={"from_node": "dark"}),
    )  # fmt: skip
    pixels = world.cubes["rgb"].compute()
    # the centre is a corner of four pixels, which are alike: pixels come in blocks of eight
    rows = np.floor((TOP - known.y.values) / 10 - 0.5).astype(int)
    columns = np.floor((known.x.values - LEFT) / 10 - 0.5).astype(int)
    inside = np.outer((rows >= 0) & (rows < HEIGHT), (columns >= 0) & (columns < WIDTH))
    red = pixels.values[:, 2][:, np.clip(rows, 0, HEIGHT - 1)][..., np.clip(columns, 0, WIDTH - 1)]
    gone = inside & (red < 2000)
    assert 0.005 < gone.mean() < 0.9
    same(found, np.where(gone[:, None], np.nan, known.values))
    if kind == "codec":  # what is masked is no data, the rest is as it was encoded
        world.cubes["changed"] = found
        decoded = world.run("changed", pixels=node("decode_embedding"))
        every = world.run("rgb", all=node("compress_cube", "rgb", codec="fake-rgb", quality=5))
        patches = gone.repeat(4, axis=1).repeat(4, axis=2)[:, None]
        np.testing.assert_array_equal(decoded.values, np.where(patches, 0, every.values))
    else:
        refuses_to_decode(world, found, kind)


def test_aggregate_temporal_period(world, known, kind, tmp_path):
    found = world.run(kind, months=node("aggregate_temporal_period", period="month",
                                        reducer=callback("mean")))  # fmt: skip
    months = [known.values[:2], known.values[2:]]
    expected = np.stack([m.astype(np.float64).mean(0) for m in months])
    assert found.chunks is not None
    np.testing.assert_allclose(found.values, expected, rtol=1e-6, atol=1e-7)
    assert found.t.values.tolist() == ["2022-06", "2022-07"]
    assert found.attrs["emb:dimensions"] == known.sizes["embedding"]
    refuses_to_decode(world, found, kind)


def test_reduce_dimension_t_by_mean(world, known, kind, tmp_path):
    """The mean of vectors, not of integers: it lies between the points of the lattice."""
    found = world.run(kind, mean=node("reduce_dimension", dimension="t", reducer=callback("mean")))
    assert found.dims == ("embedding", "y", "x")
    mean = known.values.astype(np.float64).mean(0)
    np.testing.assert_allclose(found.values, mean, rtol=1e-6, atol=1e-7)
    assert found.attrs.get("nc:model") == known.attrs.get("nc:model")
    refuses_to_decode(world, found, kind)
    computed = found.compute()
    again = reloaded(world, found, tmp_path / "out")
    assert again.dims == found.dims
    np.testing.assert_array_equal(again.values, expected_of_store(computed, kind))
    exact = reloaded(world, found, tmp_path / "exact", quantization="float32")
    np.testing.assert_array_equal(exact.values, computed.values)


def test_reduce_dimension_embedding_leaves_an_ordinary_cube(world, known, kind, tmp_path):
    found = world.run(kind, largest=node("reduce_dimension", dimension="embedding",
                                         reducer=callback("max")))  # fmt: skip
    same(found, known.values.max(1))
    stale = [name for name in found.attrs if name.startswith(("emb:", "nc:"))]
    assert stale == []
    with pytest.raises(errors.OpenEONCError):
        world.cubes["changed"] = found
        world.run("changed", pixels=node("decode_embedding"))
    with output_folder(tmp_path / "out"):
        world.run("changed", saved=node("save_result", format="NETCDF"))
    with xr.open_dataset(tmp_path / "out" / "result.nc", engine="netcdf4") as dataset:
        (name,) = [n for n in dataset.data_vars if dataset[n].ndim == 3]
        np.testing.assert_array_equal(dataset[name].values, known.values.max(1))


def test_resample_spatial_by_nearest(world, known, kind, tmp_path):
    half = 5.0 * known.attrs["nc:stride"]
    found = world.run(kind, fine=node("resample_spatial", resolution=half, method="near"))
    fine = same(found, known.values.repeat(2, axis=-2).repeat(2, axis=-1))
    assert fine.x.values[0] == known.x.values[0] - half / 2
    assert fine.y.values[0] == known.y.values[0] + half / 2
    assert not {"nc:stride", "nc:grid", "nc:tile", "nc:bounds", "crs"} & set(fine.attrs)
    assert fine.attrs.get("nc:model") == known.attrs.get("nc:model")
    refuses_to_decode(world, found, kind if kind != "codec" else "off its grid")
    again = reloaded(world, found, tmp_path / "out")
    np.testing.assert_array_equal(again.values, fine.values)
    assert again.x.values.tolist() == fine.x.values.tolist()


def test_resample_spatial_to_other_patches_from_other_corners(world, known, kind):
    """Of three patches side by side the middle one is the nearest, from whichever corner on."""
    side = 10.0 * known.attrs["nc:stride"]
    rows, columns = known.sizes["y"] // 3, known.sizes["x"] // 3
    for align, top, left in (
        ("upper-left", 1, 1),
        ("lower-right", -3 * rows + 1, -3 * columns + 1),
    ):
        found = world.run(kind, coarse=node("resample_spatial", resolution=[3 * side, 3 * side],
                                            align=align))  # fmt: skip
        values = found.compute()
        ys = np.arange(rows) * 3 + (top if top > 0 else known.sizes["y"] + top)
        xs = np.arange(columns) * 3 + (left if left > 0 else known.sizes["x"] + left)
        inner = values.sel(y=known.y.values[ys], x=known.x.values[xs])
        np.testing.assert_array_equal(inner.values, known.values[..., ys, :][..., xs])


def test_the_whole_is_lazy(world, kind):
    """Building any of these graphs computes nothing."""
    with dask.config.set(scheduler=fakes.raising_scheduler):
        world.run(
            kind,
            mean=node("reduce_dimension", dimension="t", reducer=callback("mean")),
            some=node("filter_bands", "mean", bands=["e001"]),
            fine=node("resample_spatial", "some", resolution=20),
        )
