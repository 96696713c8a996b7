"""Where the frames of a trial went, and what was saturated, told from the samples that were taken beside it."""
