"""Comparisons that a paper reports, repeated with one command each."""
