"""What finished jobs made, as a STAC Collection with signed links: `/jobs/{job_id}/results`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from openeo_nc.cubes.places import Place
from openeo_nc.jobs import jobs
from openeo_nc.jobs.job import Job, Results
from openeo_nc.server.backend import Backend
from openeo_nc.server.extents import extents
from openeo_nc.server.formats import media_type
from openeo_nc.server.requests import Json, Served, SignedIn, base, link, moment

router = APIRouter(prefix="/jobs", tags=["Batch Jobs"])
canonical = APIRouter(tags=["Batch Jobs"])

ALTERNATE = "https://stac-extensions.github.io/alternate-assets/v1.2.0/schema.json"
ZIP = ".zip"


PARTIAL = Annotated[bool, Query(description="Describe a job that has no results, too.")]
_STATUS = {"queued": "running", "running": "running", "canceled": "canceled", "error": "error"}
"""Jobs that `partial` describes, and what openEO's results call them."""


@router.get("/{job_id}/results")
def results(
    request: Request, response: Response, backend: Served, user: SignedIn, job_id: str,
    partial: PARTIAL = False,
) -> Json:  # fmt: skip
    """The results of a finished job; its error if it failed.

    Results appear all at once, so `partial` gives a collection without assets until then.
    """
    response.headers["OpenEO-Costs"] = "0"  # of fetching them
    if partial:
        job = jobs.get(backend.database, user.id, job_id)
        if job.status in _STATUS:
            return _without_assets(request, backend, job)
    return _collection(request, backend, user.id, job_id, backend.links.expires())


@canonical.get("/results/{signature}/{expires}/{user_id}/{job_id}")
def shared(
    request: Request, backend: Served, signature: str, expires: int, user_id: str, job_id: str
) -> Json:
    """The same by a signed link, without a token."""
    backend.links.check(signature, expires, _signed(user_id, job_id))
    return _collection(request, backend, user_id, job_id, expires)


def _signed(user_id: str, job_id: str) -> PurePosixPath:
    """What is signed of a link to a collection; the path of no asset, which begins with its job."""
    return PurePosixPath("collection", user_id, job_id)


def _collection(
    request: Request, backend: Backend, user_id: str, job_id: str, expires: int
) -> Json:
    made = jobs.results(backend.database, user_id, job_id)
    job = jobs.get(backend.database, user_id, job_id)
    here = base(request, backend)
    signature = backend.links.sign(_signed(user_id, job_id), expires)
    place = f"{here}/results/{signature}/{expires}/{user_id}/{job_id}"
    places = [(made.folder / file, one.format) for one in made.results for file in one.files]
    assets = dict(_asset(here, backend, file, form, expires) for file, form in places)
    documents = [made.folder / one for result in made.results for one in result.documents]
    files = [backend.results / file for file in (*(file for file, _ in places), *documents)]
    return _described(job, files) | {
        "stac_extensions": [ALTERNATE],
        "updated": moment(made.finished),
        "expires": moment(datetime.fromtimestamp(expires, UTC)),
        "assets": assets,
        "links": [
            link("self", f"{here}/jobs/{job.id}/results", type="application/json"),
            link("canonical", place, type="application/json"),
            *_documents(here, backend, made, expires),
        ],
    }


def _documents(here: str, backend: Backend, made: Results, expires: int) -> list[Json]:
    """Links to STAC that describes files; signed for their folder, so that its own links hold."""
    folder = here + backend.links.signed(made.folder, expires)
    found = []
    for one in made.results:
        names = {file.stem for file in one.files}
        for document in one.documents:
            rel = "item" if document.stem in names else "related"
            kind = media_type(document)
            found.append(link(rel, f"{folder}/{document}", type=kind, title=document.name))
    return found


def _without_assets(request: Request, backend: Backend, job: Job) -> Json:
    here = base(request, backend)
    return _described(job, []) | {
        "assets": {},
        "links": [link("self", f"{here}/jobs/{job.id}/results", type="application/json")],
    }


def _described(job: Job, files: list[Place]) -> Json:
    """What is said of a job's results, whether there are any."""
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": job.id,
        "title": job.title or f"Results of job {job.id}",
        "description": job.description or "Results of a batch job of openeo_nc.",
        "license": "other",
        "extent": extents(files),
        "created": moment(job.created),
        "updated": moment(job.updated),
        "openeo:status": _STATUS.get(job.status, job.status),
        **({} if job.usage is None else {"usage": dict(job.usage)}),
    }


def _asset(
    here: str, backend: Backend, place: PurePosixPath, form: str, expires: int
) -> tuple[str, Json]:
    """A file; of a store all of it in a ZIP file, and beside it where its objects lie."""
    path: Place = backend.results / place
    if not path.is_dir():
        href = here + backend.links.signed(place, expires)
        asset: Json = {"href": href, "title": f"{form}: {place.name}", "roles": ["data"]}
        return place.name, asset | {"type": media_type(place), "file:size": path.stat().st_size}
    packed = place.with_name(place.name + ZIP)
    store: Json = {
        "href": here + backend.links.signed(place, expires),
        "title": "The store itself, for readers of Zarr over HTTP",
        "type": "application/vnd.zarr; version=3",
    }
    return packed.name, {
        "href": here + backend.links.signed(packed, expires),
        "title": f"{form}: {place.name} in a ZIP file",
        "type": media_type(packed),
        "roles": ["data"],
        "alternate": {"store": store},
    }
