"""How methods differ on the same images: differences with intervals, tests, and a verdict."""
