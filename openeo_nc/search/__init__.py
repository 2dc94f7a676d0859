"""Search of embeddings: nearest vectors of lazy cubes, and of indexes on disk."""
