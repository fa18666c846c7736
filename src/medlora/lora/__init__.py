"""Low-rank updates of frozen layers: the algebra alone, which knows no model family."""
