"""Which cases of which files to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from lab.errors import UsageError
from lab.policy import Policy
from lab.quantities import plural
from lab.scenario.load import Case, load_all, select


class Selection(Struct, frozen=True):
    """Files and folders, narrowed by part of the name, by tags and by values of parameters."""

    paths: Sequence[Path]
    keyword: str | None = None
    tags: Sequence[str] = ()
    params: Mapping[str, str] | None = None

    def cases(self, policy: Policy | None = None) -> list[Case]:
        """The selected cases. Raises `UsageError` if a file is invalid, if it needs what `policy` does not
        permit, or if no case is left."""
        found = load_all(self.paths, params=self.params or {}, policy=policy)
        chosen = select(found, self.keyword, self.tags)
        if not chosen:
            asked = [f"-k {self.keyword}"] if self.keyword else []
            asked += [f"--tag {tag}" for tag in self.tags]
            raise UsageError(
                f"nothing to run: none of {plural(len(found), 'case')} matches {' '.join(asked)}",
                hint="`lab list` shows the cases and their tags",
            )
        return chosen
