"""Links to results that work without a token, and only for a while.

        /assets/{signature}/{expires}/{job}/{attempt}/cube.zarr/zarr.json
                                      `------ signed ------------'

The signature is part of the path and covers a file, or a folder with all in it, so that a Zarr store
opens below its link in any client, which asks for the store's objects by their own names.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import quote

from openeo_nc.errors import LinkInvalidError, ResultLinkExpiredError


class Links:
    """Signs paths below the folder of all results, and checks them."""

    def __init__(self, secret: bytes, seconds: int) -> None:
        self._key = hmac.digest(secret, b"openeo_nc result links", "sha256")
        self._seconds = seconds

    def expires(self) -> int:
        """When links that are made now end, in seconds since 1970."""
        return int(time.time()) + self._seconds

    def signed(self, path: PurePosixPath, expires: int) -> str:
        """Path of the API that gives a file, or the files in a folder, without a token."""
        return f"/assets/{self.sign(path, expires)}/{expires}/{quote(str(path))}"

    def check(self, signature: str, expires: int, path: PurePosixPath) -> None:
        """Raise unless the signature is that of the path or of a folder that it is in.

        Raises
        ------
        LinkInvalidError, ResultLinkExpiredError
        """
        signed = [self.sign(part, expires) for part in _with_folders(path)]
        given = signature.encode()
        if ".." in path.parts or not any(
            hmac.compare_digest(given, one.encode()) for one in signed
        ):
            raise LinkInvalidError("The signature of the link is not the server's.")
        if time.time() > expires:
            raise ResultLinkExpiredError("The link has expired; ask for the job's results again.")

    def sign(self, path: PurePosixPath, expires: int) -> str:
        """The signature of a path that is valid until `expires`."""
        message = f"{expires}\n{path}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()


def _with_folders(path: PurePosixPath) -> Iterator[PurePosixPath]:
    """The path and the folders above it, up to the attempt's (`job/attempt`)."""
    yield path
    yield from (parent for parent in path.parents if len(parent.parts) > 1)
