"""Arrays with labels: a DataArray with the one dimension `labels`, its values of any type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from openeo_nc.processes.standard._values import LABELS, is_labelled


def labels_of(data: Any) -> list[Any] | None:
    """Labels of a labelled array; None of any other."""
    return data[LABELS].values.tolist() if is_labelled(data) else None


def with_labels(values: Sequence[Any], labels: Sequence[Any]) -> xr.DataArray:
    """Values and labels as one array; each keeps its type."""
    return xr.DataArray(_objects(values), dims=[LABELS], coords={LABELS: _objects(labels)})


def position(labels: Sequence[Any], label: Any) -> int | None:
    """Where a label stands, strict about its type; labels that are times also by ISO 8601 text."""
    times = np.asarray(labels)
    if times.dtype.kind == "M" and isinstance(label, str):
        moment = pd.Timestamp(label)
        naive = moment if moment.tz is None else moment.tz_convert(None)
        found = np.flatnonzero(times == naive.to_datetime64())
        return int(found[0]) if len(found) else None
    for i, one in enumerate(labels):
        if one == label and isinstance(one, str) == isinstance(label, str):
            return i
    return None


def _objects(values: Sequence[Any]) -> Any:
    array = np.empty(len(values), object)
    for i, value in enumerate(values):  # a slice would take lists apart
        array[i] = value
    return array
