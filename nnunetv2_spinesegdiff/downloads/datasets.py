"""Published datasets: addresses, checksums, license and citation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """A zip that is unpacked to a folder of the same name.

    Attributes:
        name: of the zip; `images.zip` is unpacked to `images`.
        sha256: of the zip, 64 hexadecimal digits.
        about_bytes: size stated on the dataset's page, for servers that report none.
        unpacks_to: estimated ratio of unpacked to packed size, for servers that do not send parts of a file.
    """

    name: str
    sha256: str
    about_bytes: int
    unpacks_to: float

    @property
    def folder(self) -> str:
        return self.name.removesuffix(".zip")


@dataclass(frozen=True)
class Table:
    """A CSV file without a published checksum. It is checked by its columns and rows.

    Attributes:
        name: of the file.
        columns: required columns, in any case.
        about_bytes: as in `Archive`.
    """

    name: str
    columns: tuple[str, ...]
    about_bytes: int


@dataclass(frozen=True)
class Dataset:
    """Files at one address.

    Attributes:
        base_url: a file's address is `<base_url>/<name>`.
        parts: choices of `--only`, in the order in which they are downloaded.
        about: license and citation, one line each.
    """

    base_url: str
    parts: Mapping[str, tuple[Archive | Table, ...]]
    about: tuple[str, ...]


# Masks have as many voxels as the images, and nearly all of them are zero: if the files in the zip are not
# compressed themselves, the zip is much smaller than its content.
SPIDER = Dataset(
    base_url="https://zenodo.org/records/10159290/files",
    parts={
        "tables": (
            Table("overview.csv", ("new_file_name", "sex", "subset"), 119_408),
            Table(
                "radiological_gradings.csv",
                (
                    *("Patient", "IVD label", "Modic", "UP endplate", "LOW endplate", "Spondylolisthesis"),
                    *("Disc herniation", "Disc narrowing", "Disc bulging", "Pfirrman grade"),
                ),
                32_896,
            ),
        ),
        "masks": (
            Archive(
                "masks.zip",
                "13a6e25a8c0d74f507e16ebb2edafc277ceeaf2598474f1fed24fdf59cb7f18f",
                58_200_000,
                unpacks_to=100,
            ),
        ),
        "images": (
            Archive(
                "images.zip",
                "a54cba2905284ff6cc9999f1dd0e4d871c8487187db7cd4b068484eac2f50f17",
                3_700_000_000,
                unpacks_to=2,
            ),
        ),
    },
    about=(
        "SPIDER, license CC BY 4.0 (https://creativecommons.org/licenses/by/4.0): use it freely, and cite",
        "van der Graaf et al. 2024, Lumbar spine segmentation in MR images: a dataset and a public "
        "benchmark, Scientific Data 11:264, https://doi.org/10.1038/s41597-024-03090-w",
        "Dataset: https://doi.org/10.5281/zenodo.10159290",
    ),
)
"""Lumbar spine MR of 218 patients, Zenodo record 10159290."""
