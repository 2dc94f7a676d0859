"""The numbers that nobody can count: energy of transfers and of processors, prices. One place, cited.

They are assumptions, not measurements: each can be replaced on the command line of `openeo-nc cost`,
and whatever shows a number that comes from them shows them too.
"""

from __future__ import annotations

from dataclasses import dataclass

JOULES = 3.6e6
"""Joules of a kWh."""


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """Energy and prices."""

    transfer_kwh_per_gb: float = 0.01
    """kWh to move a gigabyte (10^9 bytes) through the internet.

    Aslan, Mayers, Koomey, France: Electricity Intensity of Internet Data Transmission, Journal of
    Industrial Ecology 22 (2018): 0.06 kWh/GB in 2015, halving every two years, so about 0.01 in 2020.
    """
    egress_usd_per_gb: float = 0.02
    """USD for a gigabyte out of a cloud.

    The large clouds' price between regions, and about that of their bulk contracts; their list price
    to the internet is 0.05 to 0.09 (AWS EC2 and S3 data transfer pricing, 2024).
    """
    core_watts: float = 5.0
    """Watts of one busy core with its share of memory and board.

    An AMD EPYC 7763 has 64 cores and 280 W (its data sheet), which is 4.4 W a core, and memory.
    """
    gpu_watts: float = 400.0
    """Watts of one busy GPU: the thermal design power of an NVIDIA A100 SXM (its data sheet)."""
    pue: float = 1.0
    """Energy of the data centre by that of its computers.

    1.0 counts the computers alone, as the table does that `openeo-nc cost` reproduces; the mean of
    data centres was 1.58 in 2023 (Uptime Institute, Global Data Center Survey).
    """

    def compute_kwh(self, *, cpu_seconds: float = 0.0, gpu_seconds: float = 0.0) -> float:
        """Energy of computing."""
        joules = cpu_seconds * self.core_watts + gpu_seconds * self.gpu_watts
        return joules * self.pue / JOULES

    def transfer_kwh(self, size: float) -> float:
        """Energy of moving so many bytes."""
        return size / 1e9 * self.transfer_kwh_per_gb

    def egress_usd(self, size: float) -> float:
        """Price of moving so many bytes out of a cloud."""
        return size / 1e9 * self.egress_usd_per_gb

    def compute_text(self) -> str:
        """What energy of computing is made of."""
        return f"{self.core_watts:g} W a core, {self.gpu_watts:g} W a GPU, PUE {self.pue:g}"

    def transfer_text(self) -> str:
        """What energy and price of a transfer are made of."""
        return f"{self.transfer_kwh_per_gb:g} kWh/GB, {self.egress_usd_per_gb:g} USD/GB"
