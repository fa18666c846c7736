"""MedLoRA: medical image diagnoses as small adapters on one frozen backbone."""

__version__ = "0.1.0"
