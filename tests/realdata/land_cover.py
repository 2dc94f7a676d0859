"""Three places with land cover as STAC, for the example of docs/example-land-cover.md.

    PYTHONPATH=tests python -m realdata.land_cover FOLDER

writes into FOLDER what a server takes as OPENEO_NC_CATALOGUES=FOLDER/catalog.json: the collections
`terramind` (Sentinel-2 L2A, one file a band) and `landcover` (a class a pixel).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import stac_scenes as scenes
from realdata import catalogues

LABELS = "labels/majortom_lulc"


def build(shared_data, folder):
    """Write the collections below `folder`; path of the root catalogue."""
    shared_data, folder = Path(shared_data), Path(folder)
    root = catalogues.build(shared_data, folder)
    items = []
    for path in sorted((shared_data / LABELS).glob("*.tif")):
        crs, res, left, top, shape, _ = catalogues._place(path)
        asset = scenes.asset(path, res, left, top, shape, scale=None)
        asset["raster:bands"] = [{"nodata": 0, "data_type": "uint8"}]
        asset["eo:bands"] = [{"name": "lulc"}]
        when = catalogues.UNDATED
        items.append(scenes.item(path.stem, when, {"lulc": asset}, crs, style="epsg"))
    scenes.write_collection(folder / "landcover", items, "landcover")
    document = json.loads(root.read_text())
    document["links"].append({"rel": "child", "href": "./landcover/collection.json"})
    root.write_text(json.dumps(document))
    return root


if __name__ == "__main__":
    shared = Path(__file__).resolve().parents[3] / "shared" / "data"
    build(shared, Path(sys.argv[1]))
