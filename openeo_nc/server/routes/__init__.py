"""The routes of the API, one module a noun; each has a `router`."""
