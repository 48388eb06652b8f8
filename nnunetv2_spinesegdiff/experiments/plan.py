"""A description becomes jobs, each behind all that it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .description import TABLES, Contrast, System, read_description
from .evaluating import Evaluation
from .jobs import Job
from .predicting import Prediction
from .tabulating import Tabulation
from .training import Model, Presegmenting, Training


@dataclass(frozen=True)
class Choices:
    """What a user chooses about an experiment, as the words of `spinesegdiff reproduce` tell it.

    Attributes:
        description: a YAML file, or the number of a table of the paper.
        datasets: one id, or one for every contrast.
        out: output folder; None is one in the current folder, named after the description.
        num_parts: shares of every prediction.
        device: on what to train and predict.
    """

    description: Path | int
    datasets: Sequence[int]
    out: Path | None = None
    num_parts: int = 1
    device: str = "cuda"

    def words(self) -> list[str]:
        """The options of `spinesegdiff reproduce` that choose this."""
        which = "--table" if isinstance(self.description, int) else "--description"
        words = [which, str(self.description), "-d", *map(str, self.datasets)]
        words += ["--num_parts", str(self.num_parts), "-device", self.device]
        return [*words, *(["-o", str(self.out)] if self.out else [])]


class Plan:
    """The jobs of an experiment.

    Attributes:
        description, ids: what is trained, and contrast to dataset id.
        out: output folder.
        jobs: by name, each behind all that it needs.
    """

    def __init__(self, choices: Choices):
        """Raises UserError where the description or the ids cannot be."""
        which = choices.description
        if isinstance(which, int) and which not in TABLES:
            raise UserError(f"table {which}: only {', '.join(map(str, TABLES))} are there")
        self.description = read_description(TABLES[which] if isinstance(which, int) else which)
        self.ids = self.description.dataset_ids(choices.datasets)
        self.out = (choices.out or Path(self.description.name)).absolute()
        self.jobs: dict[str, Job] = {}
        self._choices = choices
        self._expand()

    def result(self, name: str) -> str | None:
        """What identifies the finished result of a job; None where it, or what it needs, is not finished."""
        job = self.jobs[name]
        needed = {need: self.result(need) for need in job.needs}
        found = {need: result for need, result in needed.items() if result is not None}
        return job.result(found) if len(found) == len(needed) else None

    def unfinished(self) -> list[str]:
        """Names of the jobs without a result."""
        return [name for name in self.jobs if self.result(name) is None]

    def job(self, name: str) -> Job:
        """Raises UserError where there is none of that name."""
        if name not in self.jobs:
            raise UserError(f"{name}: there is no such job; --dry_run lists them")
        return self.jobs[name]

    # --- expansion ---------------------------------------------------------------------------------------

    def _expand(self) -> None:
        evaluations = {}
        for contrast in self.description.contrasts:
            for system in self.description.systems:
                self._expand_trainings(contrast, system)
                for fold in self.description.folds:
                    evaluation = self._expand_fold(contrast, system, fold)
                    evaluations[contrast.name, system.name, fold] = evaluation
        rows = tuple(
            (s.name, c.name, tuple(evaluations[c.name, s.name, fold] for fold in self.description.folds))
            for c, s in self.description.rows()
        )
        needs = tuple(evaluation.name for evaluation in evaluations.values())
        title, transposed = self.description.title, self.description.transposed
        controls = tuple(system.name for system in self.description.systems if system.control)
        self._add(Tabulation("collect", needs, self.out, title, transposed, controls, rows))

    def _add(self, job: Job) -> None:
        """Systems that differ only in their prediction share their trainings."""
        self.jobs.setdefault(job.name, job)

    def _expand_trainings(self, contrast: Contrast, system: System) -> None:
        model = self._model(contrast, system)
        stage1 = self._by_name.get(system.stage1 or "")
        npz = any(s.presegment for s in self._trained_alike(contrast, system))
        trainings = []
        for fold in self.description.folds:
            needs = self._stage1_jobs(contrast, stage1, fold) if stage1 else ()
            trainer = stage1.trainers[contrast.name] if stage1 else None
            name = _training_name(model, fold)
            self._add(Training(name, needs, model, fold, self._choices.device, trainer, npz))
            trainings.append(name)
        if system.presegment:
            self._add(Presegmenting(_presegmenting_name(model), tuple(trainings), self.out, model))

    def _expand_fold(self, contrast: Contrast, system: System, fold: int) -> Evaluation:
        model, num_parts = self._model(contrast, system), self._choices.num_parts
        suffix = f"d{model.dataset}-{system.slug}-f{fold}"
        predictions = tuple(
            Prediction(
                name=f"predict-{suffix}" + (f"-part{part}of{num_parts}" if num_parts > 1 else ""),
                needs=(_training_name(model, fold),),
                out=self.out,
                model=model,
                fold=fold,
                system=system.slug,
                flags=system.flags,
                resumable=system.resumable,
                part=part,
                num_parts=num_parts,
                device=self._choices.device,
            )
            for part in range(num_parts)
        )
        evaluation = Evaluation(
            f"evaluate-{suffix}", tuple(job.name for job in predictions), self.out, predictions
        )
        for job in (*predictions, evaluation):
            self._add(job)
        return evaluation

    def _stage1_jobs(self, contrast: Contrast, stage1: System, fold: int) -> tuple[str, ...]:
        """What a refiner's training waits for."""
        model = self._model(contrast, stage1)
        own = _training_name(model, fold)
        return (own, _presegmenting_name(model)) if stage1.presegment else (own,)

    def _trained_alike(self, contrast: Contrast, system: System) -> list[System]:
        trainer = system.trainers[contrast.name]
        return [s for s in self.description.systems if s.trainers[contrast.name] == trainer]

    @property
    def _by_name(self) -> Mapping[str, System]:
        return {system.name: system for system in self.description.systems}

    def _model(self, contrast: Contrast, system: System) -> Model:
        described = self.description
        trainer = system.trainers[contrast.name]
        return Model(self.ids[contrast.name], described.configuration, described.plans, trainer)


def _training_name(model: Model, fold: int) -> str:
    return f"train-d{model.dataset}-{model.trainer}-f{fold}"


def _presegmenting_name(model: Model) -> str:
    return f"presegment-d{model.dataset}-{model.trainer}"
