"""What all tests share."""

from __future__ import annotations

import torch
from hypothesis import settings

# How long an example takes says nothing on a machine that runs other things beside it.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

# Tiny networks are quicker on one core than on many.
torch.set_num_threads(1)
