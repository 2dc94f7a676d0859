"""Neural compression of Earth-observation data cubes as openEO processes on Dask.

Names are imported when they are first used, so that `import openeo_nc` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openeo_nc.codecs.registry import list_codecs, open_codec
    from openeo_nc.cubes.compress import compress_cube
    from openeo_nc.cubes.decode import decode_cube
    from openeo_nc.cubes.encode import encode_cube
    from openeo_nc.cubes.quality import compression_quality
    from openeo_nc.graphs.registry import register

__all__ = [
    "compress_cube",
    "compression_quality",
    "decode_cube",
    "encode_cube",
    "list_codecs",
    "open_codec",
    "register",
]

_MODULES = {
    "compress_cube": "openeo_nc.cubes.compress",
    "compression_quality": "openeo_nc.cubes.quality",
    "decode_cube": "openeo_nc.cubes.decode",
    "encode_cube": "openeo_nc.cubes.encode",
    "list_codecs": "openeo_nc.codecs.registry",
    "open_codec": "openeo_nc.codecs.registry",
    "register": "openeo_nc.graphs.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'openeo_nc' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
