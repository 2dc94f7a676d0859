"""Files of models that do not ship: fetched once, verified, kept by their hash."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import IO

from openeo_nc.codecs import weights
from openeo_nc.errors import WeightsInvalidError, WeightsNotFoundError
from openeo_nc.models.base import ModelCard
from openeo_nc.models.foreign import needed

FOLDER_VARIABLE = "OPENEO_NC_MODELS"
"""Environment variable: folder that fetched files are kept in; default ~/.cache/openeo-nc/models."""
MOST = 4 << 30
"""Bytes of a file at most."""
_BLOCK = 1 << 20
_TIMEOUT = 60.0


def file_of(card: ModelCard) -> Path:
    """The file with a card's network or weights, its SHA-256 verified where the card states one.

    It is in `weights/` of a model package or in a folder of $OPENEO_NC_WEIGHTS if the card names
    weights; else at Hugging Face (`source` has repo, revision and file), or at `source`'s href.

    Raises
    ------
    WeightsNotFoundError, WeightsInvalidError, ModelUnavailableError
    """
    if card.weights is not None:
        return weights.resolve(card)
    if "repo" in card.source:
        return _of_hub(card)
    if "href" in card.source:
        return fetched(str(card.source["href"]), card.weights_sha256)
    raise WeightsNotFoundError(f"The card of '{card.model_id}' names no weights.")


def fetched(href: str, sha256: str | None) -> Path:
    """A local file, or the copy of one at an http(s) URL; its hash as stated.

    Raises
    ------
    WeightsNotFoundError
        It cannot be read, or is at a URL and no hash is stated.
    WeightsInvalidError
        It has another hash, or is too large.
    """
    parts = urllib.parse.urlsplit(href)
    if parts.scheme not in ("http", "https"):
        path = Path(urllib.request.url2pathname(parts.path) if parts.scheme == "file" else href)
        if not path.is_file():
            raise WeightsNotFoundError(f"There is no file {path}.")
        with path.open("rb") as file:
            _verify(_digest(file), sha256, href)
        return path
    if sha256 is None:
        raise WeightsNotFoundError(
            f"No SHA-256 is stated for {href}; what is fetched is used only if its hash is known."
        )
    kept = folder() / sha256
    if not kept.is_file():
        _fetch(href, sha256, kept)
    return kept


def folder() -> Path:
    """Where fetched files are kept."""
    given = os.environ.get(FOLDER_VARIABLE)
    return Path(given) if given else Path.home() / ".cache" / "openeo-nc" / "models"


def _fetch(href: str, sha256: str, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            urllib.request.urlopen(href, timeout=_TIMEOUT) as answer,
            tempfile.NamedTemporaryFile(dir=kept.parent) as file,
        ):
            while block := answer.read(_BLOCK):
                file.write(block)
                if file.tell() > MOST:
                    raise WeightsInvalidError(f"There are more than {MOST} bytes at {href}.")
            file.seek(0)
            _verify(_digest(file), sha256, href)
            part = kept.with_name(f"{kept.name}.{os.getpid()}.part")
            shutil.copyfile(file.name, part)
            part.replace(kept)
    except OSError as error:
        if isinstance(error, WeightsNotFoundError):
            raise
        raise WeightsNotFoundError(f"{href} cannot be read: {error}") from error


def _of_hub(card: ModelCard) -> Path:
    hub = needed("huggingface_hub", "hub")
    source = card.source
    try:
        path = Path(
            hub.hf_hub_download(
                repo_id=source["repo"], filename=source["file"], revision=source.get("revision")
            )
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsNotFoundError(
            f"'{source['file']}' of {source['repo']} at {source.get('revision')} cannot be had from "
            f"Hugging Face: {error}"
        ) from error
    if card.weights_sha256 is not None:
        with path.open("rb") as file:
            _verify(_digest(file), card.weights_sha256, str(path))
    return path


def _digest(file: IO[bytes]) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _verify(found: str, stated: str | None, where: str) -> None:
    if stated is not None and found != stated:
        raise WeightsInvalidError(f"{where} has SHA-256 {found}; stated is {stated}.")
