"""Frozen timm models: which layers to adapt, where their weights come from, which they are."""
