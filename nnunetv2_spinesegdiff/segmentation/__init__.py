"""From a scan to its segmentation, in the scan's own space."""
