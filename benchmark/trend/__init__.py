"""A metric over many runs: where it changed, by how much, and between which two runs."""
