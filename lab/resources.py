"""Where the lab's files other than Python are: image sources, topologies, schema, templates.

In a checkout `images/`, `compose/` and `schema/` stand beside `lab/`. A wheel carries them inside the
package, under `lab/shipped/` (see setup.py). Every other module asks here which of the two it is.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_SHIPPED = _PACKAGE / "shipped"

#: The folder with `images/`, `compose/` and `schema/`.
ROOT = _SHIPPED if _SHIPPED.is_dir() else _PACKAGE.parent

#: What a user's own project begins with, see `lab init`.
PROJECT_TEMPLATES = _PACKAGE / "project" / "templates"


def resource(path: str, *, checkout: Path | None = None) -> Path:
    """The file or folder of this path in the lab's repository (`images/host`, `lab/programs`).

    `checkout` is searched in place of the lab's own files. Whether the path exists is not checked.
    """
    if checkout is not None:
        return checkout / path
    top, _, rest = path.partition("/")
    return _PACKAGE / rest if top == "lab" else ROOT / path


def site_file() -> Path | None:
    """The checkout's own lab.yml, which applies where the command runs elsewhere; None once installed."""
    path = _PACKAGE.parent / "lab.yml"
    return path if not _SHIPPED.is_dir() and path.is_file() else None
