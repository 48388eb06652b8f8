"""Exported models that tests change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

Contents = dict[str, bytes]


@dataclass(frozen=True)
class Zip:
    """An exported model; names are those below the model's folder."""

    path: Path

    @property
    def folder(self) -> str:
        with ZipFile(self.path) as archive:
            return archive.namelist()[0].split("/fold_")[0]

    def read(self) -> Contents:
        with ZipFile(self.path) as archive:
            prefix = f"{self.folder}/"
            return {name.removeprefix(prefix): archive.read(name) for name in archive.namelist()}

    def json(self, name: str) -> Any:
        return json.loads(self.read()[name])

    def changed(
        self,
        change: Callable[[Contents], None] = lambda contents: None,
        *,
        listed: bool = True,
        extra: Mapping[str | ZipInfo, bytes] | None = None,
        stored: bool = True,
        manifest: Mapping[str, Any] | None = None,
    ) -> Zip:
        """Another zip, beside this one.

        Args:
            change: of the contents.
            listed: whether the manifest gets the sizes and digests of what `change` left.
            extra: entries by their whole name.
            stored: whether checkpoints are not compressed.
            manifest: keys of the manifest to set.
        """
        contents = self.read()
        change(contents)
        told = json.loads(contents["manifest.json"])
        if listed:
            told["files"] = {
                name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
                for name, content in contents.items()
                if name != "manifest.json"
            }
        contents["manifest.json"] = json.dumps({**told, **(manifest or {})}).encode()
        path = self.path.with_name("changed.zip")
        with ZipFile(path, "w") as archive:
            for name, content in contents.items():
                kind = ZIP_STORED if stored and name.endswith(".pth") else ZIP_DEFLATED
                archive.writestr(f"{self.folder}/{name}", content, kind)
            for whole, content in (extra or {}).items():
                archive.writestr(whole, content)
        return Zip(path)
