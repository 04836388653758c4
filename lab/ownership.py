"""Files that root writes for someone who called sudo belong to the caller."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def caller(environ: Mapping[str, str] = os.environ) -> tuple[int, int] | None:
    """User and group of whoever called sudo; None without sudo."""
    if os.geteuid() != 0:
        return None
    try:
        user = int(environ["SUDO_UID"])
        group = int(environ.get("SUDO_GID", environ["SUDO_UID"]))
    except (KeyError, ValueError):
        return None
    return None if user == 0 else (user, group)


def give_to_caller(path: Path, environ: Mapping[str, str] = os.environ) -> None:
    """`chown -R` to the caller of sudo; nothing without sudo. Links are not followed."""
    owner = caller(environ)
    if owner is None or not (path.exists() or path.is_symlink()):
        return
    os.chown(path, *owner, follow_symlinks=False)
    if path.is_symlink() or not path.is_dir():
        return
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            os.chown(os.path.join(folder, name), *owner, follow_symlinks=False)
