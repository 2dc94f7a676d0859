"""Draws what a year of an archive takes: energy and money of moving it as it is, and compressed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openeo_nc.economics.archive_cost import Row


def draw(rows: Sequence[Row], whole: tuple[float, float], path: Path) -> None:
    """Write a PNG, one bar for the data as they are and one for each coder whose ratio is known.

    Parameters
    ----------
    whole
        kWh and USD of moving the data as they are.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    known = [row for row in rows if row.coder.ratio is not None]
    names = ["as it is", *(row.coder.name for row in known)]
    moved = [whole[0] / 1e6, *(row.transfer_kwh / 1e6 for row in known)]
    coded = [0.0, *(row.coding_kwh / 1e6 for row in known)]
    money = [whole[1] / 1e6, *(row.egress_usd / 1e6 for row in known)]
    figure, (energy, price) = plt.subplots(1, 2, figsize=(10, 1.5 + 0.5 * len(names)), sharey=True)
    energy.barh(names, moved, color="#2a6f97", label="to move it")
    energy.barh(names, coded, left=moved, color="#e07a5f", label="to compress it")
    energy.set_xlabel("GWh a year")
    energy.legend()
    energy.invert_yaxis()
    price.barh(names, money, color="#81b29a")
    price.set_xlabel("million USD a year for downloads")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
