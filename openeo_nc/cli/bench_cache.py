"""`openeo-nc bench cache`: what the tile store saves."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from openeo_nc.cli.bench import bench
from openeo_nc.cli.options import json_option, show


@bench.command("cache")
@click.option("--rows", type=click.IntRange(min=1), default=4, show_default=True,
              help="Rows of tiles of the made-up scene.")  # fmt: skip
@click.option("--columns", type=click.IntRange(min=1), default=2, show_default=True,
              help="Columns of tiles of a third of it; a request is two thirds.")  # fmt: skip
@click.option("--codec", default="auto", show_default=True)
@click.option("--quality", type=float, help="Default is the codec's own.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--tiles", "place", metavar="PLACE",
              help="Tile store, emptied each round; default is a new folder.")  # fmt: skip
@json_option
def cache(
    rows: int, columns: int, codec: str, quality: float | None, rounds: int, place: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Print what a request costs of which nothing, all and half is in the tile store."""
    import numpy as np

    from openeo_nc.benchmarks import cache as benchmark
    from openeo_nc.demo.landscape import landscape, surface
    from openeo_nc.sentinel2 import BANDS

    side = benchmark.TILE
    seen = surface(landscape(7, (2 * side, 2 * side)), 0, 7)
    pixels = np.clip(np.rint(seen * 10_000), 1, 65_535).astype(np.uint16)
    height, width = rows * side, 3 * columns * side
    beyond = [(0, 0), (0, max(0, height - 2 * side)), (0, max(0, width - 2 * side))]
    scene = np.pad(pixels, beyond, mode="symmetric")[:, :height, :width]
    with tempfile.TemporaryDirectory(prefix="openeo-nc-") as folder:
        url = benchmark.write_scene(Path(folder), scene, BANDS)
        report = benchmark.run(
            str(url), bounds=benchmark.bounds_of(height, width), crs=f"EPSG:{benchmark.EPSG}",
            bands=BANDS, codec=codec, quality=quality, rounds=rounds, place=place,
        )  # fmt: skip
    report["scene"] = f"{len(BANDS)} bands of {height} x {width} pixels, made up"
    show(report, as_json=as_json, human=lambda: benchmark.table(report))
