"""The first files of a user's own project, written by `lab init`, and its copy of the schema.

No existing file is ever overwritten, except the schema, which is generated and written again on request.
"""

from __future__ import annotations

import json
from pathlib import Path

from msgspec import Struct

from lab import __version__
from lab.errors import UsageError
from lab.resources import PROJECT_TEMPLATES
from lab.scenario.schema import ID, schema_text

#: Where the schema is in a project; the first line of scenarios/first.yml refers to it.
SCHEMA = Path("schema") / ID

#: The first files of a project, and the template of each.
TEMPLATES = {
    Path("scenarios/first.yml"): "first.yml",
    Path("lab.yml"): "lab.yml",
    Path(".github/workflows/lab.yml"): "github.yml",
    Path(".gitlab-ci.yml"): "gitlab.yml",
}


class Begun(Struct, frozen=True):
    """What `begin` did; each path is relative to where the command is given."""

    written: tuple[Path, ...]
    left_alone: tuple[Path, ...]  #: they already existed


def begin(folder: Path) -> Begun:
    """Writes the first files of a project into `folder`, which is created if needed.

    An existing file stays as it is. Raises `UsageError` if a file cannot be written.
    """
    texts = {path: _template(name) for path, name in TEMPLATES.items()} | {SCHEMA: schema_text()}
    written: list[Path] = []
    left_alone: list[Path] = []
    for path, text in texts.items():
        target = folder / path
        (written if _write_new(target, text) else left_alone).append(target)
    return Begun(tuple(written), tuple(left_alone))


def write_schema(path: Path) -> None:
    """Writes the schema of this version, over an older one.

    Raises `UsageError` if the file cannot be written, or if it exists and is not a schema of scenarios.
    """
    if path.exists() and not _is_schema(path):
        raise UsageError(
            f"{path}: already exists and is not the schema of scenarios",
            hint=f"name another file, for example: lab schema --write {SCHEMA}",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(schema_text(), encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error) from error


def _template(name: str) -> str:
    text = (PROJECT_TEMPLATES / name).read_text(encoding="utf-8")
    return text.replace("@VERSION@", __version__)


def _write_new(path: Path, text: str) -> bool:
    """Writes a new file; False, with nothing written, if something is there, even a dangling link."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        if path.is_symlink() or path.is_file():
            return False
        raise UsageError(f"{path}: cannot be written: a folder or a file is in the way") from None
    except OSError as error:
        raise _unwritable(path, error) from error
    return True


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{path}: cannot be written: {error.strerror}", hint="name a folder that can be written"
    )


def _is_schema(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("$id") == ID
