"""The fake embedding models of `fake_site/`, found as models of another distribution are."""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager

import fakes


@contextmanager
def models_installed():
    """Within it, the `fake-*` models are registered; gives the module that counts their calls."""
    sys.path.insert(0, str(fakes.SITE))
    _forget()
    try:
        module = importlib.import_module("toy_models.surroundings")
        module.calls.clear()
        module.seen.clear()
        yield module
    finally:
        sys.path.remove(str(fakes.SITE))
        _forget()


def _forget():
    from openeo_nc.codecs import packages
    from openeo_nc.inference import embedding
    from openeo_nc.models import registry

    importlib.invalidate_caches()
    packages.packages.cache_clear()
    registry._cards.cache_clear()
    registry._opened.clear()
    embedding._open.cache_clear()
