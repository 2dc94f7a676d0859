"""Runs the demonstration: process graphs on a Dask cluster, then the report of what came out.

    source --compress.json--> compressed.zarr
           --embed.json-----> embedding.zarr --decode.json--> decoded.zarr

The graphs take the same path as `openeo-nc run`; each is left beside its results.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from openeo_nc.cluster import connect, progress
from openeo_nc.codecs.registry import list_codecs
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.demo import rates
from openeo_nc.demo.page import render
from openeo_nc.demo.report import Results, pictures_of, report_of, trial_tile
from openeo_nc.demo.source import Graph, Source, fill, load_item, source_graph
from openeo_nc.errors import OutputExistsError
from openeo_nc.graphs.execute import execute

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What the steps of one run share."""

    out: Path
    client: Client
    timing: list[tuple[str, float]] = field(default_factory=list)
    graphs: dict[str, Graph] = field(default_factory=dict)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Time a step and show its progress."""
        started = time.perf_counter()
        with progress(self.client, title):
            yield
        self.timing.append((title, time.perf_counter() - started))

    def save(self, name: str, graph: Graph, title: str) -> dict[str, Any]:
        """Run a graph that saves one store; leave the graph, give the store's report."""
        self.graphs[f"{name}.json"] = graph
        _write_json(self.out / f"{name}.json", graph)
        with self.step(title), output_folder(self.out, exist_ok=True) as outputs:
            execute(graph)
        report: dict[str, Any] = outputs.saved[0].to_dict()["report"]
        return report


def run_demo(
    out: Path,
    *,
    source: Source | None = None,
    quality: float | None = None,
    scheduler: str | None = None,
) -> dict[str, Any]:
    """Compress, encode and decode a scene; leave everything in a new folder.

    Parameters
    ----------
    out
        Folder for graphs, stores, `report.json` and `report.html`; must not exist.
    source
        What to load; None is the synthetic scene, which is then written into the folder too.
    quality
        Level of the codec; None is its own default.
    scheduler
        Address of a Dask scheduler; None starts a cluster on this machine.

    Returns
    -------
    What `report.json` holds.

    Raises
    ------
    OutputExistsError
        The folder exists; nothing in it was touched. On any other failure it is not left behind.
    """
    if out.exists():
        raise OutputExistsError(f"{out} exists; nothing in it was touched.")
    out = out.resolve()
    out.mkdir(parents=True)
    try:
        return _run_into(out, source, quality, scheduler)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise


def _run_into(
    out: Path, source: Source | None, quality: float | None, scheduler: str | None
) -> dict[str, Any]:
    source = Source.synthetic(out / "scene") if source is None else source
    with connect(scheduler) as client:
        run = _Run(out=out, client=client)
        results = _results(run, source, quality)
    report = report_of(results)
    _write_json(out / "report.json", report)
    page = render(report, pictures_of(results), run.graphs)
    (out / "report.html").write_text(page, encoding="utf-8")
    return report


def _results(run: _Run, source: Source, quality: float | None) -> Results:
    compress = fill("compress", source, quality=quality)
    store = run.save("compress", compress, "Compress")
    latents, decoded = _embed(run, source, quality)
    with run.step("Read back"):
        original = _cube(source_graph(compress))
        restored = _cube(load_item(store))
        embedding = None if latents is None else _cube(load_item(latents))
        again = None if decoded is None else _cube(load_item(decoded))
    with run.step("Rate and distortion"):
        ours = [c for c in list_codecs() if c.architecture != "classical"]
        fitting = [c.codec_id for c in ours if c.bands in (None, source.bands)]
        codecs = sorted(fitting, key=lambda name: name != store["codec"])  # the one used first
        curves = rates.curves(run.client, codecs, trial_tile(original))
    return Results(
        source=source,
        store=store,
        latents=latents,
        original=original,
        restored=restored,
        embedding=embedding,
        decoded=again,
        curves=curves,
        timing=run.timing,
        graphs=tuple(run.graphs),
    )


def _embed(
    run: _Run, source: Source, quality: float | None
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Reports of the embedding's store and of the store it decodes to; None without a model."""
    model = next((c for c in list_codecs() if c.embedding and c.bands == source.bands), None)
    if model is None:
        return None, None
    encode = fill("embed", source, quality=quality, model=model.codec_id)
    latents = run.save("embed", encode, "Encode embedding")
    decode = fill("decode", source, item=load_item(latents)["load"]["arguments"]["url"])
    return latents, run.save("decode", decode, "Decode embedding")


def _cube(graph: Graph) -> xr.DataArray:
    """The computed cube of a graph."""
    cube: xr.DataArray = execute(graph)
    return cube.compute()


def _write_json(path: Path, document: Any) -> None:
    text = json.dumps(document, indent=2, default=str, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
