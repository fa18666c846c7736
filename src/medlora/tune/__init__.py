"""The search for settings: which are tried, how each is scored, and which was best."""
