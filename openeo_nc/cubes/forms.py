"""Counts the payloads of a coded array by codec and form, from their headers; decodes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from openeo_nc.codecs import bitstream
from openeo_nc.cubes.places import Place, each
from openeo_nc.cubes.shards import tile_heads


@dataclass(frozen=True, kw_only=True)
class PayloadForm:
    """Payloads of one codec in one form."""

    codec: str
    """Id of the codec."""
    form: str
    """`plain`; `residual` with what brings the error below a bound; `empty` without a valid pixel."""
    payloads: int
    """How many."""
    bytes: int
    """Their bytes."""


def forms(array: Place, document: Mapping[str, Any]) -> tuple[PayloadForm, ...]:
    """The payloads of an array by codec and form, most bytes first.

    Parameters
    ----------
    array
        Folder of the array.
    document
        Its zarr.json.

    Raises
    ------
    PayloadError
        The index of a shard is damaged.
    """
    configuration = neural_configuration(document)
    primary = str(configuration["codec"])
    known = {primary: configuration.get("weights_sha256")} | configuration.get("others", {})
    by_tag = {bitstream.tag_of(name, sha): name for name, sha in known.items()}
    found: dict[tuple[str, str], list[int]] = {}
    for head, size in _heads(array, document):
        tag, form = bitstream.peek(head)
        found.setdefault((by_tag.get(tag or b"", primary), form), []).append(size)
    counted = (
        PayloadForm(codec=codec_id, form=form, payloads=len(sizes), bytes=sum(sizes))
        for (codec_id, form), sizes in found.items()
    )
    return tuple(sorted(counted, key=lambda f: (-f.bytes, f.codec, f.form)))


def _heads(array: Place, document: Mapping[str, Any]) -> Iterable[tuple[bytes, int]]:
    shape = shard_shape(document)
    for heads in each(
        lambda path: tile_heads(path, shape, bitstream.PEEK), chunk_files(array / "c")
    ):
        yield from heads


def neural_configuration(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration of our codec in the zarr.json of a coded array."""
    codec = document["codecs"][0]
    if codec["name"] == "sharding_indexed":
        codec = codec["configuration"]["codecs"][0]
    configuration: Mapping[str, Any] = codec["configuration"]
    return configuration


def chunk_files(folder: Place) -> list[Place]:
    """Files of the chunks or shards below a folder, or that folder if it is such a file."""
    if folder.is_file():
        return [folder]
    return sorted((path for path in folder.rglob("*") if path.is_file()), key=str)


def shard_shape(document: Mapping[str, Any]) -> tuple[int, ...]:
    """Chunks of a shard along each axis."""
    outer = document["chunk_grid"]["configuration"]["chunk_shape"]
    inner = document["codecs"][0]["configuration"].get("chunk_shape", outer)
    return tuple(whole // part for whole, part in zip(outer, inner, strict=True))
