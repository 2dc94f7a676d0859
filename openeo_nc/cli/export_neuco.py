"""`openeo-nc export-neuco`: embeddings as NeuCo-Bench takes them."""

from __future__ import annotations

import click

from openeo_nc.cli.options import json_option, show


@click.command("export-neuco")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--out", required=True, metavar="CSV", help="File to write; must not exist.")
@json_option
def export_neuco(sources: tuple[str, ...], out: str, as_json: bool) -> None:
    """Write the mean vector of each SOURCE as a row of a CSV file.

    A SOURCE is what load_embeddings takes: a Zarr store, a GeoParquet or GeoTIFF file. Its id is
    its name without endings, which NeuCo-Bench matches with the names of its samples.
    """
    from openeo_nc.cubes.embedding_reading import load_vectors
    from openeo_nc.cubes.neuco import pooled, sample_id, write_neuco

    pairs = [(sample_id(source), pooled(load_vectors(source))) for source in sources]
    report = {"path": out, "rows": write_neuco(pairs, out), "dimensions": len(pairs[0][1])}
    show(report, as_json=as_json,
         human=lambda: "{rows} rows of {dimensions} values in {path}".format(**report))  # fmt: skip
