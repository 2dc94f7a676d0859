"""Write the golden streams: payloads that every later release must decode to the same integers.

    python tests/golden/make.py             adds what is missing
    python tests/golden/make.py CODEC_ID    also replaces those of one codec, after its weights
                                            changed before they were ever released

Each payload of a codec, `<codec>--<case>.bin`, has an entry in golden.json (hash of the weights, and
of the latents if the codec has any) and its pixels in `<codec>--<case>.npz`. `entropy.npz` and `container.bin`
depend on no codec and are never replaced.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

from tiles import dtypes, tile, usual

from openeo_nc.codecs import bitstream, entropy, payloads
from openeo_nc.codecs.base import Codec, LatentCodec, Latents
from openeo_nc.codecs.dates import encode_dates
from openeo_nc.codecs.rate import Rate
from openeo_nc.codecs.registry import list_codecs, open_codec


def latents_sha256(latents: Latents) -> str:
    """Hash of everything that a payload guarantees."""
    parts = [
        np.ascontiguousarray(latents.y, "<i4").tobytes(),
        repr((latents.y.shape, latents.quality, latents.shape, latents.dtype.name)).encode(),
        repr((latents.basis, latents.nodata)).encode(),
        latents.side,
        b"" if latents.mask is None else np.packbits(latents.mask).tobytes(),
    ]
    if latents.residual is not None:
        parts += [latents.residual.steps.tobytes(), latents.residual.values.tobytes()]
    return hashlib.sha256(b"|".join(parts)).hexdigest()


def cases(codec: Codec):
    """(name, tile, options of encode) of each payload of a codec."""
    card = codec.card
    exact = usual(card)
    low, high, _ = card.quality
    hole = tile(card, 20, 27, exact, seed=1, noise=300)
    hole[:, 5:11, 8:] = 0
    yield "default", tile(card, 32, 24, exact, noise=300), {}
    yield "low", tile(card, 17, 30, exact, seed=2, noise=300), {"quality": low}
    yield "high", tile(card, 16, 16, exact, seed=3, noise=300), {"quality": high}
    yield "nodata", hole, {"nodata": 0}
    yield "empty", np.zeros_like(hole), {"nodata": 0}
    if card.embedding:
        yield "card-basis", tile(card, 24, 24, exact, seed=4, noise=300), {"basis": "card"}
    for dtype in dtypes(card, "f")[:1]:
        holes = tile(card, 19, 21, dtype, seed=5, noise=300)
        holes[:, 3:6, 3:6] = np.nan
        yield "float", holes, {}
        yield "float-bounded", holes, {"max_error": [2.5] * len(holes)}
    bounds = [3, 0, *range(len(hole) - 2)]
    yield "bounded", hole, {"max_error": bounds, "nodata": 0}
    if codec.joins_dates:
        dates = [hole, np.where(hole == 0, 0, hole + 90).astype(exact)]
        dates[1][:, :3] = 0
        yield "dates", dates, {"nodata": 0}
        yield "dates-bounded", dates, {"max_error": bounds, "nodata": 0}


def encoded(codec: Codec, x, options) -> bytes:
    """The payload of a tile, or the one that several dates of it share."""
    if not isinstance(x, list):
        return (codec.encode_bounded if "max_error" in options else codec.encode)(x, **options)
    rate = Rate.of(max_error=options.get("max_error"), bands=len(x[0]))
    bodies = {
        payloads.split(payload)[1]
        for payload in encode_dates(codec, x, [rate] * len(x), nodata=options["nodata"])
    }
    (payload,) = bodies  # else they were better coded alone
    return payload


def write_codecs(replaced: set[str]) -> None:
    """Payloads, pixels and the list of them."""
    path = FOLDER / "golden.json"
    listed = json.loads(path.read_text()) if path.is_file() else {}
    for card in list_codecs():
        codec = open_codec(card.codec_id, device="cpu")
        for case, x, options in cases(codec):
            name = f"{card.codec_id}--{case}"
            if name in listed and card.codec_id not in replaced:
                continue
            payload = encoded(codec, x, options)
            (FOLDER / f"{name}.bin").write_bytes(payload)
            np.savez_compressed(FOLDER / f"{name}.npz", pixels=codec.decode(payload))
            listed[name] = {
                "codec": card.codec_id,
                "weights_sha256": card.weights_sha256,
            }
            if isinstance(codec, LatentCodec):
                latents = codec.unpack(payload)
                listed[name]["latents_sha256"] = latents_sha256(latents)
                if latents.dates > 1:
                    listed[name]["dates"] = latents.dates
    path.write_text(json.dumps(dict(sorted(listed.items())), indent=2) + "\n")


def write_entropy(path: Path) -> None:
    """A stream with its tables, indexes and symbols, escapes of every length among them."""
    rng = np.random.default_rng(11)
    scales = np.exp(np.linspace(-3, 3, 12))[:, None]
    pmf = np.exp(-np.abs(np.arange(-20, 21)) / scales)
    tables = entropy.Tables.from_pmf(pmf / pmf.sum(1, keepdims=True) * 0.999, [-20] * 12)
    index = rng.integers(0, 12, 3000).astype(np.uint8)
    symbols = np.rint(rng.laplace(size=3000) * scales[index, 0]).astype(np.int32)
    symbols[::50] = (2.0 ** rng.uniform(4, 31, 60) * rng.choice([-1, 1], 60)).astype(np.int32)
    stream = np.frombuffer(entropy.encode(symbols, index, tables), np.uint8)
    np.savez_compressed(
        path, freq=tables.freq, offset=tables.offset, index=index, symbols=symbols, stream=stream
    )


def write_container(path: Path) -> None:
    """A payload around sections that mean nothing; test_golden.py states what is in it."""
    header = bitstream.Header(
        tag=b"golden!!",
        quality=5.25,
        shape=(2, 3, 5),
        dtype=np.dtype("uint16"),
        basis="card",
        nodata=65535.0,
        masked=True,
    )
    mask = np.arange(30).reshape(2, 3, 5) % 4 == 0
    sections = [b"side", bitstream.encode_mask(mask), b""]
    digest = bitstream.content_digest(header, np.arange(6, dtype=np.int32), mask, b"side", None)
    path.write_bytes(bitstream.write(header, sections, digest))


if __name__ == "__main__":
    for name, write in (("entropy.npz", write_entropy), ("container.bin", write_container)):
        if not (FOLDER / name).exists():
            write(FOLDER / name)
    write_codecs(set(sys.argv[1:]))
