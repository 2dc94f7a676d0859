"""Runs code of users on chunks of cubes, in a process that can do nothing else.

cubes.apply -> pool: one sandbox a worker and session -> frames over pipes -> guest -> user's code
(lazy, Dask)         (started on first use, ended idle)                    (confine: no way out)
"""
