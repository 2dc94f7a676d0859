"""The Zarr v3 codec `openeo_nc`: one payload is one chunk, seen as pixels or as integer latents.

    {"name": "openeo_nc", "configuration": {
        "codec": "klt-dct", "weights_sha256": "...", "quality": 5.0,
        "view": "pixels", "basis": "tile", "nodata": -32768}}

`view` decides what a chunk decodes to: `pixels` gives `(1, bands, y, x)` in the card's numbers,
`latents` the int32 `(1, channels, y, x)` of the same payload, `NO_LATENT` in patches without a
valid pixel. The codec stands alone or inside Zarr's sharding codec. Opening an array reads no
weights and imports no torch; the first chunk that is read does.

Zarr shows a codec the bytes of a chunk and nothing of the store, and it hands over chunks one by
one. What a store needs beyond that is in `CodedPipeline`, which takes the place of Zarr's own
pipeline for arrays with this codec and for no others:

- a write that covers part of a tile is refused before any byte of any chunk is changed;
- chunks are read while the store is known, so that weights that it brings along are found;
- damage that Zarr itself notices (a shard index that fails its checksum) is a PayloadError too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import zarr
from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialEncodeMixin, Codec
from zarr.codecs import ShardingCodec
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.registry import register_pipeline

from openeo_nc.codecs import loading, reading
from openeo_nc.codecs.base import Basis
from openeo_nc.errors import (
    InvalidParameterError,
    OpenEONCError,
    PartialWriteError,
    PayloadError,
)

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
        return cls(**configuration)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that zarr.json holds."""
        return {
            "name": NAME,
            "configuration": {name: getattr(self, name) for name in self.__dataclass_fields__},
        }

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
        if given:
            codec = await loading.opened(self.codec, self.weights_sha256, _place.get())
            tiles = await reading.decode(codec, self.view, [payload for _, payload, _ in given])
            for (n, _, spec), tile in zip(given, tiles, strict=True):
                out[n] = spec.prototype.nd_buffer.from_numpy_array(_fitted(tile, spec))
        return out

    # --- writing ---------------------------------------------------------------------------------

    async def encode(
        self, chunks_and_specs: Iterable[tuple[NDBuffer | None, ArraySpec]]
    ) -> list[Buffer | None]:
        """Payloads of whole tiles of pixels; None stays None."""
        chunks = list(chunks_and_specs)
        given = [(n, _tile(c, spec), spec) for n, (c, spec) in enumerate(chunks) if c is not None]
        out: list[Buffer | None] = [None] * len(chunks)
        if not given:
            return out
        if self.view != "pixels":
            raise InvalidParameterError("Latents are read-only: write pixels, or encode a cube.")
        codec = await loading.opened(self.codec, self.weights_sha256, _place.get())
        tiles = [tile for _, tile, _ in given]
        payloads = await reading.off_loop(
            lambda: codec.encode_batch(tiles, self.quality, nodata=self.nodata, basis=self.basis)
        )
        for (n, _, spec), payload in zip(given, payloads, strict=True):
            out[n] = spec.prototype.buffer.from_bytes(payload)
        return out

    async def encode_partial(
        self, batch_info: Iterable[tuple[ByteSetter, NDBuffer, SelectorTuple, ArraySpec]]
    ) -> None:
        """Write chunks that are covered whole; PartialWriteError, and no write, for any other."""
        chunks = list(batch_info)
        for _, _, selection, spec in chunks:
            refuse_partial(selection, spec.shape, spec.shape)
        payloads = await self.encode((_whole(value, spec), spec) for _, value, _, spec in chunks)
        for (setter, *_), payload in zip(chunks, payloads, strict=True):
            if payload is not None:
                await setter.set(payload)


def refuse_partial(selection: SelectorTuple, extent: Sequence[int], chunk: Sequence[int]) -> None:
    """PartialWriteError unless a selection within `extent` covers whole chunks."""
    parts = selection if isinstance(selection, tuple) else (selection,)
    for part, size, side in zip(parts, extent, chunk, strict=True):
        if isinstance(part, slice):
            start, stop, step = part.indices(size)
            whole = step == 1 and start % side == 0 and stop % side == 0
        else:
            whole = side == 1 and isinstance(part, int | np.integer)
        if not whole:
            raise PartialWriteError(
                f"The write covers {part} of an axis coded in tiles of {side}: it would recode "
                "the tile's other pixels and damage them. Write whole tiles, of arrays padded to "
                "whole tiles."
            )


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


def _tile(chunk: NDBuffer, spec: ArraySpec) -> npt.NDArray[Any]:
    """A chunk `(1, ..., bands, y, x)` as `(bands, y, x)`."""
    if math.prod(spec.shape[:-3]) != 1:
        raise InvalidParameterError(
            f"A chunk holds one tile (1, bands, y, x); the array's chunks are {spec.shape}."
        )
    return np.ascontiguousarray(chunk.as_numpy_array().reshape(spec.shape[-3:]))


def _whole(value: NDBuffer, spec: ArraySpec) -> NDBuffer:
    """A value for a whole chunk in the chunk's shape and dtype; scalars are spread over it."""
    array = value.as_numpy_array()
    shaped = np.broadcast_to(array, spec.shape) if array.ndim == 0 else array.reshape(spec.shape)
    dtype = spec.dtype.to_native_dtype()
    return spec.prototype.nd_buffer.from_numpy_array(shaped.astype(dtype, copy=False))


def _fitted(tile: npt.NDArray[Any], spec: ArraySpec) -> npt.NDArray[Any]:
    """A decoded tile in the chunk's shape; PayloadError if it is one of another array."""
    dtype = spec.dtype.to_native_dtype()
    if math.prod(spec.shape[:-3]) != 1 or tile.shape != spec.shape[-3:] or tile.dtype != dtype:
        raise PayloadError(
            f"The payload holds {tile.dtype} {tile.shape}, "
            f"the array's chunks are {dtype} {spec.shape}."
        )
    return tile.reshape(spec.shape)


register_pipeline(CodedPipeline)
# The one setting of Zarr by which a pipeline takes part. Whoever has chosen another keeps it, and
# goes without what the head of this module lists.
_SETTING = "codec_pipeline.path"
_OWN = f"{BatchedCodecPipeline.__module__}.{BatchedCodecPipeline.__qualname__}"
if zarr.config.get(_SETTING) == _OWN:
    zarr.config.set({_SETTING: f"{CodedPipeline.__module__}.{CodedPipeline.__qualname__}"})
