"""A map of tiles as inline SVG: one rectangle a tile, coloured by a number."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np

from openeo_nc.report.pictures import heat

_WIDTH = 420
_LARGEST, _SMALLEST = 84, 6
_LABELLED = 40
"""Side in pixels from which a tile has its number written on it."""


def tile_map(
    values: Mapping[tuple[int, int], float | None], limits: tuple[float, float], form: str
) -> str:
    """SVG of tiles by row and column.

    Parameters
    ----------
    values
        A number a tile; None where it has none, drawn as an outline.
    limits
        Numbers of the darkest and the lightest colour, in this order.
    form
        Format of a number, e.g. `{:.1f}`.
    """
    rows, columns = (1 + max(place[axis] for place in values) for axis in (0, 1))
    side = min(max(_WIDTH // columns, _SMALLEST), _LARGEST)
    cells = "".join(
        _cell(row, column, side, value, limits, form) for (row, column), value in values.items()
    )
    return (
        f'<svg class="map" viewBox="0 0 {columns * side} {rows * side}" width="{columns * side}" '
        f'height="{rows * side}" role="img" aria-label="Map of tiles">{cells}</svg>'
    )


def _cell(
    row: int, column: int, side: int, value: float | None, limits: tuple[float, float], form: str
) -> str:
    text = "none" if value is None else form.format(value)
    title = f"<title>row {row}, column {column}: {escape(text)}</title>"
    box = f'x="{column * side}" y="{row * side}" width="{side}" height="{side}"'
    if value is None:
        return f'<rect class="none" {box}>{title}</rect>'
    dark, light = limits
    share = (value - dark) / (light - dark) if light != dark else 0.5
    red, green, blue = heat(np.array(share)) * 255
    ink = "#fff" if 0.3 * red + 0.6 * green + 0.1 * blue < 140 else "#111"
    label = ""
    if side >= _LABELLED:
        label = (
            f'<text x="{(column + 0.5) * side}" y="{(row + 0.5) * side}" fill="{ink}">'
            f"{escape(text)}</text>"
        )
    return f'<rect {box} fill="rgb({red:.0f} {green:.0f} {blue:.0f})">{title}</rect>{label}'
