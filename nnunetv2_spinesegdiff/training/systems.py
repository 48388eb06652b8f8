"""The paper's other diffusion systems: each states how it differs, the rest is `DiffusionTrainer`'s."""

from __future__ import annotations

from ..diffusion.settings import SamplerSettings
from .diffusion_trainer import DiffusionTrainer

FROM_NOISE = SamplerSettings("linear", start="noise", t_start=1000, ddim_steps=10, fusion_steps=10)
"""Linear schedule, N = T = 1000 (paper section 3.1); ten DDIM steps, all of them fused."""


class nnUNetTrainerSpineSegDiffFromNoise(DiffusionTrainer):
    """SpineSegDiff without presegmentation (paper section 2.1, table 4): DDIM from noise, 15 chains."""

    sampler = FROM_NOISE.changed(num_samples=15)
    default_epochs = 2500


class nnUNetTrainerSpineSegDiffNoIE(nnUNetTrainerSpineSegDiffFromNoise):
    """SpineSegDiff w/o IE (paper section 3.2): without the image encoder."""

    image_encoder = False


class nnUNetTrainerDiffUNet(DiffusionTrainer):
    """Diff-UNet (Xing et al. 2023, arXiv 2303.10326; paper table 8): four chains, fused by uncertainty.

    The fusion is that of its section 2.3, see `fusion.StepUncertainty`.
    """

    sampler = FROM_NOISE.changed(num_samples=4, fusion="step_uncertainty")
    default_epochs = 700  # of T1w and T2w together; the table has 1350 for T1w and 1400 for T2w


class nnUNetTrainerIISDM(DiffusionTrainer):
    """Implicit segmentation ensemble (Wolleb et al. 2021, arXiv 2112.03145; paper table 7): five chains.

    The network sees the image as further channels and predicts the noise: the share of it that x_t shows is
    passed on past the network, which adds the rest (`forward_process.noise_in`). Chains: DDPM, eta = 1.
    """

    sampler = FROM_NOISE.changed(
        prediction_type="epsilon", eta=1, ddim_steps=1000, num_samples=5, fusion="ensemble", fusion_steps=1
    )
    image_encoder = False
    validation_ddim_steps = 10
    default_epochs = 2600
