"""Training: one loop for adapters, linear probes and full fine-tuning."""
