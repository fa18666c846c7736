"""Many tasks on one frozen backbone, in memory at once and in one batch."""
