"""The trainer under torch.compile, which nnU-Net switches on for CUDA: a step, a validation, a prediction."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from ..small_plans import image
from .test_trainer import batch_of, finished_stage1, nnunet_folders, ready

assert nnunet_folders  # an autouse fixture that is wanted here, too


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("frozen", [True, False])
def test_training_validation_and_sliding_window_prediction(frozen):
    """nnU-Net's final validation predicts in inference mode with the network compiled for training."""
    if frozen:
        finished_stage1()
    trainer = ready()
    batch, scan = batch_of(trainer), image(1, 2, 40, 50)
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
        predictor.manual_initialization(
            network,
            trainer.plans_manager,
            trainer.configuration_manager,
            None,
            trainer.dataset_json,
            type(trainer).__name__,
            (0, 1),
        )
        return predictor.predict_sliding_window_return_logits(scan).float()

    with trainer._stage1_alone():
        unrefined = predicted(trainer.network)
    compiled = predicted(trainer.network)
    assert not torch.equal(compiled, unrefined)
    torch.testing.assert_close(compiled, predicted(trainer.two_stage), atol=0.02, rtol=0.02)
