"""Which dates may be coded together: those of one window of the calendar.

        days since 1970-01-01:  | window 0 | window 1 | ...          each `days` long

Windows do not move with what is asked for: whoever asks for all dates of a window gets the payloads
that the archive has, whatever else was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.errors import InvalidParameterError

MOST = 32
"""Dates that one task encodes; a window of more is cut, from its first date on."""


def windows(times: Sequence[Any] | None, count: int, days: int) -> tuple[tuple[int, ...], ...]:
    """Positions along t of the dates of each window, by time; equal labels by position.

    Parameters
    ----------
    times
        Labels of t in any order, None if it has none.
    count
        Length of t.
    days
        Length of a window.

    Raises
    ------
    InvalidParameterError
        There are several dates, and their labels are no times.
    """
    if count == 1:
        return ((0,),)
    labels = _times(times)
    found: dict[int, list[int]] = {}
    alone = []
    for position in np.argsort(labels, kind="stable").tolist():
        if np.isnat(labels[position]):
            alone.append((position,))
            continue
        day = int(labels[position].astype("datetime64[D]").astype(np.int64))
        found.setdefault(day // days, []).append(position)
    cut = (tuple(w[i : i + MOST]) for w in found.values() for i in range(0, len(w), MOST))
    return (*cut, *alone)


def _times(times: Sequence[Any] | None) -> npt.NDArray[np.datetime64]:
    if times is not None:
        labels = np.asarray(times)
        if labels.dtype.kind == "M":
            return labels
        if labels.dtype.kind in "OUS":
            try:
                return labels.astype("datetime64[us]")
            except (ValueError, TypeError) as error:
                raise _refusal(labels) from error
    raise _refusal(times)


def _refusal(times: object) -> InvalidParameterError:
    given = "there are none" if times is None else f"given {np.asarray(times)[:3]!r}"
    return InvalidParameterError(
        f"Coding dates together needs labels of t that are times; {given}. Leave out the option "
        "'dates' to code each date alone."
    )
