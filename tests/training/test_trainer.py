"""The two-stage trainer between nnU-Net's hooks: what it freezes, how it steps, what it saves."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch.nn.parallel import DistributedDataParallel

from nnunetv2_spinesegdiff.diffusion.masks import encode_masks, hard_masks
from nnunetv2_spinesegdiff.environment import TRAINERS
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.training.corruption import Empty

from ..helpers.model_plans import image
from ..helpers.model_trainers import (
    KINDS,
    batch_of,
    changed,
    finished_stage1,
    learnable_batch,
    log_of,
    made,
    one_process,
    ready,
    weights_of,
)

DRAW_DAMAGE = "nnunetv2_spinesegdiff.training.trainer.draw_damage"

# --- frozen or joint -------------------------------------------------------------------------------------


@pytest.mark.parametrize("frozen", [True, False])
def test_a_finished_stage_1_is_frozen_and_without_one_both_are_trained(frozen):
    weights: dict[str, torch.Tensor] = {}
    told = "trained together with the refiner"
    if frozen:
        checkpoint, weights = finished_stage1()
        told = f"Stage 1: frozen, weights from {checkpoint}"
    trainer = ready()
    assert trainer.two_stage.stage1_frozen == frozen
    assert set(trainer.optimizer.stages) == ({"denoiser"} if frozen else {"denoiser", "stage1"})
    before = weights_of(trainer.two_stage.stage1), weights_of(trainer.two_stage.denoiser)
    for seed in range(2):
        trainer.train_step(batch_of(trainer, seed))
    assert changed(weights or before[0], trainer.two_stage.stage1) != frozen
    assert changed(before[1], trainer.two_stage.denoiser)
    assert told in log_of(trainer)


@pytest.mark.parametrize(("suffix", "starts"), [("", True), ("_width50", False)])
def test_a_refiner_as_wide_as_stage_1_starts_with_its_weights(suffix, starts):
    _, weights = finished_stage1()
    trainer = ready(f"nnUNetTrainerSpineSegDiff{suffix}")
    denoiser = trainer.two_stage.denoiser
    key = "encoder.stages.1.0.convs.0.conv.weight"
    for own in (denoiser.unet.state_dict()[key], denoiser.image_encoder.state_dict()[key[len("encoder.") :]]):
        assert (own.shape == weights[key].shape and torch.equal(own, weights[key])) == starts
    assert ("begins with the weights of stage 1" in log_of(trainer)) == starts


def test_stage_1_trained_together_learns_what_it_would_learn_alone():
    """One step of the joint training moves stage 1 exactly as nnU-Net's own trainer does."""
    alone, together = ready("nnUNetTrainerStage1"), ready()
    together.two_stage.stage1.load_state_dict(alone.network.state_dict())
    for seed in range(2):
        alone.train_step(batch_of(alone, seed))
        together.train_step(batch_of(together, seed))
    for key, value in alone.network.state_dict().items():
        torch.testing.assert_close(together.two_stage.stage1.state_dict()[key], value, atol=1e-6, rtol=1e-5)


def test_pretrained_weights_are_for_the_refiner_where_stage_1_is_frozen(tmp_path):
    """nnU-Net loads them when the network is complete, stage 1 and the kind of heads included."""
    other = made()
    other.initialize()
    torch.nn.init.normal_(other.two_stage.stage1.encoder.stages[0][0].convs[0].conv.weight)
    other.two_stage.heads_are_regions.fill_(True)
    other.save_checkpoint(str(tmp_path / "other.pth"))
    denoiser = weights_of(other.two_stage.denoiser)
    _, weights = finished_stage1()
    trainer = ready()
    load_pretrained_weights(trainer.network, str(tmp_path / "other.pth"))
    assert changed(weights, trainer.two_stage.stage1)
    with mock.patch.object(nnUNetTrainer, "on_train_start"):
        trainer.on_train_start()
    assert not changed(weights, trainer.two_stage.stage1)
    assert not trainer.two_stage.heads_are_regions
    head = "unet.decoder.seg_layers"
    after = weights_of(trainer.two_stage.denoiser)
    assert all(torch.equal(after[key], value) for key, value in denoiser.items() if head not in key)


def test_a_stage_1_of_another_architecture_is_refused():
    finished_stage1(features_per_stage=[8, 8, 8])
    with pytest.raises(UserError, match="network"):
        made().initialize()


@pytest.mark.parametrize("kind", ["SpineSegDiff", "Stage1", "DiffUNet"])
def test_a_training_that_diverges_ends_before_its_weights_are_saved(kind):
    trainer = ready(f"nnUNetTrainer{kind}")
    batch = batch_of(trainer)
    trainer.on_train_epoch_end([trainer.train_step(batch)])
    batch["data"][0, 0, 0, 0] = torch.nan
    outputs = [trainer.train_step(batch)]
    with pytest.raises(UserError, match="diverged in epoch 0"):
        trainer.on_train_epoch_end(outputs)
    assert not list(Path(trainer.output_folder).glob("checkpoint*"))


# --- one step --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_dataset_trains_and_is_validated_with_the_loss_of_training(kind, axes):
    trainer = ready(kind=kind, axes=axes)
    assert bool(trainer.two_stage.heads_are_regions) == kind.startswith("regions")
    batch, stage1_loss = batch_of(trainer), trainer.loss
    target = batch["target"][0].clone()
    assert np.isfinite(trainer.train_step(batch)["loss"])
    trainer.network.eval()
    trainer.two_stage.configure_sampler(num_samples=1, ddim_steps=1, fusion_steps=1)
    with torch.no_grad():
        expected = trainer.mask_loss(trainer.two_stage.refine(batch["data"]).logits, target)
        result = trainer.validation_step(batch)
    assert result["loss"] == pytest.approx(float(expected), rel=1e-5)
    assert len(result["tp_hard"]) == 3
    assert trainer.loss is stage1_loss


def test_the_loss_falls_on_one_batch():
    finished_stage1()
    trainer = ready()
    batch = learnable_batch(trainer)
    losses = [float(trainer.train_step(batch)["loss"]) for _ in range(60)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3


@pytest.mark.parametrize("suffix", ["T5", "N5"])
@pytest.mark.parametrize("kind", ["classes", "regions"])
def test_presegmentations_are_noised_to_a_uniform_step(kind, suffix):
    trainer = ready(f"nnUNetTrainerSpineSegDiff_{suffix}", kind)
    trainer.corruption_strength = 0.0
    heads = trainer.label_manager.num_segmentation_heads
    logits = image(400, heads, 8, 8)
    x_t, t, drawn = trainer.make_noised_mask(torch.zeros(400, 1, 8, 8), logits)
    assert sorted(set(t.tolist())) == [1, 2, 3, 4, 5]
    assert (torch.bincount(t)[1:] > 50).all()
    kept = trainer.two_stage.alphas_cumprod[t].view(-1, 1, 1, 1)
    masks = encode_masks(hard_masks(logits, kind == "regions"))
    noise = (x_t - kept.sqrt() * masks) / (1 - kept).sqrt()
    torch.testing.assert_close(noise.float(), drawn, atol=1e-3, rtol=1e-3)
    assert abs(float(noise.mean())) < 0.02
    assert float(noise.std()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("kind", ["classes", "regions"])
def test_presegmentations_are_damaged_as_the_trainer_is_set_before_they_are_noised(kind, monkeypatch):
    drawn = []

    def draw_damage(*args):
        drawn.append(args[1:])
        return [Empty(0, (0.0, 0.0), (1, 1))]

    monkeypatch.setattr(DRAW_DAMAGE, draw_damage)
    trainer = ready(kind=kind)
    trainer.corruption_strength, trainer.clean_share = 2.0, 0.5
    heads = trainer.label_manager.num_segmentation_heads
    x_t, _, _ = trainer.make_noised_mask(torch.zeros(2, 1, 8, 8), image(2, heads, 8, 8))
    assert drawn == [(3, trainer.configuration_manager.spacing, 2.0, 0.5)] * 2
    foreground = x_t if kind == "regions" else x_t[:, 1:]
    assert float(foreground.mean()) == pytest.approx(-1, abs=0.1)


def test_validation_denoises_once_and_leaves_the_sampler_as_it_was():
    trainer = ready()
    trainer.two_stage.configure_sampler(ddim_steps=5, fusion_steps=3, num_samples=4)
    wanted = trainer.two_stage.sampler
    batches: list[int] = []
    stage = trainer.two_stage.denoiser.unet.encoder.stages[0]
    stage.register_forward_hook(lambda module, inputs, output: batches.append(len(output)))
    trainer.network.eval()
    with torch.no_grad():
        trainer.validation_step(batch_of(trainer))
    assert batches == [2]
    with pytest.raises(KeyError):
        trainer.validation_step({"data": torch.zeros(1, 1, 16, 24)})
    assert trainer.two_stage.sampler == wanted


# --- as nnU-Net wraps the network ------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
@pytest.mark.parametrize("frozen", [True, False])
def test_compiled_it_trains_validates_and_predicts(frozen, fresh_compiler):
    """nnU-Net's final validation predicts in inference mode with the network compiled for training."""
    if frozen:
        finished_stage1()
    trainer = ready()
    batch, scan = batch_of(trainer), image(1, 1, 20, 30)
    trainer.network = torch.compile(trainer.network, backend="aot_eager")
    for _ in range(2):
        trainer.network.train()
        trainer.train_step(batch)
        trainer.network.eval()
        with torch.no_grad():
            trainer.validation_step(batch)
    trainer.set_deep_supervision_enabled(False)

    def predicted(network: torch.nn.Module) -> torch.Tensor:
        predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
        plans, configuration = trainer.plans_manager, trainer.configuration_manager
        name = type(trainer).__name__
        predictor.manual_initialization(
            network, plans, configuration, None, trainer.dataset_json, name, (0, 1)
        )
        return predictor.predict_sliding_window_return_logits(scan).float()

    with trainer._stage1_alone():
        unrefined = predicted(trainer.network)
    compiled = predicted(trainer.network)
    assert not torch.equal(compiled, unrefined)
    torch.testing.assert_close(compiled, predicted(trainer.two_stage), atol=0.02, rtol=0.02)


@pytest.mark.parametrize("frozen", [True, False])
def test_ddp_finds_a_gradient_for_every_weight_and_validates(frozen):
    """DDP reports weights that the first loss did not reach at the second step."""
    if frozen:
        finished_stage1()
    trainer = ready()
    network, batch = trainer.two_stage, batch_of(trainer)
    before = weights_of(network.denoiser), weights_of(network.stage1)
    with one_process():
        trainer.is_ddp = True
        trainer.loss = trainer._build_loss()  # nnU-Net weights deep supervision differently under DDP
        trainer.network = DistributedDataParallel(network)
        # A rank without a case to validate takes part in no forward, so nothing may be sent around in one.
        assert not trainer.network.modules_buffers
        for _ in range(2):
            trainer.train_step(batch)
        assert changed(before[0], network.denoiser)
        assert changed(before[1], network.stage1) != frozen
        trainer.network.eval()
        with torch.no_grad():
            assert trainer.validation_step(batch)["tp_hard"].shape == (3,)


# --- settings that the name states -----------------------------------------------------------------------


def test_the_name_states_length_depth_and_width():
    trainer = made("nnUNetTrainerSpineSegDiff_7epochs_50iters_T100_width50")
    assert (trainer.num_epochs, trainer.num_iterations_per_epoch) == (7, 50)
    assert trainer.num_val_iterations_per_epoch == 10
    trainer.initialize()
    assert trainer.two_stage.sampler.t_start == 100
    assert list(trainer.two_stage.denoiser.unet.encoder.output_channels) == [4, 6, 8]
    assert made("nnUNetTrainerStage1_1iters").num_val_iterations_per_epoch == 1
    assert made().num_epochs == 1000


def test_a_complete_schedule_is_trained_stored_and_predicted_by_the_stock_predictor(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", str(TRAINERS))
    trainer = ready("nnUNetTrainerSpineSegDiff_N100_n3")
    batch, before = batch_of(trainer), weights_of(trainer.two_stage.denoiser)
    _, t, _ = trainer.make_noised_mask(torch.zeros(400, 1, 8, 8), image(400, 4, 8, 8))
    assert 90 < t.max() <= 100
    assert np.isfinite(trainer.train_step(batch)["loss"])
    assert changed(before, trainer.two_stage.denoiser)
    (tmp_path / "fold_0").mkdir()
    trainer.save_checkpoint(str(tmp_path / "fold_0" / "checkpoint_final.pth"))
    plans = json.loads(json.dumps(trainer.plans_manager.plans))
    assert plans["spinesegdiff"]["sampler"]["num_train_timesteps"] == 100
    (tmp_path / "plans.json").write_text(json.dumps(plans))
    (tmp_path / "dataset.json").write_text(json.dumps(trainer.dataset_json))
    trainer.network.eval()
    trainer.set_deep_supervision_enabled(False)
    scan = image(1, 1, *trainer.configuration_manager.patch_size)
    predictor = nnUNetPredictor(device=torch.device("cpu"), use_mirroring=False, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(tmp_path), (0,))
    predicted = predictor.predict_logits_from_preprocessed_data(scan)
    sampler = predictor.network.sampler
    assert (sampler.num_train_timesteps, sampler.t_start, sampler.ddim_steps) == (100, 100, 3)
    with torch.inference_mode():
        expected = trainer.network(scan)[0]
        trainer.two_stage.configure_sampler(num_train_timesteps=1000)
        of_another_schedule = trainer.network(scan)[0]
    # nnU-Net sums logits in half precision.
    assert (predicted[:, 0] - expected).abs().max() < 0.05
    assert (of_another_schedule - expected).abs().max() > 0.2


@pytest.mark.parametrize(("name", "rate"), [("_100epochs", 1e-4), ("_99epochs", 1e-3)])
def test_short_trainings_have_the_higher_rate(name, rate):
    trainer = ready("nnUNetTrainerSpineSegDiff" + name)
    assert trainer.optimizer.stages["denoiser"].optimizer.param_groups[0]["lr"] == rate
    assert trainer.optimizer.stages["stage1"].optimizer.param_groups[0]["lr"] == 1e-2


# --- checkpoints -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("frozen", [False, True])
def test_a_continued_training_goes_on_as_if_it_had_not_stopped(frozen, tmp_path):
    if frozen:
        stage1, _ = finished_stage1()
    first = ready()
    first.corruption_strength = 0.0
    first.train_step(batch_of(first))
    checkpoint = str(tmp_path / "checkpoint_latest.pth")
    first.save_checkpoint(checkpoint)
    if frozen:
        stage1.unlink()  # the continued training has its weights already
    else:
        finished_stage1()  # finished in the meantime: not a reason to change a training half-way

    second = made()
    second.load_checkpoint(checkpoint)
    second.corruption_strength = 0.0
    second.set_deep_supervision_enabled(True)
    second.network.train()
    assert second.two_stage.stage1_frozen == first.two_stage.stage1_frozen == frozen
    assert second.current_epoch == first.current_epoch + 1
    for trainer in (first, second):
        torch.manual_seed(5)
        trainer.train_step(batch_of(trainer, seed=5))
    for key, value in first.network.state_dict().items():
        assert torch.equal(second.network.state_dict()[key], value), key


def test_an_interrupted_checkpoint_leaves_the_last_one(tmp_path, monkeypatch):
    trainer = ready()
    checkpoint = tmp_path / "checkpoint_latest.pth"
    trainer.disable_checkpointing = True
    trainer.save_checkpoint(str(checkpoint))
    assert not checkpoint.exists()
    trainer.disable_checkpointing = False
    trainer.save_checkpoint(str(checkpoint))
    whole = checkpoint.read_bytes()

    def interrupted(content, file):
        Path(file).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.save_checkpoint(str(checkpoint))
    assert checkpoint.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [checkpoint.name]


def test_refinement_is_reported_next_to_the_checkpoint(tmp_path):
    trainer = ready()
    trainer.output_folder = str(tmp_path)
    for folder, dice in (("stage1", 0.5), (".", 0.75)):
        target = tmp_path / folder / "validation"
        target.mkdir(parents=True)
        mean = {str(label): {"Dice": dice} for label in (1, 2, 3)}
        summary = {"mean": mean, "foreground_mean": {"Dice": dice}, "metric_per_case": [{}, {}]}
        (target / "summary.json").write_text(json.dumps(summary))
    trainer._report_refinement()
    report = json.loads((tmp_path / "refinement.json").read_text())
    assert report["dice"]["ivd"] == {"stage1": 0.5, "refined": 0.75, "difference": 0.25}
    assert report["sampler"]["t_start"] == 30
    assert report["stage1_frozen"] is False
    assert "ivd" in log_of(trainer)
