"""What entries of the tile store are of: all that decides a tile's payload but the device.

The device is left out, since payloads of any are equally valid: the key names the payload that was
written first. So are the request, and names of bands: they do not change the tile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from openeo_nc.codecs import registry
from openeo_nc.codecs.bitstream import VERSION
from openeo_nc.cubes.tile_store import Key
from openeo_nc.cubes.tile_store_entry import digest_of

if TYPE_CHECKING:
    from openeo_nc.cubes.coding import Coding
    from openeo_nc.cubes.grid import TileGrid
    from openeo_nc.cubes.whole_tiles import Place, WholeTiles
    from openeo_nc.inference.spec import CodecSpec

Kind = Literal["pixels", "latents"]
"""Whether payloads are of pixels, or of latents that compare between tiles."""
READING = 1
"""Version of how pixels are read and merged; another one where the same files give other numbers."""
_BLOCK = 32
"""Tiles of the side of a group."""


def keys_of(
    whole: WholeTiles, common: Mapping[str, Any], windows: Sequence[tuple[int, ...]],
    of_windows: Sequence[Mapping[str, Any]] | None = None,
) -> dict[Place, Key | None]:  # fmt: skip
    """Keys by window of dates, row and column; None where an item does not say what it is.

    Parameters
    ----------
    common
        All that decides what becomes of tiles, but the tile and its items: `document`.
    of_windows
        What decides it for each window besides.
    """
    prefix = digest_of(common)[:16]
    keys: dict[Place, Key | None] = {}
    for place in np.ndindex(len(windows), whole.window.nj, whole.window.ni):
        w, row, column = place
        scenes = [_digests(whole, (t, row, column)) for t in windows[w]]
        if any(None in date for date in scenes):
            keys[place] = None
            continue
        i, j = whole.window.i0 + column, whole.window.j0 + row
        group = f"{prefix}/{j // _BLOCK}.{i // _BLOCK}/{_month(whole, windows[w][0])}"
        own = {} if of_windows is None else of_windows[w]
        keys[place] = Key.of({"of": common, "tile": [i, j], "items": scenes, **own}, group)
    return keys


def document(whole: WholeTiles, coding: Coding, kind: Kind) -> dict[str, Any]:
    """All that decides the payloads of a cube's tiles, but the tile and its items."""
    form = coding.form
    return {
        "reading": READING,
        "bitstream": VERSION,
        "kind": kind,
        "codec": _codec(coding.spec),
        "others": [_codec(other) for other in coding.others],
        "free": coding.free,
        "rate": coding.asked.document(),
        "bands": form.bands,
        "dtype": form.dtype.name,
        "ratio": repr(form.ratio),
        "nodata": repr(form.nodata),
        "card_nodata": repr(coding.nodata),
        "reference": coding.reference.name,
        "to_guard": repr(coding.to_guard),
        # earlier versions kept no bound for tiles that the guard cannot judge
        **({"unjudged": "bounded"} if coding.asked.flagged is not None else {}),
        "grid": grid_document(whole.grid),
    }


def grid_document(grid: TileGrid) -> dict[str, Any]:
    """Where a grid's tiles lie."""
    return {
        "crs": grid.crs,
        "resolution": [f"{grid.res_x:.10g}", f"{grid.res_y:.10g}"],
        "phase": [f"{grid.phase_x / grid.res_x:.4f}", f"{grid.phase_y / grid.res_y:.4f}"],
        "tile": grid.tile,
    }


def _codec(spec: CodecSpec) -> list[str | None]:
    return [spec.codec_id, registry.get_card(spec.codec_id).version, spec.weights_sha256]


def _digests(whole: WholeTiles, place: Place) -> list[str | None]:
    """An item's digest, each of a tile's items; None for one that does not say what it is."""
    return [
        None if None in scene.digests else digest_of(scene.digests)
        for _, scene in whole.scenes_of(place)
    ]


def _month(whole: WholeTiles, date: int) -> str:
    """Year and month of a date, for grouping."""
    label = whole.scenes.times[date]
    return str(label)[:7] if isinstance(label, np.datetime64) else "undated"
