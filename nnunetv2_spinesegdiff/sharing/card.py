"""MODEL_CARD.md: what a model is for, what it is not for, and how to use it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..stored import stored_in
from ..text import markdown_table, number
from ..training.presegmentations import id_of
from ..training.report import too_low
from .history import mean_dice
from .manifest import FINAL, Manifest

NOT_STATED = "not stated"


def model_card(manifest: Manifest, plans: Mapping[str, Any], dataset: Mapping[str, Any]) -> str:
    """The card as Markdown with the front matter that model hubs read.

    Args:
        manifest: of the model; of its files, the checkpoints must be known.
        plans, dataset: contents of the exported plans.json and dataset.json.
    """
    title = f"{manifest.dataset}, {manifest.trainer}, {manifest.configuration}"
    sections = {
        "What it is": _what_it_is(manifest, dataset),
        "Intended use and limits": _purpose(),
        "Data": _data(manifest, dataset),
        "Training": _training(manifest, plans),
        "Scores": _scores(manifest),
        "Calibration": _calibration(plans),
        "License": _licence(manifest, dataset),
        "How to use it": _usage(manifest),
        "Versions": [f"- {name} {version}" for name, version in manifest.versions.items()],
    }
    if manifest.details.get("notes"):
        sections["Notes"] = [manifest.details["notes"]]
    lines = [*_front_matter(manifest), f"# {title}"]
    for heading, body in sections.items():
        lines += ["", f"## {heading}", "", *body]
    return "\n".join(lines) + "\n"


def _front_matter(manifest: Manifest) -> list[str]:
    licence = manifest.details.get("license")
    # JSON is YAML, quotes included.
    stated = [f"license: {json.dumps(licence)}"] if licence else []
    tags = "tags: [medical-imaging, mri, nnunet, diffusion]"
    return ["---", *stated, "library_name: nnunetv2", "pipeline_tag: image-segmentation", tags, "---", ""]


def _what_it_is(manifest: Manifest, dataset: Mapping[str, Any]) -> list[str]:
    two_stages = manifest.network_class.endswith("TwoStageNetwork")
    how = (
        "nnU-Net's planned network, and a diffusion network that refines its masks"
        if two_stages
        else "a diffusion network whose segmentations start from noise"
    )
    return [
        f"A model for nnU-Net v2 that segments {', '.join(structures_of(dataset))}: {how}. "
        "Made with nnunetv2_spinesegdiff, after Monzon et al., *Enhancing Low Back Pain Assessment with "
        "Diffusion Models for Lumbar Spine MRI Segmentation*, MIDL 2025.",
        "",
        f"- Authors: {manifest.details.get('authors') or NOT_STATED}",
        f"- Contact: {manifest.details.get('contact') or NOT_STATED}",
    ]


def _purpose() -> list[str]:
    return [
        "The model is for research, on scans like those that it was trained on. A person who can read "
        "such scans must check every mask.",
        "",
        "It is not a medical device. No authority has examined it, and it must not be used for diagnosis "
        "or treatment. Scans of other regions, sequences, scanners or patients than those of the "
        "training data can be segmented wrongly without a warning.",
    ]


def _data(manifest: Manifest, dataset: Mapping[str, Any]) -> list[str]:
    lines = [
        f"- Name: {stated(dataset, 'name', manifest.dataset)}",
        f"- Description: {stated(dataset, 'description')}",
        f"- Reference: {stated(dataset, 'reference')}",
        f"- License of the data: {license_of_data(dataset)}",
        f"- Channels: {', '.join(map(str, dataset['channel_names'].values()))}",
        f"- Cases: {stated(dataset, 'numTraining')}",
    ]
    splits = {fold: known["split"] for fold, known in manifest.training.items() if "split" in known}
    if not splits:
        return lines
    rows = [(fold, _counted(split, "train"), _counted(split, "val")) for fold, split in splits.items()]
    return [*lines, "", markdown_table(["fold", "trained on", "validated on"], rows)]


def _counted(split: Mapping[str, int], part: str) -> str:
    patients = split.get(f"{part}_patients")
    cases = f"{split[f'{part}_cases']} cases"
    return cases if patients is None else f"{cases} of {patients} patients"


def _training(manifest: Manifest, plans: Mapping[str, Any]) -> list[str]:
    configuration = plans["configurations"][manifest.configuration]
    kwargs = configuration["architecture"]["arch_kwargs"]
    sampler = ", ".join(f"{name} {value}" for name, value in kwargs["sampler"].items())
    epochs = {fold: known.get("epochs", NOT_STATED) for fold, known in manifest.training.items()}
    frozen = {known["stage1_frozen"] for known in manifest.training.values() if "stage1_frozen" in known}
    dtypes = sorted({known["dtype"] for known in manifest.files.values() if "dtype" in known})
    words = {True: "trained before, and frozen", False: "trained together with the refiner"}
    return [
        f"- Trainer: {manifest.trainer}",
        f"- Plans: {manifest.plans}, configuration {manifest.configuration}",
        f"- Network: {kwargs['planned']['network_class_name'].split('.')[-1]}; denoiser with "
        f"{kwargs['width']:.0%} of the planned features, {'with' if kwargs['image_encoder'] else 'without'} "
        "image encoder",
        *([f"- Stage 1: {' or '.join(words[f] for f in sorted(frozen))}"] if frozen else []),
        f"- Epochs: {', '.join(f'{n} (fold {fold})' for fold, n in epochs.items())}",
        f"- Spacing: {_times(configuration['spacing'])} mm",
        f"- Patch: {_times(configuration['patch_size'])}",
        f"- Checkpoint: {manifest.checkpoint}",
        f"- Weights: stored as {' and '.join(dtypes)}, converted to float32 for prediction",
        f"- Sampler: {sampler}",
    ]


def _times(numbers: Iterable[float]) -> str:
    return " x ".join(f"{number:.4g}" for number in numbers)


def _scores(manifest: Manifest) -> list[str]:
    scored = {fold: known for fold, known in manifest.training.items() if known.get("dice")}
    if not scored:
        why = "" if manifest.checkpoint == FINAL else f"; trainings validate {FINAL}, which this is not"
        return [f"None are known{why}."]
    columns = {"stage1": "stage 1", "refined": "refined", "predicted": "predicted"}
    used = [
        c for c in columns if any(c in row for known in scored.values() for row in known["dice"].values())
    ]
    rows = [
        (fold, known["cases"], name, *(_dice(known["dice"][name].get(column)) for column in used))
        for fold, known in scored.items()
        for name in sorted(known["dice"], key=lambda n: n != "mean")
    ]
    return [
        "Dice, mean over the validation cases of each fold"
        + (" (those of fold all were trained on)." if "all" in scored else "."),
        "",
        markdown_table(["fold", "cases", "structure", *(columns[c] for c in used)], rows),
        *(["", f"Warning: {warning}."] if (warning := too_low(mean_dice(scored.values()))) else []),
    ]


def _dice(value: float | None) -> str | None:
    return None if value is None else number(value, 4)


def _calibration(plans: Mapping[str, Any]) -> list[str]:
    calibrations = stored_in(plans).get("calibrations", [])
    if not calibrations:
        return ["None: probabilities are not calibrated, and areas have no bounds."]
    return [
        f"- With {'refinement' if c['kind']['refine'] else 'stage 1 alone'}"
        f"{', mirrored copies' if c['kind']['mirroring'] else ''}: on {c['cases']} validation cases of folds "
        f"{', '.join(map(str, c['folds']))}"
        for c in calibrations
    ]


def _licence(manifest: Manifest, dataset: Mapping[str, Any]) -> list[str]:
    return [
        f"License of the model: {manifest.details.get('license') or NOT_STATED}.",
        "",
        "License of the training data, which also applies to users of the model: "
        f"{license_of_data(dataset)}.",
    ]


def _usage(manifest: Manifest) -> list[str]:
    model = f"-d {id_of(manifest.dataset)} -c {manifest.configuration} -f {' '.join(manifest.folds)}"
    model += f" -tr {manifest.trainer} -p {manifest.plans}"
    model += "" if manifest.checkpoint == FINAL else f" -chk {manifest.checkpoint}"
    return [
        "With nnunetv2_spinesegdiff installed, for a scan in any supported format:",
        "",
        "```bash",
        "spinesegdiff segment -i SCAN -o OUT -m MODEL.zip",
        "```",
        "",
        "Or with nnU-Net's own commands, for files with the names that nnU-Net expects "
        "(nnunetv2_spinesegdiff must be installed, no set-up is needed):",
        "",
        "```bash",
        "nnUNetv2_install_pretrained_model_from_zip MODEL.zip",
        f"nnUNetv2_predict -i IMAGES -o MASKS {model}",
        "```",
        "",
        "It cannot be trained further, because the checkpoints hold only weights.",
    ]


def structures_of(dataset: Mapping[str, Any]) -> list[str]:
    """Names of what a model segments, from its dataset.json."""
    return [str(name) for name in dataset["labels"] if name not in ("background", "ignore")]


def license_of_data(dataset: Mapping[str, Any]) -> str:
    """The license of a model's training data, from its dataset.json; nnU-Net's key is `licence`."""
    return stated(dataset, "licence", stated(dataset, "license"))


def stated(dataset: Mapping[str, Any], key: str, otherwise: str = NOT_STATED) -> str:
    """A value of a dataset.json on one line."""
    return " ".join(str(dataset.get(key) or otherwise).split())
