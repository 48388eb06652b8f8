"""Heights, widths and signals of a segmented sagittal slice: pure functions over arrays."""
