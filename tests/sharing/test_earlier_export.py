"""A zip that the package exported before its folders were reordered.

`earlier_export.npy` holds the logits (heads, 1, 16, 24) that the exporting version predicted of `IMAGE`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from nnunetv2_spinesegdiff.inference.predictor import SpineSegDiffPredictor
from nnunetv2_spinesegdiff.sharing.opening import open_model

DATA = Path(__file__).resolve().parent / "data"
IMAGE = np.sin(np.arange(16 * 24, dtype=np.float32)).reshape(1, 1, 16, 24)
SHA256 = "9f1445aa96d13fa3763d132a56dd0c0a8dbfc7eba9f495f72fafb78bb396e359"


def test_it_opens_and_predicts_the_same(tmp_path):
    opened = open_model(DATA / "earlier_export.zip", tmp_path)
    assert opened.sha256 == SHA256
    predictor = SpineSegDiffPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(
        str(opened.folder), opened.folds, opened.checkpoint, opened.checkpoints
    )
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(IMAGE))
    # Half precision, and other CPUs add in another order.
    np.testing.assert_allclose(logits.float(), np.load(DATA / "earlier_export.npy").astype(float), atol=5e-3)
