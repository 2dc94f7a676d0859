"""Another attempt at saving embeddings takes what an earlier one wrote and computes the rest."""

from __future__ import annotations

import dask
import embedding_cubes
import numpy as np
import pytest
import xarray as xr

from openeo_nc.cubes.embedding_reading import load_vectors
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.processes.save_result import save_result


class Attempt:
    """A ledger in memory that fails its first attempt after some objects."""

    def __init__(self, stop):
        self.rows, self.stop, self.kept = {}, stop, 0

    def written(self, output, fingerprint):
        found = {k: w for k, w in self.rows.items() if w.fingerprint == fingerprint}
        return {key: w for key, w in found.items() if w.output == output and w.path()}

    def compute(self, plans, objects):
        with dask.config.set(scheduler="synchronous"):  # here, where the test counts
            return self._computed(plans, objects)

    def _computed(self, plans, objects):
        if self.stop is not None:
            self.rows |= {w.key: w for w in dask.compute(*objects[: self.stop])}
            raise InterruptedError("the attempt ends here")
        written, saved = dask.compute(objects, plans)
        self.kept = sum(w.kept for w in written)
        return saved


@pytest.mark.parametrize(("form", "stop"), [("ZARR", 3), ("PARQUET", 1), ("GTIFF", 3)])
def test_what_is_there_is_kept(tmp_path, form, stop):
    asked = []

    def touch(block):
        asked.append(1)
        return block

    cube = embedding_cubes.cube("int8")
    counted = cube.copy(
        data=cube.data.map_blocks(touch, dtype=cube.dtype, meta=np.empty((0,) * 4, np.float32))
    )
    ledger = Attempt(stop)
    with pytest.raises(InterruptedError), output_folder(tmp_path / "1", ledger=ledger):
        save_result(counted, form)
    first = len(asked)
    ledger.stop = None
    with output_folder(tmp_path / "2", ledger=ledger) as outputs:
        save_result(counted, form)
    assert ledger.kept == stop
    assert len(asked) - first < first
    name = {"ZARR": "result.zarr", "PARQUET": "result.parquet"}.get(form, "result-collection.json")
    again = load_vectors(str(tmp_path / "2" / name)).transpose(*cube.dims)
    xr.testing.assert_equal(again.drop_attrs(), cube.drop_attrs())
    assert outputs.saved[0].bytes > 0
