"""Fields of a YAML file, checked; an error is one line that names file and key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import yaml

from ..errors import UserError


@dataclass(frozen=True)
class Node:
    """A value of a YAML file that knows where it stands.

    Attributes:
        value: what `yaml` made of it.
        file: the file.
        key: path within it, such as `systems[1].trainer`; empty for the whole.
    """

    value: Any
    file: Path
    key: str = ""

    @classmethod
    def of_file(cls, file: Path) -> Node:
        """The whole of a file. Raises UserError where it is missing or no YAML."""
        try:
            return cls(yaml.safe_load(file.read_text(encoding="utf-8")), file)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{file}: cannot be read ({' '.join(str(error).split())})") from None
        except yaml.YAMLError as error:
            raise UserError(f"{file}: is no YAML ({' '.join(str(error).split())})") from None

    def fail(self, problem: str) -> NoReturn:
        raise UserError(f"{self.file}: {self.key + ': ' if self.key else ''}{problem}")

    def mapping(self) -> dict[str, Node]:
        """Its entries by their keys, of which there is at least one."""
        if not isinstance(self.value, Mapping) or not self.value:
            self.fail(f"must hold keys with values, not {self.value!r}")
        prefix = self.key + "." if self.key else ""
        return {str(k): replace(self, value=v, key=f"{prefix}{k}") for k, v in self.value.items()}

    def fields(self, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Node]:
        """A mapping's entries; raises UserError where one is missing or unknown."""
        found = self.mapping()
        unknown = sorted(set(found) - {*required, *optional})
        if unknown:
            self.fail(f"unknown key {unknown[0]}; known: {', '.join([*required, *optional])}")
        missing = [key for key in required if key not in found]
        if missing:
            self.fail(f"{missing[0]} is missing")
        return found

    def items(self) -> list[Node]:
        """A list's entries, of which there is at least one."""
        if not isinstance(self.value, list) or not self.value:
            self.fail(f"must be a list with entries, not {self.value!r}")
        return [replace(self, value=v, key=f"{self.key}[{i}]") for i, v in enumerate(self.value)]

    def text(self, choices: Sequence[str] = ()) -> str:
        """A text that is not empty and, where there are choices, one of them."""
        if not isinstance(self.value, str) or not self.value.strip():
            self.fail(f"must be a text, not {self.value!r}")
        if choices and self.value not in choices:
            self.fail(f"must be one of {', '.join(choices)}, not {self.value}")
        return self.value

    def number(self) -> int:
        """A whole number from 0."""
        if not isinstance(self.value, int) or isinstance(self.value, bool) or self.value < 0:
            self.fail(f"must be a whole number from 0, not {self.value!r}")
        return self.value

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            self.fail(f"must be true or false, not {self.value!r}")
        return self.value
