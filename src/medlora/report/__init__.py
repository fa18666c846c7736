"""The report of a training run: one HTML page that reads well on screen and on paper."""
