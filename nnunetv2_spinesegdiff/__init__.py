"""SpineSegDiff for nnU-Net v2: diffusion refinement and uncertainty for lumbar spine MR segmentation."""

__version__ = "0.1.0"
