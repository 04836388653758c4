"""A Compose file with all that belongs to it: `.env`, `include`, `extends`, networks, volumes, grants."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from lab.place import Place
from lab.scenario import tree
from lab.scenario.base import Model, shown
from lab.scenario.compose import keys as table
from lab.scenario.compose.file_models import (
    ComposeServiceKeys,
    ExtendsKeys,
    FileKeys,
    IncludeKeys,
    VolumeKeys,
)
from lab.scenario.compose.interpolate import Variables
from lab.scenario.compose.models import NetworkKeys
from lab.scenario.compose.outside import Outside, Refused
from lab.scenario.compose.parts import Part, merge, merge_over
from lab.scenario.compose.resolve import Where, read_variables, resolve
from lab.scenario.compose.service import Extra, check_keys, extra_of, grants, merge_extra
from lab.scenario.locate import Locator
from lab.scenario.locate import Path as Keys
from lab.scenario.model import LabKeys
from lab.scenario.params import Filled, fill
from lab.scenario.problems import Problem, did_you_mean, path_text
from lab.scenario.validate import validate

M = TypeVar("M", bound=Model)

_NAME = re.compile(r"[A-Za-z0-9._-]+")
MAX_FILES = 50  #: that one topology may include and extend


class Service(Struct, frozen=True):
    """One service of the project, from however many files."""

    name: str
    part: Part
    extra: Extra
    place: Place
    path: str


@dataclass
class Project:
    """The result of reading a Compose file. `services` is None if they cannot be determined."""

    outside: Outside
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    unfilled: list[Problem] = field(default_factory=list)  #: texts that could not be interpolated
    services: dict[str, Service] | None = None
    networks: list[str] = field(default_factory=list)
    profiles: frozenset[str] = frozenset()
    files: dict[Path, _File] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, shown_as: str, outside: Outside) -> Project:
        """Read the project of the file at `path`; its paths are relative to its own folder.

        Raises `tree.Unreadable` if the file itself is not YAML.
        """
        project, folder = cls(outside), path.parent
        variables = project.variables(folder, _own_variables(folder))
        file = project.open(path, shown_as, folder, variables)
        if file is not None:
            active = variables.lookup("COMPOSE_PROFILES") or ""
            project.profiles = frozenset(one.strip() for one in active.split(",") if one.strip())
            project.take(file)
        unfilled = {problem.place for problem in project.unfilled}
        project.problems = project.unfilled + [one for one in project.problems if one.place not in unfilled]
        return project

    def variables(self, folder: Path, names: Iterable[str], outer: Variables | None = None) -> Variables:
        """The variables for a file read from `folder`: the caller's, then those of its files."""
        result = Variables(
            dict(outer.known if outer is not None else self.outside.allowed_environment()),
            self.outside.withheld(),
            self.unfilled,
            self.notes,
        )
        for name in names:
            nowhere = tree.Scalar(Place(str(folder / name), 0, 0), None, "")
            where = Where(Locator(nowhere), (), folder, self.outside, result)
            values = read_variables(name, (), where) or {}
            self.problems += where.problems
            result.known = {**values, **result.known}
        return result

    def open(self, path: Path, shown_as: str, folder: Path, variables: Variables) -> _File | None:
        """Open one Compose file, interpolate it and judge its top-level keys; each file once."""
        if path in self.files:
            return self.files[path]
        text = tree.read_text(path, shown_as, self.outside.root)
        root, problems = tree.parse(text, shown_as)
        self.problems += problems
        if not isinstance(root, tree.Mapping):
            place = root.place if root is not None else Place(shown_as, 1, 1)
            self.problems.append(Problem(place, "", "not a Compose file: a mapping with services"))
            return None
        entries = {key: entry for key, entry in root.entries.items() if not key.startswith("x-")}
        name = entries["name"].node if "name" in entries else None
        own = name.text if isinstance(name, tree.Scalar) and "$" not in name.text else path.parent.name
        variables.known = {"COMPOSE_PROJECT_NAME": own, **variables.known}
        filled = {
            key: tree.Entry(entry.place, variables.fill(entry.node, (key,))) for key, entry in entries.items()
        }
        file = _File(self, tree.Mapping(root.place, filled, root.size), path, folder, variables)
        self.files[path] = file
        file.read_top()
        return file

    def take(self, file: _File) -> None:
        """Add the services and networks of the file, and of those that it includes, to the project."""
        found: dict[str, Service] = {}
        self._collect(file, found, set())
        if file.names is None and not found:
            text = "services is missing: the hosts, like services: {client: {}, server: {}}"
            self.problems.append(file.locator.at(("services",), text))
            return
        self.services = found

    def _collect(self, file: _File, found: dict[str, Service], seen: set[Path]) -> None:
        if file.path in seen:
            return
        seen.add(file.path)
        for included in file.included():
            self._collect(included, found, seen)
        self.networks += file.networks
        for name in file.names or ():
            made = file.service(name)
            key = file.locator.at_key(("services", name), "")
            if name in found:
                text = f"{shown(name)} is a service of an included file too; use extends to add to it"
                self.problems.append(Problem(key.place, key.path, text))
            else:
                found[name] = Service(name, *(made or (Part(), Extra())), key.place, key.path)


def _own_variables(folder: Path) -> tuple[str, ...]:
    """The file of variables that a folder has by itself, if any."""
    return (".env",) if os.path.isfile(folder / ".env") else ()


@dataclass
class _File:
    """One Compose file of a project."""

    project: Project
    root: tree.Mapping
    path: Path
    folder: Path
    variables: Variables
    names: tuple[str, ...] | None = None
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    grants: dict[str, dict[str, FileKeys]] = field(default_factory=dict)
    made: dict[str, tuple[Part, Extra] | None] = field(default_factory=dict)
    under_way: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.locator = Locator(self.root)
        project = self.project
        around = (self.folder, project.outside, self.variables, None, project.problems, project.notes)
        self.where = Where(self.locator, (), *around)
        self.say, self.say_key = self.where.say, self.where.say_key

    def judged(self, model: type[M], path: Keys, data: Any, paths: Mapping[int, Keys]) -> M | None:
        """Judge the value at `path` as a model; its problems have their whole path."""
        under = Locator(self.locator.resolve(path)[1])
        inner = {one: at[len(path) :] for one, at in paths.items() if at[: len(path)] == path}
        if isinstance(data, dict):
            inner[id(data)] = ()
        result, problems = validate(model, Filled(data, inner), under)
        prefix = path_text(path)
        for one in problems:
            joined = one.path if one.path.startswith("[") or not one.path else f".{one.path}"
            self.project.problems.append(Problem(one.place, prefix + joined, one.text))
        return None if problems else result

    # --- the top ------------------------------------------------------------------------------------------

    def read_top(self) -> None:
        for key in self.root.entries:
            known = table.TOP.get(key)
            if known is None:
                hint = did_you_mean(key, table.TOP)
                self.say_key((key,), f"unknown key of a Compose file {shown(key)}{hint}")
            elif known.fate == "refused":
                self.say_key((key,), f"{key} cannot be honoured: {known.text}")
        services = self._entries("services")
        self.names = None if services is None else tuple(services)
        self.networks = tuple(self._entries("networks") or ())
        for name in self.networks:
            self._each(NetworkKeys, ("networks", name))
        self.volumes = tuple(self._entries("volumes") or ())
        for name in self.volumes:
            volume = self._each(VolumeKeys, ("volumes", name))
            if volume is not None:
                self._judge_volume(name, volume)
        for kind in ("configs", "secrets"):
            made: dict[str, FileKeys] = {}
            for name in self._entries(kind) or {}:
                one = self._each(FileKeys, (kind, name))
                if one is None:
                    continue
                if one.external:
                    self.say_key((kind, name, "external"), "external is refused: a lab brings its own files")
                made[name] = one
            self.grants[kind] = made

    def _judge_volume(self, name: str, volume: VolumeKeys) -> None:
        if volume.external:
            self.say_key(("volumes", name, "external"), "external is refused: a lab has volumes of its own")
        if volume.driver not in (None, "local"):
            self.say(("volumes", name, "driver"), f"{volume.driver} cannot be honoured; allowed: local")
        if volume.driver_opts:
            text = "driver_opts is refused: it would mount what lies outside the lab"
            self.say_key(("volumes", name, "driver_opts"), text)

    def _entries(self, key: str) -> dict[str, tree.Entry] | None:
        entry = self.root.entries.get(key)
        if entry is None or (isinstance(entry.node, tree.Scalar) and entry.node.value is None):
            return None
        if not isinstance(entry.node, tree.Mapping):
            self.say((key,), "not a mapping")
            return {}
        return {name: one for name, one in entry.node.entries.items() if not name.startswith("x-")}

    def _each(self, model: type[M], path: Keys) -> M | None:
        filled = fill(self.locator.resolve(path)[1], None)
        data = {} if filled.data is None else filled.data
        if isinstance(data, dict):
            for key in [key for key in data if key.startswith("x-")]:
                del data[key]
        return self.judged(model, path, data, {one: (*path, *at) for one, at in filled.paths.items()})

    # --- include ------------------------------------------------------------------------------------------

    def included(self) -> list[_File]:
        entry = self.root.entries.get("include")
        if entry is None:
            return []
        if not isinstance(entry.node, tree.Sequence):
            self.say(("include",), "not a list of files")
            return []
        found = [self._include(("include", index)) for index in range(len(entry.node.items))]
        return [file for files in found for file in files]

    def _include(self, at: Keys) -> list[_File]:
        node = self.locator.resolve(at)[1]
        if isinstance(node, tree.Mapping):
            keys = self._each(IncludeKeys, at)
            if keys is None:
                return []
            at = (*at, "path")
        elif isinstance(node, tree.Scalar) and isinstance(node.value, str):
            keys = IncludeKeys(path=(node.value,))
        else:
            self.say(at, "not the name of a file")
            return []
        files: list[_File] = []
        for name in keys.path:
            base = self.folder
            folder = base / (keys.project_directory or os.path.dirname(name) or ".")
            if keys.env_file:
                inner = self.project.variables(base, keys.env_file, self.variables)
            else:
                inner = self.project.variables(folder, _own_variables(folder), self.variables)
            file = self.other(name, folder, inner, at)
            if file is not None:
                files.append(file)
        return files

    def other(self, name: str, folder: Path, variables: Variables, at: Keys) -> _File | None:
        """Another Compose file of the project; its problems are reported at `at`."""
        project = self.project
        try:
            path = project.outside.find(self.folder, name, must="file")
            path = self.folder / name if project.outside.stored else path
            if path in project.files:
                return project.files[path]
            if len(project.files) >= MAX_FILES:
                self.say(at, f"more than {MAX_FILES} files belong to this topology")
                return None
            file = project.open(path, str(path), folder, variables)
        except Refused as error:
            self.say(at, str(error))
            return None
        except tree.Unreadable as error:
            project.problems.append(error.problem)
            return None
        return file

    # --- services -----------------------------------------------------------------------------------------

    def service(self, name: str) -> tuple[Part, Extra] | None:
        """One service with what it extends; None if it is wrong, which is reported."""
        if name not in self.made:
            self.under_way.append(name)
            self.made[name] = self._service(name)
            self.under_way.pop()
        return self.made[name]

    def _service(self, name: str) -> tuple[Part, Extra] | None:
        path: Keys = ("services", name)
        if not _NAME.fullmatch(name):
            self.say_key(path, f"{shown(name)} is not a name of a service: letters, digits, '.', '_' and '-'")
        filled = fill(self.locator.resolve(path)[1], None)
        if filled.data is None:
            return Part(), Extra()
        if not isinstance(filled.data, dict):
            self.say(path, f"{shown(filled.data)} is not a mapping of a service's keys")
            return None
        where = replace(self.where, path=path, volumes=self.volumes)
        lab = check_keys(filled.data, where)
        paths = {one: (*path, *at) for one, at in filled.paths.items()}
        keys = self.judged(ComposeServiceKeys, path, filled.data, paths)
        host = None if lab is None else self.judged(LabKeys, (*path, "x-lab"), lab, paths)
        if keys is None:
            return None
        extra = extra_of(keys, host, self.networks, where)
        part = resolve(keys, where)
        if host is not None and host.service is not None:
            more = replace(where, path=(*path, "x-lab", "service"), volumes=None)
            part = merge_over(part, resolve(host.service, more))
        granted = grants(keys, self.grants, where)
        if granted:
            part = merge(part, Part(mounts=granted))
        if keys.extends is not None:
            base = self._base(keys.extends, path)
            if base is None:
                return None
            return merge(base[0], part), merge_extra(base[1], extra)
        return part, extra

    def _base(self, extends: ExtendsKeys | str, path: Keys) -> tuple[Part, Extra] | None:
        name = extends if isinstance(extends, str) else extends.service
        at = (*path, "extends") if isinstance(extends, str) else (*path, "extends", "service")
        file: _File | None = self
        if isinstance(extends, ExtendsKeys) and extends.file is not None:
            folder = Path(os.path.normpath(self.folder / (os.path.dirname(extends.file) or ".")))
            file = self.other(extends.file, folder, self.variables, (*path, "extends", "file"))
        if file is None:
            return None
        if name not in (file.names or ()):
            has = ", ".join(file.names or ()) or "none"
            self.say(
                at,
                f"no service {shown(name)} in {file.path.name}: {has}{did_you_mean(name, file.names or ())}",
            )
            return None
        if sum(len(one.under_way) for one in self.project.files.values()) > MAX_FILES:
            self.say(at, f"a service extends a service more than {MAX_FILES} times over")
            return None
        if name in file.under_way:
            self.say(at, f"{' → '.join([*file.under_way, name])}: a service cannot extend itself")
            return None
        return file.service(name)
