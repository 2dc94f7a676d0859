"""The demonstration: a synthetic scene, process graphs on it, and a report with pictures."""
