"""The dual-encoder denoiser and the module that puts it behind stage 1. Knows torch, not nnU-Net."""
