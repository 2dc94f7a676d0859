"""The openEO API over HTTP; only here is FastAPI."""
