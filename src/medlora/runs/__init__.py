"""Whole jobs, composed from the parts below: train a task, score it, predict with it."""
