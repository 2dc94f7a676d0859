"""A model package for cube tests, found through its entry point as any other distribution's."""
