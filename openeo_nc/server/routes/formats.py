"""File formats: `/file_formats`."""

from __future__ import annotations

from fastapi import APIRouter

from openeo_nc.server.formats import OUTPUT
from openeo_nc.server.requests import Json

router = APIRouter(tags=["Capabilities"])


@router.get("/file_formats")
def file_formats() -> Json:
    """Formats of save_result; none are read but what `load_stac` finds."""
    return {"input": {}, "output": {one.name: one.to_dict() for one in OUTPUT}}
