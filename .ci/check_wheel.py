"""Run by .ci/wheel with the installed wheel: `write STORE`, then in a fresh process `read STORE`."""

import re
import sys
from pathlib import Path


def tile():
    """`(bands, y, x)` uint16, smooth with some noise; the same in both processes."""
    import numpy as np

    rng = np.random.default_rng(5)
    y, x = np.mgrid[:150, :130]
    base = 2000 + 800 * np.sin(y / 30) * np.cos(x / 25)
    bands = base * np.array([0.6, 0.8, 1.3])[:, None, None]
    return np.clip(bands + rng.normal(0, 20, (3, 150, 130)), 1, 60000).astype("uint16")


def axes():
    """Labels of the tile's bands and the centres of its pixels."""
    import numpy as np

    return {
        "bands": ["B02", "B03", "B08"],
        "y": 5_000_000 - 10 * np.arange(150) - 5.0,
        "x": 500_000 + 10 * np.arange(130) + 5.0,
    }


def write(store: Path) -> None:
    import numpy as np
    import rioxarray  # noqa: F401  registers .rio
    import xarray as xr

    import openeo_nc
    from openeo_nc import resources
    from openeo_nc.cubes.store import write_store

    package = Path(openeo_nc.__file__).resolve().parent
    assert Path(sys.prefix).resolve() in package.parents, f"not the wheel: {package}"
    for folder in (resources.process_definitions(), resources.udfs()):
        assert package in folder.parents, f"not in the wheel: {folder}"
    assert list(resources.process_definitions().glob("*.json"))
    check_page(package / "server" / "static")

    x = tile()
    codec = openeo_nc.open_codec("auto", bands=["B02", "B03", "B08"])
    payload = codec.encode(x)
    y = codec.decode(payload)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert len(payload) < x.nbytes / 4
    assert np.sqrt(np.mean((y.astype(float) - x) ** 2)) < 200

    cube = xr.DataArray(
        x[None],
        dims=("t", "bands", "y", "x"),
        coords={"t": np.array(["2024-05-12"], dtype="datetime64[ns]"), **axes()},
    ).rio.write_crs("EPSG:32631")
    lazy = openeo_nc.compress_cube(cube.chunk({"y": 64, "x": 64}))
    write_store(lazy, store)
    print(f"one tile: {x.nbytes} bytes to {len(payload)}")


def check_page(static: Path) -> None:
    """Wheels built after `make page` have the page, with all that it names."""
    if not (static / "index.html").is_file():
        print("no page in the wheel: `make page` was not run before it was built")
        return
    index = (static / "index.html").read_text(encoding="utf-8")
    named = re.findall(r'(?:src|href)="\./([^"]+)"', index)
    assert any(name.endswith(".js") for name in named), index
    missing = [name for name in named if not (static / name).is_file()]
    assert not missing, f"not in the wheel: {missing}"
    print(f"the page is in the wheel, {sum(1 for _ in static.rglob('*.*'))} files")


def read(store: Path) -> None:
    import numpy as np
    import xarray as xr

    with xr.open_zarr(store) as dataset:
        loaded = [
            name for name in sys.modules if name == "torch" or name.startswith("openeo_nc.cubes")
        ]
        assert not loaded, f"opening a store loaded {loaded}"
        found = dataset["data"].isel(t=0).sel(axes()).compute()
    error = np.sqrt(np.mean((found.values.astype(float) - tile()) ** 2))
    assert error < 200, f"the store's pixels are {error} from those that were written"
    print(f"read {dict(found.sizes)} from {store.name}, error {error:.1f}")


if __name__ == "__main__":
    command, folder = sys.argv[1:]
    {"write": write, "read": read}[command](Path(folder))
