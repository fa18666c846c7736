"""How good the answers are: measures, their intervals, curves, calibration, thresholds.

Plain numpy, so that scoring needs neither torch nor the images. `score.score` is the entry:
probabilities and diagnoses in, an `Evaluation` with an interval on every number out.
"""
