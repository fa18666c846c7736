"""Images and a finished run for the tests here."""

from run_samples import images, own_cache, trained

__all__ = ["images", "own_cache", "trained"]
