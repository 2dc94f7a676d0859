"""`python -m openeo_nc.cli`."""

from openeo_nc.cli import main

main()
