"""The bytes of one entry of the tile store: what it is of, its payloads, and a digest of both.

    NCT1 | length of header u32 | header (JSON) | body ... body | SHA-256 of all before it

Payloads of dates that were coded together differ in leading zeros only, so their body is there
once. The header names the key in full: an entry proves what it is of wherever it is found.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openeo_nc.codecs.payloads import split
from openeo_nc.errors import PayloadError

MAGIC = b"NCT1"
_HEAD = struct.Struct("<4sI")
_DIGEST = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """A tile, or the dates of one that are coded together, as it was coded first."""

    key: Mapping[str, Any]
    """Document that its name is the digest of."""
    payloads: tuple[bytes, ...]
    """Payload of each date."""
    notes: tuple[Mapping[str, Any], ...]
    """What is known of each date beside its payload, as JSON has it: `error`, `shift`."""

    def to_bytes(self) -> bytes:
        """As it is stored."""
        bodies: list[bytes] = []
        dates = []
        for payload in self.payloads:
            zeros, body = split(payload)
            if body not in bodies:
                bodies.append(body)
            dates.append([zeros, bodies.index(body)])
        header = json.dumps(
            {
                "key": self.key,
                "bodies": [len(body) for body in bodies],
                "dates": dates,
                "notes": self.notes,
            },
            separators=(",", ":"),
        ).encode()
        data = b"".join([_HEAD.pack(MAGIC, len(header)), header, *bodies])
        return data + hashlib.sha256(data).digest()

    @classmethod
    def from_bytes(cls, data: bytes) -> Entry:
        """Inverse of `to_bytes`.

        Raises
        ------
        PayloadError
            The bytes are not those that were written.
        """
        inner, digest = data[:-_DIGEST], data[-_DIGEST:]
        if len(data) < _HEAD.size + _DIGEST or hashlib.sha256(inner).digest() != digest:
            raise PayloadError("The entry of the tile store is damaged: its digest is another.")
        magic, length = _HEAD.unpack_from(inner)
        if magic != MAGIC:
            raise PayloadError(f"The entry begins with {magic!r}, not {MAGIC!r}.")
        header = json.loads(inner[_HEAD.size : _HEAD.size + length])
        bodies, offset = [], _HEAD.size + length
        for size in header["bodies"]:
            bodies.append(inner[offset : offset + size])
            offset += size
        return cls(
            key=header["key"],
            payloads=tuple(bytes(zeros) + bodies[body] for zeros, body in header["dates"]),
            notes=tuple(header["notes"]),
        )


def digest_of(document: Any) -> str:
    """SHA-256 of a JSON value, in hexadecimal digits."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
