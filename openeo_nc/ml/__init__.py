"""Learning on cubes: models that are fitted out of core, predict lazily, and are kept safely."""
