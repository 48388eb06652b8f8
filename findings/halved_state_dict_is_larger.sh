#!/usr/bin/env bash
# dynamic-network-architectures 0.4.4 registers the same modules under several names (a block's layers also as
# `all_modules`, the encoder also inside the decoder). torch.save stores shared memory once, so a float32 state_dict
# has the size of its distinct parameters. Converting it entry by entry to float16 breaks the sharing: the file of
# half precision becomes larger than the one of full precision, and an exporter that "halves" an nnU-Net checkpoint
# this way ships a larger file.
#
# Seen with torch 2.13.0 on Linux, Python 3.11, for a 2D U-Net of 7 stages:
#   parameters 2097624, entries of the state_dict 5793264
#   float32 8.5 MB, float16 11.6 MB
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 dynamic-network-architectures==0.4.4 numpy==2.4.6
"$work/venv/bin/python" - "$work" <<'PY'
import os
import sys

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn

network = PlainConvUNet(
    input_channels=1, n_stages=7, features_per_stage=[8, 16, 32, 64, 128, 128, 128], conv_op=nn.Conv2d,
    kernel_sizes=[[3, 3]] * 7, strides=[[1, 1]] + [[2, 2]] * 6, n_conv_per_stage=[2] * 7, num_classes=4,
    n_conv_per_stage_decoder=[2] * 6, conv_bias=True, norm_op=nn.InstanceNorm2d,
    norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True},
    deep_supervision=True,
)
weights = network.state_dict()
parameters = sum(p.numel() for p in network.parameters())
entries = sum(w.numel() for w in weights.values())
sizes = {}
for name, content in (("float32", weights), ("float16", {k: w.half() for k, w in weights.items()})):
    path = os.path.join(sys.argv[1], f"{name}.pth")
    torch.save(content, path)
    sizes[name] = os.path.getsize(path) / 1e6
print(f"parameters {parameters}, entries of the state_dict {entries}")
print(f"float32 {sizes['float32']:.1f} MB, float16 {sizes['float16']:.1f} MB")
assert entries > 2 * parameters
assert sizes["float16"] > sizes["float32"]
PY
