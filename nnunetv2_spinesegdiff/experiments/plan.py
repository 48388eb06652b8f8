"""The jobs of an experiment, each after all that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from . import TABLES
from .description import Contrast, System, read_description
from .jobs import Evaluation, Job, Model, Prediction, Presegmenting
from .tables import Tabulation
from .training import Training


class Plan:
    """The jobs of an experiment.

    Args:
        description: a YAML file, or the number of a table of the paper.
        datasets: one id, or one for each contrast.
        out: output folder; by default one in the current folder, named after the description.
        num_parts: shares of each prediction.
        device: on which to train and predict.

    Attributes:
        description, ids: what is trained, and contrast to dataset id.
        jobs: by name, each after all that it needs.

    Raises:
        UserError: the description or the ids are invalid.
    """

    def __init__(
        self,
        description: Path | int,
        datasets: Sequence[int],
        out: Path | None = None,
        num_parts: int = 1,
        device: str = "cuda",
    ):
        if isinstance(description, int) and description not in TABLES:
            raise UserError(f"table {description}", "unknown", f"choose from {', '.join(map(str, TABLES))}")
        file = TABLES[description] if isinstance(description, int) else description
        self.description = read_description(file)
        self.ids = self.description.dataset_ids(datasets)
        self.out = (out or Path(file.stem)).absolute()
        self.num_parts, self.device = num_parts, device
        self.jobs: dict[str, Job] = {}
        self._expand()

    def result(self, name: str) -> str | None:
        """Return what identifies the result of a job; None if it, or something it needs, is not finished."""
        needed = {need: result for need, result in self.results_of_needs(name).items() if result is not None}
        return self.jobs[name].result(needed) if len(needed) == len(self.jobs[name].needs) else None

    def results_of_needs(self, name: str) -> dict[str, str | None]:
        """Return the jobs that a job needs, and their results."""
        return {need: self.result(need) for need in self.jobs[name].needs}

    def unfinished(self) -> list[str]:
        """Return the names of jobs without a result."""
        return [name for name in self.jobs if self.result(name) is None]

    def _expand(self) -> None:
        described = self.description
        evaluations = {}
        for contrast in described.contrasts:
            for system in described.systems:
                self._add_trainings(contrast, system)
                evaluations[contrast.name, system.name] = tuple(
                    self._add_evaluation(contrast, system, fold) for fold in described.folds
                )
        rows = tuple(
            (system.name, contrast.name, evaluations[contrast.name, system.name])
            for contrast, system in described.rows()
        )
        needs = tuple(evaluation.name for of_folds in evaluations.values() for evaluation in of_folds)
        controls = tuple(system.name for system in described.systems if system.control)
        self._add(
            Tabulation("collect", needs, self.out, described.title, described.transposed, controls, rows)
        )

    def _add(self, job: Job) -> None:
        """Systems that differ only in their prediction share their trainings."""
        self.jobs.setdefault(job.name, job)

    def _add_trainings(self, contrast: Contrast, system: System) -> None:
        model = self._model(contrast, system)
        stage1 = next((s for s in self.description.systems if s.name == system.stage1), None)
        stage1_model = self._model(contrast, stage1) if stage1 else None
        alike = [s for s in self.description.systems if s.trainer_on(contrast) == model.trainer]
        for fold in self.description.folds:
            needs: tuple[str, ...] = (_training(stage1_model, fold),) if stage1_model else ()
            if stage1 and stage1_model and stage1.presegment:
                needs += (_presegmenting(stage1_model),)
            trainer = stage1_model.trainer if stage1_model else None
            npz = any(other.presegment for other in alike)
            self._add(Training(_training(model, fold), needs, model, fold, self.device, trainer, npz))
        if system.presegment:
            trainings = tuple(_training(model, fold) for fold in self.description.folds)
            self._add(Presegmenting(_presegmenting(model), trainings, self.out, model))

    def _add_evaluation(self, contrast: Contrast, system: System, fold: int) -> Evaluation:
        model, num_parts = self._model(contrast, system), self.num_parts
        suffix = f"d{model.dataset}-{system.slug}-f{fold}"
        predictions = []
        for part in range(num_parts):
            name = f"predict-{suffix}" + (f"-part{part}of{num_parts}" if num_parts > 1 else "")
            needs = (_training(model, fold),)
            share = (part, num_parts)
            predictions.append(Prediction(name, needs, self.out, model, fold, system, share, self.device))
        names = tuple(job.name for job in predictions)
        evaluation = Evaluation(f"evaluate-{suffix}", names, self.out, tuple(predictions))
        for job in (*predictions, evaluation):
            self._add(job)
        return evaluation

    def _model(self, contrast: Contrast, system: System) -> Model:
        described, trainer = self.description, system.trainer_on(contrast)
        return Model(self.ids[contrast.name], described.configuration, described.plans, trainer)


def _training(model: Model, fold: int) -> str:
    return f"train-d{model.dataset}-{model.trainer}-f{fold}"


def _presegmenting(model: Model) -> str:
    return f"presegment-d{model.dataset}-{model.trainer}"
