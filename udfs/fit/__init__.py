"""Fits the models of `udfs/` to labelled places, measures them on places left out, writes their cards."""
