"""Measurements: each script prints a table and writes one JSON file; none is a test."""
