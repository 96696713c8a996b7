"""Packaged profiles and testbeds."""
