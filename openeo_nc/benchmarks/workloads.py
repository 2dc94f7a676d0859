"""What the benchmarks of Dask's overhead run: a network over the tiles of a cube.

A workload says how its model is opened, what that makes of one tile, and how this package builds
the same lazily. The cube lies in a local Zarr store, so that whoever runs it reads it from disk.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import dask.array as da
import numpy as np
import numpy.typing as npt
import rioxarray  # noqa: F401  registers DataArray.rio
import xarray as xr
import zarr
from affine import Affine
from scipy.ndimage import gaussian_filter

from openeo_nc.codecs import registry
from openeo_nc.codecs.base import Codec, with_latents
from openeo_nc.codecs.rate import Rate
from openeo_nc.codecs.rate_control import encode_tile
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.encode import encode_cube
from openeo_nc.cubes.payloads import payloads_of
from openeo_nc.cubes.tile_graph import per_pixel
from openeo_nc.errors import InvalidParameterError, PayloadError
from openeo_nc.inference.placement import on_device
from openeo_nc.inference.spec import CodecSpec
from openeo_nc.sentinel2 import BANDS

if TYPE_CHECKING:
    from openeo_nc.inference.yardstick import Sizes

Array = npt.NDArray[Any]
CODEC = "s2l2a-hyperprior"
"""The codec that is run: its network both ways, its embeddings."""
_CORNER = (599_040.0, 4_999_680.0)
"""Where tiles of 384 pixels begin in UTM."""
_CHUNK = 128
"""Pixels a side of a chunk of the store: tiles of every workload are whole chunks."""


class Workload(Protocol):
    """A network and what is to be made of each tile."""

    @property
    def name(self) -> str:
        """As tables have it."""

    @property
    def side(self) -> int:
        """Pixels of a tile's side."""

    def open(self) -> Any:
        """The model, read from disk anew."""

    def apply(self, model: Any, tile: Array) -> Any:
        """What the model makes of one tile `(bands, y, x)`: bytes, or an array `(channels, y, x)`."""

    def ours(self, cube: xr.DataArray) -> da.Array:
        """The same of all tiles of a cube, as this package builds it."""


@dataclass(frozen=True, kw_only=True)
class Payloads:
    """Tiles to payloads of the codec."""

    name: str = "encode"
    target: float | None = None
    """PSNR in dB that is searched for, which codes each tile several times; None codes it once."""
    side: int = 384

    def open(self) -> Codec:
        """The codec."""
        return _codec()

    def apply(self, model: Codec, tile: Array) -> bytes:
        """The payload of a tile."""
        rate = Rate(quality=model.card.quality[2] if self.target is None else None,
                    target_psnr=self.target)  # fmt: skip
        return encode_tile(model, tile, rate)

    def ours(self, cube: xr.DataArray) -> da.Array:
        """Payloads, as a store of the compressed cube would hold them."""
        payloads = payloads_of(compress_cube(cube, CODEC, target_psnr=self.target))
        if payloads is None:
            raise PayloadError("a compressed cube carries its payloads")
        return payloads.blocks


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """Tiles to the codec's embeddings."""

    name: str = "embedding"
    side: int = 384

    def open(self) -> Codec:
        """The codec."""
        return _codec()

    def apply(self, model: Codec, tile: Array) -> Array:
        """The embedding of a tile, float32."""
        latents = with_latents(model).analyse(tile, basis="card")
        step = np.float64(with_latents(model).embedding_step(latents.quality))
        return np.asarray(latents.y * step, np.float32)

    def ours(self, cube: xr.DataArray) -> da.Array:
        """The embedding cube's array."""
        data: da.Array = encode_cube(cube, CODEC).data
        return data


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Tiles to embeddings of an encoder of random weights, the size of a foundation model."""

    path: str
    """Its weights."""
    name: str = "encoder"
    side: int = 256
    width: int = 768
    """Channels of its embeddings."""

    @classmethod
    def made(cls, folder: Path, sizes: Sizes | None = None) -> Encoded:
        """The workload, its weights written into a folder."""
        from openeo_nc.inference import yardstick

        sizes = sizes or yardstick.Sizes()
        yardstick.make(folder / "encoder.pt", sizes)
        return cls(path=str(folder / "encoder.pt"), side=sizes.side, width=sizes.width)

    def open(self) -> Any:
        """The encoder."""
        from openeo_nc.inference import yardstick

        return yardstick.load(self.path)

    def apply(self, model: Any, tile: Array) -> Array:
        """The embedding of a tile, float32."""
        from openeo_nc.inference import yardstick

        embedding: Array = yardstick.embed(model, tile[None])[0]
        return embedding

    def ours(self, cube: xr.DataArray) -> da.Array:
        """A task a tile, placed and batched as those of codecs are."""
        from openeo_nc.inference.yardstick import PATCH

        function = on_device(_embed_shared, CodecSpec.of(registry.get_card(CODEC)))
        return per_pixel(
            "encoder", function, [cube.data], (self.path,), np.dtype(np.float32), self.width,
            self.side // PATCH,
        )  # fmt: skip


def _embed_shared(block: Array, path: str) -> Array:
    from openeo_nc.inference.yardstick import embed_shared

    return embed_shared(block[0], path)[None]


def _codec() -> Codec:
    """The codec as a script opens it that knows nothing of a cache."""
    card = registry.get_card(CODEC)
    architecture = importlib.import_module(f"openeo_nc.codecs.{card.architecture}")
    codec: Codec = architecture.load(card, device="cpu")
    return codec


def scene(height: int, width: int, seed: int = 0) -> Array:
    """`(12, height, width)` uint16: fields of several scales mixed into bands, and fine texture."""
    rng = np.random.default_rng(seed)
    fields = [
        gaussian_filter(rng.standard_normal((height, width)).astype("f4"), scale, mode="wrap")
        * scale
        for scale in (2, 6, 20, 60)
    ]
    mixed: Array = np.tensordot(rng.uniform(-1, 1, (len(BANDS), len(fields))), np.stack(fields), 1)
    texture = rng.normal(0, 20, mixed.shape)
    return np.asarray((2500 + 500 * mixed + texture).clip(1, 10_000), np.uint16)


def write_cube(folder: Path, height: int, width: int) -> str:
    """Write a scene as a Zarr array `(1, 12, height, width)`, once a folder; gives its path."""
    if height % _CHUNK or width % _CHUNK:
        raise InvalidParameterError(
            f"Sides must be multiples of {_CHUNK} pixels; given {height} and {width}."
        )
    path = folder / f"cube-{height}-{width}.zarr"
    if not path.exists():
        chunks = (1, len(BANDS), _CHUNK, _CHUNK)
        zarr.create_array(str(path), data=scene(height, width)[None], chunks=chunks)
    return str(path)


def cube_of(path: str, side: int) -> xr.DataArray:
    """The lazy cube, a tile a chunk."""
    data = da.from_zarr(path, chunks=(1, len(BANDS), side, side))
    _, _, height, width = data.shape
    left, top = _CORNER
    cube = xr.DataArray(
        data,
        dims=("t", "bands", "y", "x"),
        coords={
            "t": np.array(["2022-06-01"], "datetime64[ns]"),
            "bands": list(BANDS),
            "y": top - 10 * (np.arange(height) + 0.5),
            "x": left + 10 * (np.arange(width) + 0.5),
        },
    )
    return cube.rio.write_crs("EPSG:32631").rio.write_transform(Affine(10, 0, left, 0, -10, top))  # type: ignore[no-any-return]


def workloads(folder: Path, names: Mapping[str, Any] | None = None) -> dict[str, Workload]:
    """All of them by name; the encoder's weights are written into a folder if it is among `names`."""
    found: dict[str, Workload] = {
        "encode": Payloads(), "target": Payloads(name="target", target=44.0),
        "embedding": Embedding(),
    }  # fmt: skip
    if names is None or "encoder" in names:
        found["encoder"] = Encoded.made(folder)
    return found
