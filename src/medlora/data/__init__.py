"""Files to a table of labelled images, and from there to batches."""
