"""Training inside nnU-Net: the trainers, their losses and what they train on."""
