"""`openeo-nc worker`: a Dask worker that suits codecs."""

from __future__ import annotations

import os

import click


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--gpu", is_flag=True, help="Offer the resource GPU=1: networks run on workers that have it."
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGUMENTS OF dask worker]")
def worker(gpu: bool, arguments: tuple[str, ...]) -> None:
    """Start a Dask worker for codecs; takes the scheduler's address, and options, as `dask worker`.

    Its memory is not trimmed, which would slow networks down, and its /metrics tell of tiles from
    the start. With --gpu networks want a CUDA device, unless OPENEO_NC_DEVICE says otherwise.
    """
    import dask
    from distributed.cli import dask_worker

    from openeo_nc.cluster import ENVIRONMENT, worker_environment
    from openeo_nc.inference.device import VARIABLE
    from openeo_nc.inference.placement import USUAL

    given = list(arguments)
    if gpu:
        os.environ.setdefault(VARIABLE, "cuda")
        given += ["--resources", f"{USUAL}=1"]
    os.environ.pop("MALLOC_TRIM_THRESHOLD_", None)
    settings = {ENVIRONMENT: worker_environment(), "distributed.worker.preload": _preload()}
    with dask.config.set(settings):
        dask_worker.main.main(given, prog_name="openeo-nc worker", standalone_mode=False)


def _preload() -> list[str]:
    """Modules that a worker imports at its start: those of the configuration, and the metrics."""
    import dask

    return [*dask.config.get("distributed.worker.preload", []), "openeo_nc.metrics"]
