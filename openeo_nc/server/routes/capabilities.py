"""What the backend is and can: `/`, `/.well-known/openeo`, `/conformance`."""

from __future__ import annotations

from importlib.metadata import version
from typing import cast
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI, Request

from openeo_nc.server import estimates
from openeo_nc.server.requests import Json, Served, base, link

router = APIRouter(tags=["Capabilities"])

API_VERSION = "1.2.0"
CONFORMS_TO = [
    f"https://api.openeo.org/{API_VERSION}",
    "https://api.openeo.org/1.3.0/authentication/jwt",
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
]
EDITOR = "https://editor.openeo.org/"
"""The openEO Web Editor, as a page that opens any server that takes its calls."""
_OWN = ("/health", "/ready", "/assets/", "/results/", "/.well-known/")
"""Paths that are no endpoints of openEO's API."""
_VERBS = ("get", "post", "patch", "put", "delete")


@router.get("/")
def capabilities(request: Request, backend: Served) -> Json:
    """The backend, and the endpoints that it has."""
    here = base(request, backend)
    settings = backend.settings
    return {
        "type": "Catalog",
        "id": "openeo-nc",
        "title": settings.title,
        "description": "Neural compression of Earth-observation data cubes: `compress_cube`, "
        "`encode_embedding` and `decode_embedding` beside openEO's own processes.",
        "api_version": API_VERSION,
        "backend_version": version("openeo-nc"),
        "stac_version": "1.0.0",
        "production": not settings.development,
        "conformsTo": CONFORMS_TO,
        "billing": estimates.billing(backend),
        "endpoints": _endpoints(cast("FastAPI", request.app)),
        "links": [
            link("self", f"{here}/", type="application/json"),
            link("root", f"{here}/", type="application/json"),
            link("version-history", f"{here}/.well-known/openeo", type="application/json"),
            link("conformance", f"{here}/conformance", type="application/json"),
            link("data", f"{here}/collections", type="application/json"),
            link("web-editor", f"{EDITOR}?{urlencode({'server': here})}", type="text/html"),
            link(
                "service-desc", f"{here}/openapi.json", type="application/vnd.oai.openapi+json;version=3.1"
            ),
        ],
    }  # fmt: skip


@router.get("/.well-known/openeo")
def versions(request: Request, backend: Served) -> Json:
    """The one version of the API that there is."""
    return {
        "versions": [
            {
                "url": base(request, backend) + "/",
                "api_version": API_VERSION,
                "production": not backend.settings.development,
            }
        ]
    }


@router.get("/conformance")
def conformance() -> Json:
    """Specifications that the API keeps to."""
    return {"conformsTo": CONFORMS_TO}


def _endpoints(app: FastAPI) -> list[Json]:
    """What the application answers, as its own description has it."""
    return [
        {"path": path, "methods": [verb.upper() for verb in _VERBS if verb in operations]}
        for path, operations in app.openapi()["paths"].items()
        if path != "/" and not path.startswith(_OWN)
    ]
