"""The folder that nnUNet_extTrainer points at. It holds one module: nnU-Net imports every module it finds here."""
