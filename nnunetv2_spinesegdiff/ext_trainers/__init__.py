"""The folder that nnUNet_extTrainer points at. One module: nnU-Net imports every module it finds here."""
