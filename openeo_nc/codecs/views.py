"""Opens a store as pixels or as latents: the same chunk objects under the other view's metadata.

    key asked for          in a store written as pixels, viewed as latents
    zarr.json, x/..., ...  .nc/latents/zarr.json, .nc/latents/x/..., ...
    embeddings/c/0/0/0/0   data/c/0/0/0/0

The other view's metadata and coordinates are a few kB that the writer leaves under `.nc/`; no
chunk is stored twice. Both views are read-only.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr
from zarr.abc.store import Store
from zarr.errors import GroupNotFoundError
from zarr.storage import FsspecStore, LocalStore, WrapperStore

from openeo_nc.codecs.loading import FOLDER
from openeo_nc.codecs.zarr import View
from openeo_nc.errors import FormatUnsuitableError

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

ARRAYS: dict[View, str] = {"pixels": "data", "latents": "embeddings"}
"""Name of the coded array in each view."""
VIEW = "nc:view"
"""Group attribute: the view that the store was written in."""


def pixel_view(store: Store | str | PathLike[str]) -> Store:
    """The store as decoded pixels `(t, bands, y, x)`; give it to `xr.open_zarr`.

    Raises
    ------
    FormatUnsuitableError
        There is no Zarr group, or it holds no payloads.
    """
    return view_of(store, "pixels")


def latent_view(store: Store | str | PathLike[str]) -> Store:
    """The store as integer latents `(t, embedding, y, x)`, which Zarr and xarray scale by the step.

    Raises
    ------
    FormatUnsuitableError
        There is no Zarr group, or it holds no payloads, or none whose latents compare: each tile
        has a quality of its own, or is of a codec without latents.
    """
    return view_of(store, "latents")


def view_of(store: Store | str | PathLike[str], view: View) -> Store:
    """The store in a view, read-only; as it is if it was written in that view."""
    base = _opened(store)
    native = native_view(base)
    if native is None:
        raise FormatUnsuitableError(f"{store} holds no payloads of a codec, so it has one view.")
    if native == view:
        return base
    other = ViewStore(base, native, view)
    try:
        zarr.open_group(other, mode="r")
    except (FileNotFoundError, GroupNotFoundError) as error:
        raise FormatUnsuitableError(
            f"{store} has no view as {view}: each tile may be of another quality or another codec, "
            "so that latents do not compare. Only cubes coded at one quality have one."
        ) from error
    return other


def native_view(store: Store | str | PathLike[str]) -> View | None:
    """The view that a store was written in; None if it holds no payloads.

    Raises
    ------
    FormatUnsuitableError
        There is no Zarr group.
    """
    try:
        group = zarr.open_group(_opened(store), mode="r")
    except (FileNotFoundError, GroupNotFoundError, json.JSONDecodeError) as error:
        raise FormatUnsuitableError(f"{store} is no Zarr group: {error}") from error
    view = group.attrs.get(VIEW)
    return view if view in ARRAYS else None


class ViewStore(WrapperStore[Store]):
    """A store that answers with the metadata of one view and the chunks of the other."""

    def __init__(self, store: Store, native: View, view: View) -> None:
        super().__init__(store)
        self._native: View = native
        self._view: View = view

    def _with_store(self, store: Store) -> ViewStore:
        return ViewStore(store, self._native, self._view)

    def _key(self, key: str) -> str:
        """Where an object of this view is stored."""
        chunks = f"{ARRAYS[self._view]}/c/"
        if key.startswith(chunks):
            return f"{ARRAYS[self._native]}/c/{key.removeprefix(chunks)}"
        return key if key.startswith(f"{FOLDER}/") else f"{FOLDER}/{self._view}/{key}"

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        return await self._store.get(self._key(key), prototype, byte_range)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        keys = [(self._key(key), byte_range) for key, byte_range in key_ranges]
        return await self._store.get_partial_values(prototype, keys)

    async def exists(self, key: str) -> bool:
        return await self._store.exists(self._key(key))

    async def is_empty(self, prefix: str) -> bool:
        return await self._store.is_empty(self._key(prefix))

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Names in a folder of the view's own metadata; chunks are not listed."""
        return self._store.list_dir(self._key(prefix))

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Keys of the view's own metadata; chunks are not listed."""
        root = f"{FOLDER}/{self._view}/"
        async for key in self._store.list_prefix(self._key(prefix)):
            yield key.removeprefix(root)

    def list(self) -> AsyncIterator[str]:
        """All keys of the view's own metadata; chunks are not listed."""
        return self.list_prefix("")

    @property
    def read_only(self) -> bool:
        return True

    @property
    def supports_writes(self) -> bool:
        return False

    @property
    def supports_deletes(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ViewStore)
            and self._store == other._store
            and (self._native, self._view) == (other._native, other._view)
        )

    def __hash__(self) -> int:
        return hash((str(self._store), self._view))

    def __str__(self) -> str:
        return f"{self._view} of {self._store}"


def _opened(store: Store | str | PathLike[str]) -> Store:
    if isinstance(store, Store):
        return store if store.read_only else store.with_read_only(read_only=True)
    if isinstance(store, str) and "://" in store:
        remote: Any = FsspecStore.from_url(store, read_only=True)
        return remote  # type: ignore[no-any-return]
    return LocalStore(Path(store), read_only=True)
