"""What is kept of a training run: the card that describes a task, and the file that holds it."""
