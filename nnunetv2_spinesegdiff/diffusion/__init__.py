"""The diffusion process as pure functions over tensors: no network, no files, no nnU-Net."""
