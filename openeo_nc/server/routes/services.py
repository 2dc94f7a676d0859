"""Secondary web services, of which there are none: `/services`.

They are not in the description of the API, from which clients read what the backend can do. Whoever asks
all the same, logged in or not, is told so by the error that openEO has for it.
"""

from __future__ import annotations

from fastapi import APIRouter, Response

from openeo_nc.server import failures

router = APIRouter(include_in_schema=False)


@router.api_route("/services", methods=["GET", "POST"])
@router.api_route("/services/{service_id}", methods=["GET", "PATCH", "DELETE"])
@router.api_route("/services/{service_id}/logs", methods=["GET"])
def unsupported() -> Response:
    """Refused, whatever is asked."""
    return failures.failure(
        "FeatureUnsupported", 501, "There are no secondary web services; run a batch job."
    )
