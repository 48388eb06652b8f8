"""The paper's other diffusion systems: each states how it differs, the rest is `DiffusionTrainer`'s."""

from __future__ import annotations

from ..diffusion.settings import SamplerSettings
from .diffusion_trainer import DiffusionTrainer


class nnUNetTrainerSpineSegDiffFromNoise(DiffusionTrainer):
    """SpineSegDiff without presegmentation (paper section 2.1, table 4): DDIM from noise."""

    sampler = SamplerSettings(
        "linear", start="noise", t_start=1000, ddim_steps=10, fusion_steps=10, num_samples=15
    )


class nnUNetTrainerSpineSegDiffNoIE(nnUNetTrainerSpineSegDiffFromNoise):
    """SpineSegDiff w/o IE (paper section 3.2): without the image encoder."""

    image_encoder = False


class nnUNetTrainerDiffUNet(DiffusionTrainer):
    """Diff-UNet (Xing et al. 2023, arXiv 2303.10326; paper table 8): four chains, ten steps, all fused."""

    sampler = SamplerSettings(
        "linear",
        start="noise",
        t_start=1000,
        ddim_steps=10,
        fusion_steps=10,
        num_samples=4,
        fusion="step_uncertainty",
    )


class nnUNetTrainerIISDM(DiffusionTrainer):
    """Implicit segmentation ensemble (Wolleb et al. 2021, arXiv 2112.03145; paper table 7), five chains."""

    sampler = SamplerSettings(
        "linear",
        start="noise",
        prediction_type="epsilon",
        t_start=1000,
        ddim_steps=1000,
        eta=1,  # the ancestral chain of DDPM
        num_samples=5,
        fusion="ensemble",
        fusion_steps=1,
    )
    image_encoder = False
    validation_ddim_steps = 10
