"""Static STAC catalogues over the shared real Sentinel-2 data, and a server that searches them.

boadella       12 dates of one place, EPSG:4326 with pixels that are not square; one file a
               date with 12 bands, described by `bands` (STAC 1.1)
terramind      three places whose pixels are off the grid of the CRS origin, each in a zone of
               its own; one COG a band (`eo:bands`, `raster:bands`, `proj:epsg`). One place
               carries the offset of processing baseline 04.00
radar          Sentinel-1 of the same places, in dB; one file an item, `VV` and `VH` (STAC 1.1)
bigearthnet    four patches; one COG a band at its native 10, 20 or 60 m
t29unu         a scene at 60 m with the offset of baseline 04.00, cloud, sea, and no data
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sysconfig
import time
import urllib.request
from pathlib import Path

import rasterio
import stac_scenes as scenes

NATIVE = {
    "B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B08": 10,
    "B8A": 20, "B09": 60, "B11": 20, "B12": 20,
}  # fmt: skip
UNDATED = "2020-07-01T00:00:00Z"
"""Stands for dates that the data do not state."""


def build(shared_data, folder):
    """Write the catalogues under `folder`; path of the root catalogue."""
    shared_data, folder = Path(shared_data), Path(folder)
    manifest = json.loads((shared_data / "manifest.json").read_text())
    entries = {entry["path"]: entry for entry in manifest["files"]}
    builders = {
        "boadella": (_whole, "s2/boadella_l2a"),
        "terramind": (_split, "s2/majortom_l2a"),
        "radar": (_radar, "s1/majortom_rtc"),
        "bigearthnet": (_split_native, "s2/bigearthnet_l2a"),
        "t29unu": (_scene, "s2/t29unu_l2a_60m"),
    }
    links = []
    for name, (builder, group) in builders.items():
        chosen = {p: e for p, e in sorted(entries.items()) if e["set"] == group}
        items = [builder(shared_data, folder / name, p, e) for p, e in chosen.items()]
        scenes.write_collection(folder / name, items, name)
        links.append({"rel": "child", "href": f"./{name}/collection.json"})
    root = {
        "type": "Catalog", "stac_version": "1.1.0", "id": "real", "links": links,
        "description": "Contains modified Copernicus Sentinel data",
    }  # fmt: skip
    path = folder / "catalog.json"
    path.write_text(json.dumps(root))
    return path


@contextlib.contextmanager
def served(*collections):
    """URL of a STAC API (`rustac serve` on the loopback) that holds static collections."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sysconfig.get_path("scripts")) / "rustac"
    files = []
    for collection in collections:
        # rustac would follow the links to items from the folder that it runs in.
        bare = collection.with_name("unlinked.json")
        bare.write_text(json.dumps(json.loads(collection.read_text()) | {"links": []}))
        files += [bare, *map(_absolute, sorted(collection.parent.glob("items/*.json")))]
    process = subprocess.Popen(
        [program, "serve", "--addr", f"127.0.0.1:{port}", *map(str, files)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _absolute(path):
    """The item in a file of its own, whose assets are found from wherever it is read."""
    item = json.loads(path.read_text())
    for asset in item["assets"].values():
        asset["href"] = str((path.parent / asset["href"]).resolve())
    target = path.parent.parent / "served" / path.name
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(item))
    return target


def _wait_for(url, process, seconds=20):
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _place(path):
    with rasterio.open(path) as file:
        t = file.transform
        return file.crs.to_string(), (t.a, -t.e), t.c, t.f, file.shape, file.descriptions


def _when(entry):
    return f"{entry['date']}T10:30:00Z" if "date" in entry else UNDATED


def _whole(shared_data, folder, path, entry):
    """One asset with all bands, where the shared file lies."""
    crs, res, left, top, shape, names = _place(shared_data / path)
    asset = scenes.asset(shared_data / path, res, left, top, shape)
    del asset["raster:bands"]
    asset["bands"] = [{"name": name} for name in names]
    asset |= {"raster:scale": entry["scale"], "raster:offset": 0}
    return scenes.item(Path(path).stem, _when(entry), {"data": asset}, crs)


def _radar(shared_data, folder, path, entry):
    """Decibels as they are; the date is a few days from that of the other sensor."""
    item = _whole(shared_data, folder, path, entry | {"scale": 1, "date": "2020-07-04"})
    item["assets"]["data"]["data_type"] = "float32"
    return item


def _split(shared_data, folder, path, entry, factors=None):
    """One GeoTIFF a band; `factors` takes every nth pixel of bands that were repeated."""
    crs, res, left, top, _shape, names = _place(shared_data / path)
    assets = {}
    with rasterio.open(shared_data / path) as file:
        values = file.read()
    offset = -entry.get("offset_dn", entry.get("offset_dn_guess", 0)) * entry["scale"]
    for name, band in zip(names, values, strict=True):
        step = (factors or {}).get(name, 1)
        band = band[::step, ::step]
        size = (res[0] * step, res[1] * step)
        target = folder / Path(path).stem / f"{name}.tif"
        scenes.write_tif(target, band, left, top, size, crs, nodata=None)
        assets[name] = scenes.asset(
            f"../{Path(path).stem}/{name}.tif", size, left, top, band.shape, entry["scale"], offset
        )
        del assets[name]["raster:bands"][0]["nodata"]
        assets[name]["eo:bands"] = [{"name": name}]
    return scenes.item(Path(path).stem, _when(entry), assets, crs, style="epsg")


def _split_native(shared_data, folder, path, entry):
    factors = {name: native // 10 for name, native in NATIVE.items()}
    return _split(shared_data, folder, path, entry, factors)


def _scene(shared_data, folder, path, entry):
    """The scene's file, and its classification as an asset of its own."""
    item = _whole(shared_data, folder, path, entry)
    asset = item["assets"]["data"]
    asset |= {"raster:offset": -entry["offset_dn"] * entry["scale"], "nodata": 0}
    labels = "labels/t29unu_scl_60m/T29UNU_20221005_north_SCL.tif"
    _crs, res, left, top, shape, names = _place(shared_data / labels)
    classes = scenes.asset(shared_data / labels, res, left, top, shape)
    del classes["raster:bands"]
    classes["bands"] = [{"name": "SCL", "nodata": 0}, {"name": names[1] or "CLD"}]
    item["assets"]["classes"] = classes
    return item
