"""The Zarr v3 codec `openeo_nc`: one payload is one chunk, seen as pixels or as integer latents.

    {"name": "openeo_nc", "configuration": {
        "codec": "klt-dct", "weights_sha256": "...", "quality": 5.0,
        "view": "pixels", "basis": "tile", "nodata": -32768}}

`view` decides what a chunk decodes to: `pixels` gives `(1, bands, y, x)` in the card's numbers,
`latents` the int32 `(1, channels, y, x)` of the same payload, `NO_LATENT` in patches without a
valid pixel. The codec stands alone or inside Zarr's sharding codec. Opening an array reads no
weights and imports no torch; the first chunk that is read does.

Where payloads may be of other codecs too, `"others": {"sperr": null}` says of which; where chunks
have no fixed quality, `"rate": {"max_error": [10, 10, 10]}` says what a written one must reach.

Zarr shows a codec the bytes of a chunk and nothing of the store, and it hands over chunks one by
one. What a store needs beyond that is in `CodedPipeline`, which takes the place of Zarr's own
pipeline for arrays with this codec and for no others:

- a write that covers part of a tile is refused before any byte of any chunk is changed;
- chunks are read while the store is known, so that weights that it brings along are found;
- damage that Zarr itself notices (a shard index that fails its checksum) is a PayloadError too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import zarr
from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialEncodeMixin, Codec
from zarr.codecs import ShardingCodec
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.registry import register_pipeline

from openeo_nc.codecs import bitstream, loading, payloads, reading
from openeo_nc.codecs.base import Basis
from openeo_nc.codecs.chunks import fitted, refuse_partial, tile_of, whole
from openeo_nc.codecs.rate import Rate
from openeo_nc.codecs.rate_control import encode_tile
from openeo_nc.errors import InvalidParameterError, OpenEONCError, PayloadError

if TYPE_CHECKING:
    from zarr.abc.store import ByteGetter, ByteRequest, ByteSetter
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, BufferPrototype, NDBuffer
    from zarr.core.chunk_grids import ChunkGrid
    from zarr.core.dtype.wrapper import TBaseDType, TBaseScalar, ZDType
    from zarr.core.indexing import SelectorTuple

NAME = "openeo_nc"
View = Literal["pixels", "latents"]
NO_LATENT = reading.NO_LATENT
"""Value of latents in patches without a valid pixel."""

_place: ContextVar[loading.Place | None] = ContextVar("place", default=None)
"""The group that the chunks being read belong to."""


@dataclass(frozen=True, kw_only=True)
class NeuralCodec(ArrayBytesCodec, ArrayBytesCodecPartialEncodeMixin):
    """Array-to-bytes codec that hands each chunk to a codec of this package."""

    is_fixed_size = False

    codec: str
    """Id of the codec's card."""
    weights_sha256: str | None = None
    """SHA-256 of the weights that wrote the payloads; None for a codec without weights."""
    quality: float | None = None
    """Quality of chunks written through Zarr; None is the card's default."""
    view: View = "pixels"
    """What a chunk decodes to. Latents are read-only."""
    basis: Basis = "tile"
    """Spectral basis of chunks written through Zarr."""
    nodata: float | None = None
    """Value of no data in integer pixels; float pixels have NaN."""
    others: tuple[tuple[str, str | None], ...] = ()
    """Ids and weights' SHA-256 of other codecs that payloads may be of; JSON has an object."""
    rate: Rate | None = None
    """What chunks written through Zarr must reach where that is no quality, in the card's units."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """A codec from its JSON object; InvalidParameterError says what is wrong in it."""
        configuration = dict(data.get("configuration") or {})
        known = set(cls.__dataclass_fields__)
        if data.get("name") != NAME or "codec" not in configuration or configuration.keys() - known:
            raise InvalidParameterError(
                f"A '{NAME}' codec has the configuration {sorted(known)}, codec at least; "
                f"given {dict(data)}."
            )
        if configuration.get("view", "pixels") not in ("pixels", "latents"):
            raise InvalidParameterError(
                f"view must be 'pixels' or 'latents'; given {configuration['view']!r}."
            )
        others, rate = configuration.pop("others", {}), configuration.pop("rate", None)
        if not isinstance(others, Mapping) or not isinstance(rate, Mapping | None):
            raise InvalidParameterError(
                f"others and rate of a '{NAME}' codec are objects; given {others!r} and {rate!r}."
            )
        return cls(**configuration, others=tuple(others.items()), rate=_rate(rate))

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that zarr.json holds; what is not needed is not there, as before 0.2."""
        configuration = {name: getattr(self, name) for name in self.__dataclass_fields__}
        others, rate = configuration.pop("others"), configuration.pop("rate")
        if others:
            configuration["others"] = dict(others)
        if rate is not None:
            configuration["rate"] = {k: v for k, v in asdict(rate).items() if v is not None}
        return {"name": NAME, "configuration": configuration}

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Refused: payloads have no size that is known beforehand."""
        raise InvalidParameterError(f"Chunks of '{NAME}' have no fixed size.")

    def validate(
        self,
        *,
        shape: tuple[int, ...],
        dtype: ZDType[TBaseDType, TBaseScalar],
        chunk_grid: ChunkGrid,
    ) -> None:
        """Refuse arrays whose chunks are no `(..., bands, y, x)` tiles."""
        if len(shape) < 3:
            raise InvalidParameterError(
                f"'{NAME}' codes chunks (bands, y, x); the array has the shape {shape}."
            )
        if self.view == "latents" and dtype.to_native_dtype() != np.int32:
            raise InvalidParameterError(f"Latents are int32; the array is {dtype}.")

    # --- reading ---------------------------------------------------------------------------------

    async def decode(
        self, chunks_and_specs: Iterable[tuple[Buffer | None, ArraySpec]]
    ) -> list[NDBuffer | None]:
        """Tiles of payloads, decoded together and off the event loop; None stays None."""
        chunks = list(chunks_and_specs)
        given = [(n, c.to_bytes(), spec) for n, (c, spec) in enumerate(chunks) if c is not None]
        out: list[NDBuffer | None] = [None] * len(chunks)
        tiles = await asyncio.gather(*[self._decoded(payload) for _, payload, _ in given])
        for (n, _, spec), tile in zip(given, tiles, strict=True):
            out[n] = spec.prototype.nd_buffer.from_numpy_array(fitted(tile, spec))
        return out

    async def _decoded(self, payload: bytes) -> npt.NDArray[Any]:
        """What a payload holds, by the codec among `others` that wrote it, else by `codec`."""
        tag = payloads.tag(payload)
        known = (other for other in self.others if bitstream.tag_of(*other) == tag)
        codec_id, digest = next(known, (self.codec, self.weights_sha256))
        codec = await loading.opened(codec_id, digest, _place.get())
        (tile,) = await reading.decode(codec, self.view, [payload])
        return tile

    # --- writing ---------------------------------------------------------------------------------

    async def encode(
        self, chunks_and_specs: Iterable[tuple[NDBuffer | None, ArraySpec]]
    ) -> list[Buffer | None]:
        """Payloads of whole tiles of pixels; None stays None."""
        chunks = list(chunks_and_specs)
        given = [(n, tile_of(c, spec), spec) for n, (c, spec) in enumerate(chunks) if c is not None]
        out: list[Buffer | None] = [None] * len(chunks)
        if not given:
            return out
        if self.view != "pixels":
            raise InvalidParameterError("Latents are read-only: write pixels, or encode a cube.")
        coded = await self._coded([tile for _, tile, _ in given])
        for (n, _, spec), payload in zip(given, coded, strict=True):
            out[n] = spec.prototype.buffer.from_bytes(payload)
        return out

    async def _coded(self, tiles: list[npt.NDArray[Any]]) -> list[bytes]:
        place, rate = _place.get(), self.rate
        codec = await loading.opened(self.codec, self.weights_sha256, place)
        if rate is None:
            return await reading.off_loop(
                lambda: codec.encode_batch(
                    tiles, self.quality, nodata=self.nodata, basis=self.basis
                )
            )
        others = [await loading.opened(*other, place) for other in self.others]
        return await reading.off_loop(
            lambda: [
                encode_tile(codec, tile, rate, nodata=self.nodata, basis=self.basis, others=others)
                for tile in tiles
            ]
        )

    async def encode_partial(
        self, batch_info: Iterable[tuple[ByteSetter, NDBuffer, SelectorTuple, ArraySpec]]
    ) -> None:
        """Write chunks that are covered whole; PartialWriteError, and no write, for any other."""
        chunks = list(batch_info)
        for _, _, selection, spec in chunks:
            refuse_partial(selection, spec.shape, spec.shape)
        coded = await self.encode((whole(value, spec), spec) for _, value, _, spec in chunks)
        for (setter, *_), payload in zip(chunks, coded, strict=True):
            if payload is not None:
                await setter.set(payload)


def _rate(document: Mapping[str, Any] | None) -> Rate | None:
    if document is None:
        return None
    bounds = document.get("max_error")
    try:
        return Rate(**{**document, "max_error": None if bounds is None else tuple(bounds)})
    except TypeError as error:
        raise InvalidParameterError(f"rate of a '{NAME}' codec is {document}: {error}") from error


@dataclass(frozen=True)
class CodedPipeline(BatchedCodecPipeline):
    """Zarr's pipeline, for arrays with a NeuralCodec; see the head of this module."""

    @classmethod
    def from_codecs(  # type: ignore[override]
        cls, codecs: Iterable[Codec], *, batch_size: int | None = None
    ) -> BatchedCodecPipeline:
        """A pipeline of this class if one of the codecs is ours, else one of Zarr's own."""
        parts = tuple(codecs)
        if _neural(parts) is None:
            return BatchedCodecPipeline.from_codecs(parts, batch_size=batch_size)
        return super().from_codecs(parts, batch_size=batch_size)

    async def read(
        self,
        batch_info: Iterable[tuple[ByteGetter, ArraySpec, SelectorTuple, SelectorTuple, bool]],
        out: NDBuffer,
        drop_axes: tuple[int, ...] = (),
    ) -> None:
        """Read chunks with the store at hand; PayloadError for a shard that is damaged."""
        chunks = list(batch_info)
        place = loading.place_of(chunks[0][0], len(chunks[0][1].shape)) if chunks else None
        if place is None:  # chunks inside a shard: the shard's pipeline has set the place
            return await super().read(chunks, out, drop_axes)
        token = _place.set(place)
        try:
            solid = [(_Solid(getter), a, b, c, d) for getter, a, b, c, d in chunks]
            await super().read(solid, out, drop_axes)
        except OpenEONCError:
            raise
        except (ValueError, IndexError) as error:
            if isinstance(self.array_bytes_codec, ShardingCodec):
                raise PayloadError(f"The index of a shard is damaged: {error}") from error
            raise
        finally:
            _place.reset(token)

    async def write(
        self,
        batch_info: Iterable[tuple[ByteSetter, ArraySpec, SelectorTuple, SelectorTuple, bool]],
        value: NDBuffer,
        drop_axes: tuple[int, ...] = (),
    ) -> None:
        """Write whole tiles; PartialWriteError before anything is written if there is another."""
        chunks = list(batch_info)
        sharding = self.array_bytes_codec
        for _, spec, selection, *_ in chunks:
            inner = sharding.chunk_shape if isinstance(sharding, ShardingCodec) else spec.shape
            refuse_partial(selection, spec.shape, inner)
        place = loading.place_of(chunks[0][0], len(chunks[0][1].shape)) if chunks else None
        token = _place.set(place or _place.get())
        try:
            await super().write(chunks, value, drop_axes)
        finally:
            _place.reset(token)


def _neural(codecs: Iterable[Codec]) -> NeuralCodec | None:
    for codec in codecs:
        if isinstance(codec, NeuralCodec):
            return codec
        if isinstance(codec, ShardingCodec) and (inner := _neural(codec.codecs)) is not None:
            return inner
    return None


@dataclass(frozen=True)
class _Solid:
    """Reads a stored object; one of no bytes is damage, which Zarr would take for no data."""

    getter: ByteGetter

    async def get(
        self, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        found = await self.getter.get(prototype, byte_range)
        if found is not None and len(found) == 0:
            raise PayloadError(f"{self.getter} is empty.")
        return found


register_pipeline(CodedPipeline)
# The one setting of Zarr by which a pipeline takes part. Whoever has chosen another keeps it, and
# goes without what the head of this module lists.
_SETTING = "codec_pipeline.path"
_OWN = f"{BatchedCodecPipeline.__module__}.{BatchedCodecPipeline.__qualname__}"
if zarr.config.get(_SETTING) == _OWN:
    zarr.config.set({_SETTING: f"{CodedPipeline.__module__}.{CodedPipeline.__qualname__}"})
