"""Two sets of runs side by side: what improved, what regressed, what is within noise, and what else differed."""
