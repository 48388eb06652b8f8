"""The paper's other diffusion systems between nnU-Net's hooks: what each trains on, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nnunetv2_spinesegdiff.diffusion.masks import encode_masks, one_hot_channels
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.training import trainers

from ..helpers.model_trainers import (
    batch_of,
    changed,
    finished_stage1,
    learnable_batch,
    made,
    ready,
    weights_of,
)

PAPER = {
    "nnUNetTrainerSpineSegDiffFromNoise": (2500, 15, 10, 10, True),
    "nnUNetTrainerSpineSegDiffNoIE": (2500, 15, 10, 10, False),
    "nnUNetTrainerDiffUNet": (700, 4, 10, 10, True),
    "nnUNetTrainerIISDM": (2600, 5, 1000, 1, False),
}
"""Epochs, chains, steps, fused steps, and whether there is a second encoder."""

each_system = pytest.mark.parametrize("name", PAPER)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("kind", ["classes", "regions"])
@each_system
def test_classes_and_regions_train_and_validate_in_2d_and_3d(name, kind, axes):
    trainer = ready(name + "_n2_S1", kind, axes)
    assert bool(trainer.diffusion_network.heads_are_regions) == (kind == "regions")
    batch, before = batch_of(trainer), weights_of(trainer.diffusion_network.denoiser)
    assert np.isfinite(trainer.train_step(batch)["loss"])
    assert changed(before, trainer.diffusion_network.denoiser)
    # DDP stops on weights without a gradient.
    assert not [n for n, p in trainer.network.named_parameters() if p.requires_grad and p.grad is None]
    trainer.network.eval()
    with torch.no_grad():
        result = trainer.validation_step(batch)
        logits = trainer.network(batch["data"])
        trainer.set_deep_supervision_enabled(False)
        again = trainer.network(batch["data"])
    assert np.isfinite(result["loss"])
    assert len(result["tp_hard"]) == 3
    assert torch.equal(again, logits[0])
    heads = trainer.label_manager.num_segmentation_heads
    assert again.shape == (2, heads, *batch["data"].shape[2:])
    assert again.abs().max() < 100  # nnU-Net adds logits up in half precision


@each_system
def test_the_ignore_label_is_refused_in_one_line(name):
    with pytest.raises(NotImplementedError, match=rf"{name}.*ignore label") as refused:
        made(name, "ignore")
    assert isinstance(refused.value, UserError)


@each_system
def test_noised_is_the_ground_truth_and_stage_1_plays_no_part(name):
    finished_stage1()
    trainer = ready(name)
    network = trainer.diffusion_network
    assert set(trainer.optimizer.stages) == {"denoiser"}
    assert not hasattr(network, "stage1")
    target = torch.randint(4, (300, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    x_t, t, noise = trainer.make_noised_mask(target, None)
    assert t.min() >= 1
    assert t.max() > 900
    bars = network.alphas_cumprod
    assert len(bars) == 1001
    assert float(bars[1000]) < 1e-4
    kept = bars[t].view(-1, 1, 1, 1)
    expected = kept.sqrt() * encode_masks(one_hot_channels(target[:, 0], 4)) + (1 - kept).sqrt() * noise
    torch.testing.assert_close(x_t.double(), expected, atol=1e-5, rtol=1e-5)


@each_system
def test_only_iisdm_is_trained_on_the_noise(name):
    trainer = ready(name)
    batch = batch_of(trainer)
    torch.manual_seed(3)
    with torch.no_grad():
        output = trainer.network(batch["data"], trainer.make_noised_mask, batch["target"][0])
    torch.manual_seed(3)
    loss = float(trainer.train_step(batch)["loss"])
    mse = float(F.mse_loss(output.model_output, output.noise))
    mask_loss = float(trainer.mask_loss(output.model_output, batch["target"][0]))
    assert loss == pytest.approx(mse if name == "nnUNetTrainerIISDM" else mask_loss, rel=1e-4)
    assert mse != pytest.approx(mask_loss, rel=1e-2)


@each_system
def test_the_papers_settings_are_the_defaults(name):
    epochs, chains, steps, fused, encoder = PAPER[name]
    trainer = ready(name)
    sampler = trainer.diffusion_network.sampler
    assert trainer.num_epochs == epochs
    assert (trainer.diffusion_network.denoiser.image_encoder is not None) == encoder
    assert (sampler.num_samples, sampler.ddim_steps, sampler.fusion_steps) == (chains, steps, fused)
    assert (sampler.schedule, sampler.num_train_timesteps, sampler.t_start) == ("linear", 1000, 1000)
    (adamw,) = (stage.optimizer for stage in trainer.optimizer.stages.values())
    assert isinstance(adamw, torch.optim.AdamW)
    rates = []
    for epoch in range(epochs):
        trainer.lr_scheduler.step(epoch)
        rates.append(adamw.param_groups[0]["lr"])
    assert max(rates) == pytest.approx(1e-4)
    assert rates[0] < 2e-6
    assert 0 < rates[-1] < 1e-6


@pytest.mark.parametrize("length", ["T2000", "N2000"])
@each_system
def test_the_name_states_steps_chains_length_and_width(name, length):
    trainer = ready(f"{name}_3epochs_7iters_n5_S2_width50_{length}")
    sampler = trainer.diffusion_network.sampler
    assert (sampler.ddim_steps, sampler.num_samples) == (5, 2)
    assert sampler.fusion_steps == (1 if name == "nnUNetTrainerIISDM" else 5)
    assert (trainer.num_epochs, trainer.num_iterations_per_epoch) == (3, 7)
    assert list(trainer.diffusion_network.denoiser.unet.encoder.output_channels) == [4, 6, 8]
    assert (sampler.num_train_timesteps, sampler.t_start) == (2000, 2000)


def test_a_schedule_too_short_to_end_in_noise_is_refused():
    for suffix in ("T100", "N100"):
        with pytest.raises(UserError, match="num_train_timesteps = 100"):
            getattr(trainers, f"nnUNetTrainerDiffUNet_{suffix}")
    with pytest.raises(UserError, match="t_start = 1000 is outside 2000"):
        _ = trainers.nnUNetTrainerDiffUNet_N2000_T1000
    assert trainers.nnUNetTrainerSpineSegDiff_T100


@each_system
def test_a_continued_training_goes_on_as_if_it_had_not_stopped(name, tmp_path):
    first = ready(name)
    first.train_step(batch_of(first))
    first.save_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    second = made(name)
    second.load_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    second.set_deep_supervision_enabled(True)
    second.network.train()
    assert second.current_epoch == first.current_epoch + 1
    for trainer in (first, second):
        torch.manual_seed(5)
        trainer.train_step(batch_of(trainer, seed=5))
    for key, value in first.network.state_dict().items():
        assert torch.equal(second.network.state_dict()[key], value), key


@each_system
def test_the_loss_falls_on_one_batch(name):
    trainer = ready(f"{name}_1epochs_60iters")
    batch = learnable_batch(trainer)
    losses = [float(trainer.train_step(batch)["loss"]) for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])


def test_iisdm_validates_in_ten_steps_and_predicts_in_all():
    trainer = ready("nnUNetTrainerIISDM_S1")
    batches: list[int] = []
    stage = trainer.diffusion_network.denoiser.unet.encoder.stages[0]
    stage.register_forward_hook(lambda module, inputs, output: batches.append(len(output)))
    trainer.network.eval()
    with torch.no_grad():
        trainer.validation_step(batch_of(trainer))
        assert len(batches) == 10
        batches.clear()
        trainer.network(torch.zeros(1, 1, 16, 24))
    assert len(batches) == 1000
