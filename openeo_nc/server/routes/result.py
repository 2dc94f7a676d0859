"""Results within one request: `/result`."""

from __future__ import annotations

import shutil
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from openeo_nc.graphs.called import called_processes
from openeo_nc.jobs.process_graphs import OwnProcesses
from openeo_nc.server import answers, evaluation
from openeo_nc.server.formats import media_type
from openeo_nc.server.packing import packed
from openeo_nc.server.requests import ProcessRequest, Served, SignedIn

router = APIRouter(tags=["Data Processing"])


@router.post("/result", response_class=Response)
def result(backend: Served, user: SignedIn, request: ProcessRequest) -> Response:
    """Run a process and give what it saves, or its value as JSON if it saves nothing.

    One file is given as it is, a Zarr store as a ZIP file, several results as a tar file.
    """
    process: dict[str, Any] = request.process.model_dump()
    identifier = str(uuid4())
    folder = backend.temporary / identifier
    headers = {"OpenEO-Identifier": identifier}
    folder.mkdir()
    try:
        reply = backend.evaluation.run(
            evaluation.Request(
                process=process,
                user_processes=called_processes(process, OwnProcesses(backend.database, user.id)),
                folder=folder / "out",
                scheduler=backend.scheduler,
                certificates=backend.settings.certificates(),
                catalogues=backend.catalogues,
                tiles=backend.settings.tile_store(),
                seconds=backend.settings.sync_seconds,
                serving=backend.serving,
                user=user.id,
            )
        )
        if not reply.paths:
            shutil.rmtree(folder)
            return Response(
                answers.body(reply.value), media_type="application/json", headers=headers
            )
        file = packed(reply.paths, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    gone = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    return FileResponse(
        file, media_type=media_type(file), filename=file.name, background=gone, headers=headers
    )
