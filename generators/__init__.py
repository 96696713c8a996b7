"""Traffic generators, one interface."""
