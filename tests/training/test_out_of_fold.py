"""Out-of-fold presegmentations in training: found or refused, through the loader, into the noised mask."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch.nn.parallel import DistributedDataParallel

from nnunetv2_spinesegdiff.diffusion.masks import hard_masks
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.training.out_of_fold import heads_of
from nnunetv2_spinesegdiff.training.presegment import collect

from ..helpers.model_dataset import TRAINER, Small, as_in_truth, confused, make_small
from ..helpers.model_trainers import KINDS, changed, log_of, one_process, weights_of

REFINER = "nnUNetTrainerSpineSegDiff"
SMALLER_THAN_THE_PATCH = (1, 14, 22)
"""A scan of 10 x 18 pixels without its margin, for a patch of 16 x 24."""


def finished(small: Small, fold: int, path: Path) -> None:
    """A stage 1 that a refiner of this fold may be trained on."""
    trainer = small.trainer(TRAINER, fold)
    trainer.initialize()
    trainer.save_checkpoint(str(path))


def small_with_stage1(root: Path, kind: str = "classes", **kwargs: Any) -> Small:
    defaults = {"shape": SMALLER_THAN_THE_PATCH, "checkpoint": finished, **KINDS[kind]}
    if kind.startswith("regions"):
        defaults["make_logits"] = lambda truth, rng: confused(truth, rng, heads=3)
    return make_small(root, **{**defaults, **kwargs})


def ready(small: Small, fold: Any = 0) -> Any:
    """A refiner's trainer with its loaders, before the first iteration."""
    trainer = small.trainer(REFINER, fold)
    trainer.initialize()
    trainer.rng = np.random.default_rng(0)
    trainer.dataloader_train, trainer.dataloader_val = trainer.get_dataloaders()
    trainer.set_deep_supervision_enabled(True)
    trainer.network.train()
    return trainer


@pytest.fixture
def without_augmentation(monkeypatch) -> None:
    """nnU-Net's transforms of validation in the place of those of training, and its patch size."""

    def transforms(patch_size, rotation, scales, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("use_mask_for_norm", None)
        return nnUNetTrainer.get_validation_transforms(scales, **kwargs)

    configure = nnUNetTrainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size

    def configured(trainer: Any) -> tuple[Any, ...]:
        rotation, dummy, _, mirrored = configure(trainer)
        return rotation, dummy, trainer.configuration_manager.patch_size, mirrored

    monkeypatch.setattr(nnUNetTrainer, "get_training_transforms", staticmethod(transforms))
    monkeypatch.setattr(nnUNetTrainer, configure.__name__, configured)


@contextmanager
def starts_of(trainer: Any) -> Iterator[list[torch.Tensor]]:
    """The masks that training steps noise, damage left out."""
    seen: list[torch.Tensor] = []
    before = trainer._x_start

    def x_start(target: torch.Tensor, stage1_logits: torch.Tensor) -> torch.Tensor:
        seen.append(before(target, stage1_logits))
        return seen[-1]

    trainer._x_start = x_start
    trainer.corruption_strength = 0.0
    yield seen
    del trainer._x_start


@contextmanager
def calls_of_stage1(trainer: Any) -> Iterator[list[int]]:
    """The batch size of every call."""
    calls: list[int] = []
    handle = trainer.two_stage.stage1.register_forward_hook(
        lambda module, inputs, output: calls.append(len(inputs[0]))
    )
    yield calls
    handle.remove()


def placed(labels: np.ndarray, scan: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """The labels (Y, X) of a scan where the loader has cut the patch out of it; outside they are 0."""
    wide = [np.pad(part, [(n, n) for n in patch.shape]) for part in (scan, labels)]
    rows, columns = (big - n + 1 for big, n in zip(wide[0].shape, patch.shape, strict=True))
    for y, x in np.ndindex(rows, columns):
        window = slice(y, y + patch.shape[0]), slice(x, x + patch.shape[1])
        if np.array_equal(wide[0][window], patch):
            return wide[1][window]
    raise AssertionError("the patch is no part of the scan")


# --- what training starts from ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_collected_masks_are_what_is_noised(tmp_path, without_augmentation, kind):
    small = small_with_stage1(tmp_path, kind)
    folder = collect(small.stock()).folder
    trainer = ready(small)
    batch = next(trainer.dataloader_train)
    assert batch["data"].shape[1] == 1 + 3
    with starts_of(trainer) as seen, calls_of_stage1(trainer) as calls:
        trainer.train_step(batch)
    assert not calls
    (start,) = seen
    assert start.shape == (2, trainer.label_manager.num_segmentation_heads, 16, 24)
    for case, data, masks in zip(batch["keys"], batch["data"], start, strict=True):
        scan, _, collected, _ = small.load(case, folder)
        expected = placed(collected[0], scan[0, 0], data[0].numpy())
        regions = trainer.label_manager.foreground_regions if kind.startswith("regions") else range(4)
        for mask, labels in zip(masks, regions, strict=True):
            assert (mask.numpy() == np.isin(expected, labels)).all()


@pytest.mark.parametrize(("axes", "kind"), [(2, kind) for kind in KINDS] + [(3, "classes")])
def test_presegmentations_are_augmented_like_the_truth(tmp_path, axes, kind):
    """Where every fold predicted the truth itself, the loader still gives the same of both."""

    def truth(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        logits = as_in_truth(labels, rng)
        if not kind.startswith("regions"):
            return logits
        known = labels < 4
        heads = [(labels >= 1) & known, (labels >= 2) & known, labels == 3]
        return np.stack([np.where(head, 20.0, -20.0) for head in heads]).astype(np.float32)

    shape = (1, 30, 40) if axes == 2 else (24, 30, 40)
    small = small_with_stage1(
        tmp_path, kind, axes=axes, shape=shape, scan_spacing=(1.0, 1.0, 1.0), make_logits=truth
    )
    assert not collect(small.stock()).failures
    trainer = ready(small)
    regions, ignore = trainer.label_manager.has_regions, trainer.label_manager.ignore_label
    found = different = 0.0
    for _ in range(20):
        batch = next(trainer.dataloader_train)
        masks = heads_of(batch["data"][:, 1:], trainer.label_manager)
        target = batch["target"][0]
        assert set(torch.unique(masks).tolist()) <= {0.0, 1.0}
        if regions:
            known = 1 - target[:, 3:].float() if ignore else torch.ones(())
            wanted = target[:, :3].float()
        else:
            known = (target != 4).float()
            wanted = torch.cat([(target == label).float() for label in range(4)], 1)
        different += float(((masks != wanted) * known).any(1).float().mean()) / 20
        if ignore:
            background = (1 - masks.amax(1, keepdim=True)) if regions else masks[:, :1]
            assert (background[known == 0] == 1).all()
        found += float(wanted[:, -1].sum())
    assert found > 0
    # Interpolated beside what is ignored, the truth and a background in its place can differ.
    assert different == 0 if ignore is None else different < 0.01


@pytest.mark.parametrize("kind", ["classes", "regions and ignore"])
def test_what_was_never_held_out_is_segmented_by_stage_1(tmp_path, without_augmentation, kind):
    splits = [{"train": ["b", "c"], "val": ["a"]}, {"train": ["a", "b"], "val": ["c"]}]
    small = small_with_stage1(tmp_path, kind, splits=splits)
    assert collect(small.stock()).never_held_out == ["b", "d"]
    trainer = ready(small)
    assert "2 cases from" in log_of(trainer)
    assert "stage 1's own of 2 cases that no fold is validated on" in log_of(trainer)
    while True:
        batch = next(trainer.dataloader_train)
        if set(batch["keys"]) == {"b", "c"}:
            break
    with starts_of(trainer) as seen, calls_of_stage1(trainer) as calls:
        trainer.train_step(batch)
    assert calls == [1]
    image, regions = batch["data"][:, :1], trainer.label_manager.has_regions
    with torch.no_grad():
        own = hard_masks(trainer.two_stage.presegment(image), regions)
    collected = heads_of(batch["data"][:, 1:], trainer.label_manager)
    for i, case in enumerate(batch["keys"]):
        assert torch.equal(seen[0][i], (own if case == "b" else collected)[i])
    assert not torch.equal(own, collected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["ddp", "compiled"])
def test_the_step_works_as_nnunet_wraps_the_network_and_leaves_stage_1_alone(tmp_path, how, fresh_compiler):
    small = small_with_stage1(tmp_path)
    collect(small.stock())
    trainer = ready(small)
    network = trainer.two_stage
    before = weights_of(network.denoiser), weights_of(network.stage1)
    with one_process() if how == "ddp" else nullcontext():
        trainer.is_ddp = how == "ddp"
        trainer.loss = trainer._build_loss()
        trainer.network = (
            DistributedDataParallel(network)
            if trainer.is_ddp
            else torch.compile(network, backend="aot_eager")
        )
        for _ in range(2):
            assert np.isfinite(trainer.train_step(next(trainer.dataloader_train))["loss"])
    assert changed(before[0], network.denoiser)
    assert not changed(before[1], network.stage1)


# --- when they are used ----------------------------------------------------------------------------------


def test_a_joint_training_does_not_use_them(tmp_path, monkeypatch):
    small = small_with_stage1(tmp_path)
    collect(small.stock())
    monkeypatch.setenv("spinesegdiff_stage1", "joint")
    trainer = ready(small)
    assert trainer.out_of_fold is None
    assert "Presegmentations" not in log_of(trainer)
    batch = next(trainer.dataloader_train)
    assert batch["data"].shape[1] == 1
    with calls_of_stage1(trainer) as calls:
        trainer.train_step(batch)
    assert calls == [2]


def test_another_stage_1_does_not_use_them(tmp_path, monkeypatch):
    """Its own trainer's collection or none; of a file that lies somewhere nobody knows the folds."""
    small = small_with_stage1(tmp_path)
    collect(small.stock())
    checkpoint = small.model / "fold_0" / "checkpoint_final.pth"
    elsewhere = tmp_path / "elsewhere.pth"
    elsewhere.write_bytes(checkpoint.read_bytes())
    monkeypatch.setenv("spinesegdiff_stage1", str(elsewhere))
    assert ready(small).out_of_fold is None
    monkeypatch.setenv("spinesegdiff_stage1", str(checkpoint))
    assert ready(small).out_of_fold is not None
    (small.model / "fold_1" / "checkpoint_final.pth").unlink()  # a fold that was cleared away is not stale
    monkeypatch.setenv("spinesegdiff_stage1", TRAINER)
    assert ready(small).out_of_fold is not None


def add_collection_of_another_stage1(small: Small) -> None:
    """Of nnUNetTrainer, which is found by convention before the one that is there."""
    model = small.results / "nnUNetTrainer__smallPlans__small"
    shutil.copytree(small.model, model)
    checkpoint = model / "fold_0" / "checkpoint_final.pth"
    content = torch.load(checkpoint, weights_only=False)
    for value in content["network_weights"].values():
        value += 1
    torch.save(content, checkpoint)
    for prediction in model.glob("fold_0/validation/*.npz"):
        prediction.touch()
    assert not collect(small.stock("nnUNetTrainer")).failures
    assert ready(small).out_of_fold.folder.name.startswith("nnUNetTrainer__")


def continued(small: Small, checkpoint: Path) -> Any:
    trainer = small.trainer(REFINER)
    trainer.load_checkpoint(str(checkpoint))
    trainer.get_dataloaders()
    return trainer


@pytest.mark.parametrize("later", ["nothing", "another collection", "the first collection"])
def test_a_continued_training_goes_on_with_those_it_began_with(tmp_path, later):
    """Whatever would be found now: the variable may not be set in the shell that continues."""
    small = small_with_stage1(tmp_path)
    if later != "the first collection":
        collect(small.stock())
    first = ready(small)
    stopped = tmp_path / "checkpoint_latest.pth"
    first.save_checkpoint(str(stopped))
    if later == "the first collection":
        collect(small.stock())
    elif later == "another collection":
        add_collection_of_another_stage1(small)
    assert (first.out_of_fold is None) == (later == "the first collection")
    assert continued(small, stopped).out_of_fold == first.out_of_fold


def test_a_continued_training_is_refused_where_its_masks_are_gone_or_stale(tmp_path):
    small = small_with_stage1(tmp_path)
    folder = collect(small.stock()).folder
    first = ready(small)
    stopped = tmp_path / "checkpoint_latest.pth"
    first.save_checkpoint(str(stopped))
    train_fold_again(small, folder)
    with pytest.raises(UserError, match="stale"):
        continued(small, stopped)
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="gone; collect them again"):
        continued(small, stopped)


# --- refused ---------------------------------------------------------------------------------------------


def train_fold_again(small: Small, folder: Path) -> None:
    with (small.model / "fold_1" / "checkpoint_final.pth").open("ab") as stream:
        stream.write(b"more")


def change_folds(small: Small, folder: Path) -> None:
    path = small.preprocessed / "splits_final.json"
    path.write_text(json.dumps(json.loads(path.read_text())[::-1]))


def change_plans(small: Small, folder: Path) -> None:
    plans = json.loads((small.preprocessed / "smallPlans.json").read_text())
    plans["configurations"]["small"]["spacing"] = [2.0, 1.0]
    (small.preprocessed / "smallPlans.json").write_text(json.dumps(plans))
    finished(small, 0, small.model / "fold_0" / "checkpoint_final.pth")


def cut(name: str, length: int) -> Callable[[Small, Path], None]:
    def damage(small: Small, folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:length])

    return damage


def add_case(small: Small, folder: Path) -> None:
    for ending in (".b2nd", "_seg.b2nd", ".pkl"):
        shutil.copy(small.cases_folder / f"a{ending}", small.cases_folder / f"new{ending}")


def change_shape(small: Small, folder: Path) -> None:
    path = small.cases_folder / "c.b2nd"
    path.unlink()
    blosc2.asarray(np.zeros((1, 1, 5, 5), np.float32), urlpath=str(path))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (train_fold_again, "stale.*fold 1"),
        (change_folds, r"stale.*splits_final\.json"),
        (
            lambda small, folder: (small.preprocessed / "dataset_fingerprint.json").write_text("{}"),
            "stale.*planned",
        ),
        (change_plans, "stale.*planned"),
        (lambda small, folder: (folder / "c.b2nd").unlink(), "stale.*case c"),
        (cut("c.b2nd", 20), "stale.*case c"),
        (lambda small, folder: (folder / "manifest.json").unlink(), r"incomplete.*manifest\.json"),
        (cut("manifest.json", 40), r"manifest\.json: cannot be read"),
        (
            lambda small, folder: (folder / "manifest.json").write_text('{"sources": {"checkpoints": {}}}'),
            r"manifest\.json: cannot be read",
        ),
        (add_case, "stale.*case new"),
        (change_shape, "stale.*case c.*shape"),
    ],
)
def test_stale_and_partial_collections_are_refused(tmp_path, damage, reason):
    small = small_with_stage1(tmp_path)
    folder = collect(small.stock()).folder
    damage(small, folder)
    trainer = small.trainer(REFINER)
    trainer.initialize()  # validation alone needs no collection
    with pytest.raises(UserError, match=reason) as refused:
        trainer.get_dataloaders()
    message = str(refused.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(str(folder))
    assert "spinesegdiff presegment -d 501 -c small -tr nnUNetTrainerStage1 -p smallPlans" in message
