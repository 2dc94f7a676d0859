"""What PSNR and qualities of a tile refer to, and when its values are clipped to it.

The peak is the card's, else that of the dtype (10000 of 16-bit integers, 255 of 8-bit ones), else the
range of the valid values. Reflectance is clipped to 0..peak, original and reconstruction alike: what a
decoder puts outside, nobody takes for a reflectance. That holds while all valid values of the original
lie in 0..peak. Where one does not, the numbers are something else, or bright enough to count, and
nothing is clipped; the peak stays, so that a PSNR stands for the same error everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openeo_nc.codecs.klt_dct_side import fixed_peak

if TYPE_CHECKING:
    import numpy as np

    from openeo_nc.codecs.base import CodecCard


def peak_of(card: CodecCard | None, dtype: np.dtype[Any]) -> float | None:
    """The peak of a card's numbers in a dtype; None where each tile's range is taken."""
    return (card.peak if card is not None else None) or fixed_peak(dtype)


def clips(lowest: Any, highest: Any, peak: float) -> Any:
    """Whether a tile is clipped to 0..peak, by the limits of its valid values.

    Limits may be numbers or arrays of any kind, which give arrays.
    """
    return (lowest >= 0) & (highest <= peak)
