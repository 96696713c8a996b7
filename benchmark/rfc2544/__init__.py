"""The tests of RFC 2544, each asking `measure` for trials."""
