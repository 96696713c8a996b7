"""Results in, text or bytes out."""
