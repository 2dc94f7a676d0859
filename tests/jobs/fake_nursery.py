"""A nursery that is ready at once, and whose runners only wait, or end with their token as status.

It writes a stray line before it serves, and so does each runner.
"""

from __future__ import annotations

import os
import sys
import time
import types

sys.modules["openeo_nc.graphs.warm"] = types.ModuleType("openeo_nc.graphs.warm")

from openeo_nc.jobs import nursery


def run(orders, job_id, token):
    sys.stdout.write("a library says hello\n")
    sys.stdout.flush()
    if job_id == "waits":
        time.sleep(120)
    return token


nursery.runner.run = run
sys.stdout.write("a library says hello\n")
sys.stdout.flush()
nursery.serve()
os._exit(0)
