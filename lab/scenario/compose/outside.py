"""What a scenario may read beside its own text: files of its project, and the caller's environment by name.

What lies outside the project is refused; `lab.files` opens what is left.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, field

from lab.files import inside
from lab.policy import Policy
from lab.scenario import tree


class Refused(Exception):
    """A file that a scenario may not have, or that is not there; why is its message."""


class Outside(Struct):
    """The project of one scenario and what the site lets it see."""

    root: Path
    policy: Policy = Policy()
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    stored: bool = False  #: a run of the past: its files may be gone; paths stay as they are written

    def allowed_environment(self) -> dict[str, str]:
        return {name: self.environment[name] for name in self.policy.environment if name in self.environment}

    def withheld(self) -> frozenset[str]:
        return frozenset(self.environment) - set(self.policy.environment)

    def find(self, base: Path, name: str, *, must: str = "any") -> Path:
        """`name` seen from `base`: a file or a folder of the project. `must` is file, folder or any.

        Raises `Refused`.
        """
        path = self.inside(base, name)
        if self.stored:
            return path
        try:
            kind = path.stat().st_mode
        except OSError as error:
            what = "no such file or folder" if must == "any" else f"no such {must}"
            missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
            raise Refused(f"{name}: {what if missing else error.strerror}") from None
        if must == "file" and stat.S_ISDIR(kind):
            raise Refused(f"{name}: a folder, not a file")
        if must == "folder" and not stat.S_ISDIR(kind):
            raise Refused(f"{name}: not a folder")
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise Refused(f"{name}: neither a file nor a folder; sockets and devices stay outside a lab")
        return path

    def inside(self, base: Path, name: str) -> Path:
        """`name` seen from `base`, which need not be there. Raises `Refused` where it is outside."""
        if "\0" in name:
            raise Refused(f"{name!r} is not the name of a file")
        if name.startswith("~"):
            raise Refused(f"{name}: a home folder is outside the project {self.root}")
        if self.stored:
            return Path(os.path.normpath(name))
        path = Path(os.path.normpath(base / name))
        real = Path(os.path.realpath(path))
        if not inside(real, self.root):
            if real.name in ("docker.sock", "containerd.sock", "podman.sock"):
                raise Refused(f"{name}: the engine's socket is not for what runs in a lab")
            by = " by a link" if str(real) != os.path.abspath(path) else ""
            raise Refused(f"{name}: outside the project {self.root}{by}; what a scenario uses lies inside it")
        return path

    def is_missing(self, path: Path) -> bool:
        return not self.stored and not os.path.exists(path)

    def has_file(self, path: Path) -> bool:
        """Of a run of the past: always, its files are not looked for."""
        return self.stored or path.is_file()

    def read(self, base: Path, name: str, shown: str) -> str:
        """The text of a file. Raises `Refused`, and `tree.Unreadable` where it is no text."""
        if self.stored:
            return tree.read_text(base / name, shown, self.root)
        return tree.read_text(self.find(base, name, must="file"), shown, self.root)
