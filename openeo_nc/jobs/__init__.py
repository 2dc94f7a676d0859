"""Batch jobs: their table, who runs them, and what is left of them when things break."""
