"""Packaged testbeds."""
