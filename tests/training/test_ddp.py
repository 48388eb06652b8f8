"""The training step inside DistributedDataParallel, as `nnUNetv2_train -num_gpus` wraps the network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from .test_trainer import batch_of, changed, finished_stage1, nnunet_folders, ready, weights_of

assert nnunet_folders  # an autouse fixture that is wanted here, too


@contextmanager
def one_process() -> Iterator[None]:
    """A group of one; started behind the trainer, which would look for its GPU in one."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize("frozen", [True, False])
def test_ddp_finds_a_gradient_for_every_weight_and_validates(frozen):
    """The second step is the one at which DDP complains of weights that the first loss did not reach."""
    if frozen:
        finished_stage1()
    trainer = ready()
    assert trainer.two_stage.stage1_frozen == frozen
    network, batch = trainer.two_stage, batch_of(trainer)
    before = weights_of(network.denoiser), weights_of(network.stage1)
    with one_process():
        trainer.is_ddp = True
        trainer.loss = trainer._build_loss()  # nnU-Net weights deep supervision differently under DDP
        trainer.network = DistributedDataParallel(network)
        # A rank without a case to validate takes part in no forward, so nothing may be sent around in one.
        assert not trainer.network.modules_buffers
        assert trainer.two_stage is network
        for _ in range(2):
            trainer.train_step(batch)
        assert changed(before[0], network.denoiser)
        assert changed(before[1], network.stage1) != frozen
        trainer.network.eval()
        with torch.no_grad():
            assert trainer.validation_step(batch)["tp_hard"].shape == (3,)
