"""The trainer between nnU-Net's hooks: what it freezes, how it steps, what it saves. Loads no data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from nnunetv2_spinesegdiff.diffusion.masks import encode_masks, hard_masks
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.training import trainers
from nnunetv2_spinesegdiff.training.corruption import Empty
from nnunetv2_spinesegdiff.training.diffusion_trainer import scale_features
from nnunetv2_spinesegdiff.training.trainer import nnUNetTrainerSpineSegDiff

from ..small_plans import LABELS, image, small_plans

CPU = torch.device("cpu")
KINDS: dict[str, dict[str, Any]] = {
    "classes": {"labels": LABELS},
    "ignore": {"labels": {**LABELS, "ignore": 4}},
    "regions": {
        "labels": {"background": 0, "spine": [1, 2, 3], "column": [2, 3], "ivd": 3},
        "regions_class_order": [1, 2, 3],
    },
    "regions and ignore": {
        "labels": {"background": 0, "spine": [1, 2, 3], "column": [2, 3], "ivd": 3, "ignore": 4},
        "regions_class_order": [1, 2, 3],
    },
}


@pytest.fixture(autouse=True)
def nnunet_folders(tmp_path, monkeypatch) -> Path:
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.delenv("spinesegdiff_stage1", raising=False)
    data = tmp_path / "nnUNet_preprocessed" / "Dataset501_Toy" / "smallPlans_small"
    data.mkdir(parents=True)
    (data / "case.npz").touch()
    return tmp_path


def made(
    name: str = "nnUNetTrainerSpineSegDiff", kind: str = "classes", axes: int = 2, **plans_changes
) -> Any:
    """A trainer, not initialised."""
    plans = {**small_plans(axes), "continue_training": False}
    plans["configurations"]["small"]["architecture"]["arch_kwargs"].update(plans_changes)
    dataset_json = {"channel_names": {"0": "MRI"}, "numTraining": 2, "file_ending": ".nii.gz", **KINDS[kind]}
    torch.manual_seed(0)
    trainer = getattr(trainers, name)(plans, "small", 0, dataset_json, CPU)
    return trainer


def ready(*args, **kwargs) -> Any:
    """A trainer as nnU-Net has it before the first iteration."""
    trainer = made(*args, **kwargs)
    trainer.initialize()
    trainer.rng = np.random.default_rng(0)
    trainer.set_deep_supervision_enabled(True)
    trainer.network.train()
    return trainer


def batch_of(trainer: Any, seed: int = 0) -> dict[str, Any]:
    """What nnU-Net's loader gives: images and a target for every resolution of deep supervision."""
    patch = list(trainer.configuration_manager.patch_size)
    generator = torch.Generator().manual_seed(seed)
    targets = []
    for scale in trainer._get_deep_supervision_scales():
        spatial = [round(n * s) for n, s in zip(patch, scale, strict=True)]
        manager = trainer.label_manager
        if manager.has_regions:
            channels = len(manager.foreground_regions) + (manager.ignore_label is not None)
            targets.append((torch.rand((2, channels, *spatial), generator=generator) < 0.4).float())
        else:
            classes = 4 + (manager.ignore_label is not None)
            targets.append(torch.randint(classes, (2, 1, *spatial), generator=generator))
    return {"data": torch.randn((2, 1, *patch), generator=generator), "target": targets}


def weights_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def changed(before: dict[str, torch.Tensor], module: nn.Module) -> bool:
    after = module.state_dict()
    assert set(after) == set(before)
    return any(not torch.equal(after[key], value) for key, value in before.items())


def finished_stage1(**plans_changes) -> tuple[Path, dict[str, torch.Tensor]]:
    """The checkpoint of a stock training where it is found by convention, and its weights."""
    trainer = made("nnUNetTrainerStage1", **plans_changes)
    trainer.initialize()
    trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
    return Path(trainer.output_folder) / "checkpoint_final.pth", weights_of(trainer.network)


# --- frozen or joint -------------------------------------------------------------------------------------


def test_a_finished_stage_1_is_loaded_and_never_changes():
    checkpoint, weights = finished_stage1()
    trainer = ready()
    assert trainer.two_stage.stage1_frozen
    assert set(trainer.optimizer.stages) == {"denoiser"}
    before = weights_of(trainer.two_stage.denoiser)
    for seed in range(3):
        trainer.train_step(batch_of(trainer, seed))
    assert not changed(weights, trainer.two_stage.stage1)
    assert changed(before, trainer.two_stage.denoiser)
    log = Path(trainer.log_file).read_text()
    assert f"Stage 1: frozen, weights from {checkpoint}" in log


def test_without_one_both_stages_are_trained_together():
    trainer = ready()
    assert not trainer.two_stage.stage1_frozen
    assert set(trainer.optimizer.stages) == {"denoiser", "stage1"}
    before = weights_of(trainer.two_stage.stage1), weights_of(trainer.two_stage.denoiser)
    trainer.train_step(batch_of(trainer))
    assert changed(before[0], trainer.two_stage.stage1)
    assert changed(before[1], trainer.two_stage.denoiser)
    assert "trained together with the refiner" in Path(trainer.log_file).read_text()


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
    with pytest.raises(UserError, match="its network is not the one that the plans now describe"):
        made().initialize()


# --- one step --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_dataset_trains_and_validates(kind, axes):
    trainer = ready(kind=kind, axes=axes)
    assert bool(trainer.two_stage.heads_are_regions) == kind.startswith("regions")
    batch = batch_of(trainer)
    assert np.isfinite(trainer.train_step(batch)["loss"])
    trainer.network.eval()
    with torch.no_grad():
        result = trainer.validation_step(batch)
    assert np.isfinite(result["loss"])
    assert len(result["tp_hard"]) == 3


def test_the_loss_falls_on_one_batch():
    finished_stage1()
    trainer = ready()
    batch = batch_of(trainer)
    squares = torch.zeros(2, 1, 16, 24, dtype=torch.long)
    squares[:, :, 4:10, 5:15] = 2
    batch["target"][0] = squares
    batch["data"] = batch["data"] * 0.1 + squares
    losses = [float(trainer.train_step(batch)["loss"]) for _ in range(60)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3


@pytest.mark.parametrize("kind", ["classes", "regions"])
def test_presegmentations_are_noised_to_a_uniform_step(kind):
    trainer = ready("nnUNetTrainerSpineSegDiff_T5", kind)
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


def test_presegmentations_are_damaged_before_they_are_noised(monkeypatch):
    trainer = ready()
    monkeypatch.setattr(
        "nnunetv2_spinesegdiff.training.trainer.draw_damage", lambda *args: [Empty(0, (0.0, 0.0), (1, 1))]
    )
    x_t, _, _ = trainer.make_noised_mask(torch.zeros(4, 1, 8, 8), image(4, 4, 8, 8))
    assert float(x_t[:, 0].mean()) == pytest.approx(1, abs=0.1)
    assert float(x_t[:, 1:].mean()) == pytest.approx(-1, abs=0.1)


def test_damage_is_drawn_for_the_foreground_with_the_trainers_settings(monkeypatch):
    drawn = []

    def draw_damage(*args):
        drawn.append(args[1:])
        return []

    monkeypatch.setattr("nnunetv2_spinesegdiff.training.trainer.draw_damage", draw_damage)
    for kind, foreground in (("classes", 3), ("regions", 3)):
        trainer = ready(kind=kind)
        trainer.corruption_strength, trainer.clean_share = 2.0, 0.5
        heads = trainer.label_manager.num_segmentation_heads
        trainer.make_noised_mask(torch.zeros(2, 1, 8, 8), image(2, heads, 8, 8))
        assert drawn == [(foreground, trainer.configuration_manager.spacing, 2.0, 0.5)] * 2
        drawn.clear()


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
    assert trainer.two_stage.sampler == wanted
    with pytest.raises(KeyError):
        trainer.validation_step({"data": torch.zeros(1, 1, 16, 24)})
    assert trainer.two_stage.sampler == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_validation_has_the_loss_that_the_refiner_is_trained_on(kind):
    trainer = ready(kind=kind)
    batch, stage1_loss = batch_of(trainer), trainer.loss
    target = batch["target"][0].clone()
    trainer.network.eval()
    trainer.two_stage.configure_sampler(num_samples=1, ddim_steps=1, fusion_steps=1)
    with torch.no_grad():
        expected = trainer.mask_loss(trainer.two_stage.refine(batch["data"]).logits, target)
        assert trainer.validation_step(batch)["loss"] == pytest.approx(float(expected), rel=1e-5)
    assert trainer.loss is stage1_loss


def test_validation_of_stage_1_alone_is_undone_on_errors(tmp_path):
    trainer = ready()
    folder = trainer.output_folder

    def validate_and_fail():
        with trainer._stage1_alone():
            assert trainer.output_folder == str(Path(folder) / "stage1")
            assert not trainer.two_stage.refine_predictions
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        validate_and_fail()
    assert trainer.output_folder == folder
    assert trainer.two_stage.refine_predictions


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


@pytest.mark.parametrize(("name", "rate"), [("", 1e-4), ("_100epochs", 1e-4), ("_99epochs", 1e-3)])
def test_short_trainings_have_the_higher_rate(name, rate):
    trainer = ready("nnUNetTrainerSpineSegDiff" + name)
    assert trainer.optimizer.stages["denoiser"].optimizer.param_groups[0]["lr"] == rate
    assert trainer.optimizer.stages["stage1"].optimizer.param_groups[0]["lr"] == 1e-2


def test_scaled_features_keep_their_structure():
    planned = {
        "features_per_stage": [32, 64],
        "stem_channels": None,
        "n_stages": 2,
        "strides": [[1, 1], [2, 2]],
    }
    assert scale_features(planned, 0.5) == {**planned, "features_per_stage": [16, 32]}
    assert scale_features(planned, 0.01)["features_per_stage"] == [4, 4]
    assert planned["features_per_stage"] == [32, 64]


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
    trainer.save_checkpoint(str(checkpoint))
    whole = checkpoint.read_bytes()

    def interrupted(content, file):
        Path(file).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.save_checkpoint(str(checkpoint))
    assert checkpoint.read_bytes() == whole
    assert [p.name for p in tmp_path.glob("*.pth")] == [checkpoint.name]
    assert not [p for p in tmp_path.iterdir() if "part" in p.name]


def test_disabled_checkpoints_are_not_written(tmp_path):
    trainer = ready()
    trainer.disable_checkpointing = True
    trainer.save_checkpoint(str(tmp_path / "checkpoint.pth"))
    assert not list(tmp_path.glob("*.pth"))


def test_refinement_is_reported_beside_the_checkpoint(tmp_path):
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
    assert "ivd" in Path(trainer.log_file).read_text()


def test_wrappers_around_the_network_are_seen_through():
    trainer = nnUNetTrainerSpineSegDiff.__new__(nnUNetTrainerSpineSegDiff)
    network = ready().network
    trainer.network = torch.compile(network, backend="eager")
    assert trainer.two_stage is network
    trainer.network = network
    assert trainer.two_stage is network
