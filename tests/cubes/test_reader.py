"""Reading from a host that does not answer; pixels are tested where cubes are loaded (test_stac)."""

from __future__ import annotations

import pytest
from rasterio.windows import Window
from silent_host import silent
from stackstac.raster_spec import RasterSpec

from openeo_nc.cubes import reader
from openeo_nc.cubes.assets import Asset
from openeo_nc.errors import AssetMissingError


def test_a_silent_host_ends_in_a_typed_error(monkeypatch):
    monkeypatch.setitem(reader._GDAL, "GDAL_HTTP_LOW_SPEED_TIME", "1")
    spec = RasterSpec(epsg=32631, bounds=(0.0, 0.0, 80.0, 80.0), resolutions_xy=(10.0, 10.0))
    with silent() as (host, port):
        asset = Asset(
            item="one", key="B04", href=f"http://{host}:{port}/b04.tif", band=1, crs=None,
            transform=None, bounds=None, scale=1.0, offset=0.0, scaled=False, nodata=None,
            classes=False,
        )  # fmt: skip
        source = reader.Source(asset=asset, crs="EPSG:32631", resampling="nearest")
        with pytest.raises(AssetMissingError, match="'B04' of item 'one'"):
            reader.BandReader(url=source, spec=spec).read(Window(0, 0, 8, 8))
