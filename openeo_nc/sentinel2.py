"""The bands of Sentinel-2 L2A, their pixel sizes and wavelengths: one table, imports nothing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
"""The order in which codecs take them."""
RESOLUTION: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("B02", "B03", "B04", "B08"), 10),
        **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 20),
        **dict.fromkeys(("B01", "B09"), 60),
    }
)
"""Pixel size of each band in m."""
WAVELENGTH: Mapping[str, float] = MappingProxyType(
    dict(zip(BANDS, (443, 493, 560, 665, 704, 741, 783, 833, 865, 945, 1614, 2202), strict=True))
)
"""Centre of each band in nm."""
