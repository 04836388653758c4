"""From scenario files to typed cases, or to all of their problems at once."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from lab.errors import UsageError
from lab.files import project_root
from lab.harmless import visible
from lab.link import DIRECTIONS, UNIMPAIRED, Impairment, problems
from lab.place import Place
from lab.policy import NETWORK_CAPABILITIES, Policy
from lab.scenario import params as sweeps
from lab.scenario import tree
from lab.scenario.budget import Budget, OverBudget, budgeted
from lab.scenario.compose.outside import Outside, Refused
from lab.scenario.element import Element
from lab.scenario.given import Given, yaml_of
from lab.scenario.hosts import Hosts, Joined, Joiner, judge_services
from lab.scenario.locate import Locator, all_places
from lab.scenario.model import OWN_PAIR, HostSpec, Scenario, ScenarioFile, Topology
from lab.scenario.params import Param
from lab.scenario.permitted import not_permitted
from lab.scenario.problems import Problem, ScenarioError, did_you_mean, order
from lab.scenario.references import check_names
from lab.scenario.repeat import Expanded, Origin, expand
from lab.scenario.service_names import check_service_names, services_of
from lab.scenario.steps import LinkStep, Parallel, all_steps
from lab.scenario.validate import validate


@dataclass(frozen=True)
class Case:
    """One run of a scenario: one combination of its parameters."""

    name: str  #: `timeout`, or `timeout[delay=5ms,loss=1%]`
    scenario: Scenario
    path: Path
    source_text: str = field(repr=False)
    params: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict, repr=False)  #: of every value, by its path
    notes: tuple[Problem, ...] = field(default=(), repr=False)  #: keys without effect, unset variables

    def place(self, path: str) -> Place:
        """The place of `steps[3].expect.elapsed`; for a missing value, the nearest one around it."""
        while path and path not in self.places:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.places[path]

    def sysctl_place(self, host: str, sysctl: str) -> Place:
        """Where a host's sysctl is set: here, or in the topology."""
        path = f"hosts.{host}.sysctls.{sysctl}"
        return self.place(path if path in self.places or self.scenario.topology is None else "topology")


def load(
    path: str | Path,
    *,
    params: Mapping[str, str] | None = None,
    topology: Path | None = None,
    policy: Policy | None = None,
    stored: bool = False,
) -> list[Case]:
    """The cases of one file. `params` restricts parameters to one value each, written as in YAML.

    `topology` replaces the file that the scenario names, for a stored run for example. `policy` is the
    site's; without it the strictest applies. `stored`: a stored run, whose files may be gone and are not
    looked for; all paths stay as they are written.

    Raises `ScenarioError` with all problems, `UsageError` if the file does not have a parameter.
    """
    file = _File(Path(path), params or {}, topology, policy, stored=stored)
    cases = file.read()
    if file.problems:
        raise ScenarioError(file.problems)
    _unknown_params(params or {}, file.sweep)
    return cases


def load_given(
    given: Given,
    source: Path | None = None,
    *,
    params: Mapping[str, str] | None = None,
    policy: Policy | None = None,
) -> list[Case]:
    """The cases of a scenario from a program, over a scenario file if there is a `source`.

    Raises as `load` does. The source text of the cases has no steps and checks, which the program may or
    may not run.
    """
    file = _File(source or given.base / given.shown, params or {}, policy=policy, given=given)
    if source is None:
        file.shown = given.shown
    cases = file.read()
    for name in params or {}:
        if name not in file.sweep:
            known = f"the parameters are {', '.join(file.sweep)}" if file.sweep else "the file has none"
            text = f"no such parameter; {known}{did_you_mean(name, file.sweep)}"
            file.problems.append(Problem(Place(file.shown, 1, 1), f"params.{name}", text))
    if file.problems:
        raise ScenarioError(file.problems)
    return cases


def load_all(
    paths: Sequence[str | Path],
    *,
    params: Mapping[str, str] | None = None,
    policy: Policy | None = None,
) -> list[Case]:
    """The cases of files and folders (recursive, `*.yml` and `*.yaml`, sorted), each file once.

    `policy` is the site's; without it, permissions are not checked.

    Raises `ScenarioError` with the problems of all files, `UsageError` if there is nothing to run.
    """
    given = params or {}
    files = [_File(path, given, policy=policy) for path in find(paths)]
    cases = [case for file in files for case in file.read()]
    problems = [problem for file in files for problem in file.problems]
    if problems:
        raise ScenarioError(problems)
    _unknown_params(given, {name: values for file in files for name, values in file.sweep.items()})
    if not cases:
        raise UsageError(f"no scenario in {', '.join(str(path) for path in paths) or 'nothing'}")
    return cases


def noted(cases: Iterable[Case]) -> list[str]:
    """The notes on these cases, each line once: `file:line:column: note: …`."""
    notes = sorted({note for case in cases for note in case.notes}, key=order)
    return [str(replace(note, text=f"note: {note.text}")) for note in notes]


def _unknown_params(given: Mapping[str, str], sweep: Mapping[str, list[Param]]) -> None:
    for name in given:
        if name not in sweep:
            known = f"the parameters are {', '.join(sweep)}" if sweep else "no file has parameters"
            raise UsageError(f"--param {name}: no such parameter; {known}{did_you_mean(name, sweep)}")


def find(paths: Iterable[str | Path]) -> list[Path]:
    """The scenario files of files and folders, each once.

    In a folder, Compose files and the files of run folders are skipped.
    """
    found: dict[Path, Path] = {}
    for given in map(Path, paths):
        for path in sorted(_walk(given)) if given.is_dir() else [given]:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        if is_run_folder(Path(place)):
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            if path.suffix in (".yml", ".yaml") and not name.startswith(".") and not _is_compose(path):
                yield path


def is_run_folder(folder: Path) -> bool:
    """Whether a folder holds a stored run; its scenario is only a copy."""
    return (folder / RUN_LOG).is_file()


def _is_compose(path: Path) -> bool:
    """Whether a file is a topology: it has `services` at the top and no `lab`."""
    try:
        text = tree.read_text(path, str(path))
    except tree.Unreadable:
        return False
    return bool(_SERVICES.search(text)) and not LAB_KEY.search(text)


#: For a stored run: it was permitted, or it would not have been run.
ANYTHING = Policy("host", (), NETWORK_CAPABILITIES)

#: What every run folder has from its start on.
RUN_LOG = Path("logs", "lab.log")

_SERVICES = re.compile(r"^[\"']?services[\"']?\s*:", re.MULTILINE)
LAB_KEY = re.compile(r"^[\"']?lab[\"']?\s*:", re.MULTILINE)


def select(cases: Iterable[Case], keyword: str | None = None, tags: Iterable[str] = ()) -> list[Case]:
    """The cases whose name contains `keyword` (ignoring case) and that have one of `tags`; a filter that is
    not given selects all."""
    wanted = set(tags)
    return [
        case
        for case in cases
        if (keyword is None or keyword.lower() in case.name.lower())
        and (not wanted or wanted & set(case.scenario.tags))
    ]


class _File:
    """Reads one file; its problems gather in `problems`."""

    def __init__(
        self,
        path: Path,
        params: Mapping[str, str],
        topology: Path | None = None,
        policy: Policy | None = None,
        *,
        stored: bool = False,
        given: Given | None = None,
    ) -> None:
        self.path = path
        self.given = given
        self.topology_path = topology
        self.outside = Outside(project_root(path), ANYTHING if stored else policy or Policy(), stored=stored)
        self.notes: dict[Problem, None] = {}
        self.shown = str(path)
        self.params = params
        self.sweep: dict[str, list[Param]] = {}
        self.problems: list[Problem] = []
        self.quiet: set[Place] = set()
        self.topologies: dict[str, Hosts] = {}
        self.text = ""
        self.used: dict[Place, list[str]] | None = None

    def read(self) -> list[Case]:
        """The cases; none if something that they share is wrong."""
        with budgeted() as budget:
            root = self._root()
            if root is None:
                return []
            try:
                return self._cases(root, budget)
            except OverBudget as over:
                place = next(
                    (e.place for k, e in root.entries.items() if k in ("params", "cases")), root.place
                )
                self.problems.append(Problem(place, "", str(over)))
                return []

    def _cases(self, root: tree.Mapping, budget: Budget) -> list[Case]:
        keys = {key: entry for key, entry in root.entries.items() if not key.startswith("x-")}
        kept = tree.Mapping(
            root.place, {k: e for k, e in keys.items() if k not in ("params", "cases")}, root.size
        )
        swept = sweeps.read_sweep(keys["params"].node if "params" in keys else None, self.problems)
        listed = sweeps.read_cases(keys["cases"].node if "cases" in keys else None, swept, self.problems)
        self.sweep = {
            **swept,
            **{name: [case[name] for case in listed if name in case] for case in listed for name in case},
        }
        self.problems += sweeps.check_references(kept, self.sweep, "", self.quiet)
        wrong_sweep = any(problem.path.startswith(("params", "cases")) for problem in self.problems)
        places = all_places(root)
        cases: list[Case] = []
        chosen = sweeps.override(swept, self.params)
        first = {name: values[0] for name, values in {**self.sweep, **chosen}.items() if values}
        mappings = sweeps.restricted(listed, self.params) or [{}]
        combinations = ({**case, **values} for case in mappings for values in sweeps.cases(chosen))
        number = 1 if wrong_sweep else len(mappings) * math.prod(map(len, chosen.values()))
        taken = 0  #: values of each case already charged to the budget
        for values in [first] if wrong_sweep else combinations:
            self.notes = {}
            expanded = expand(kept, values)
            if expanded.root.size > taken:  # all at once, with the first: the others will hardly differ
                budget.case((expanded.root.size - taken) * number)
                taken = expanded.root.size
            scenario = self._scenario(kept, expanded, values)
            if scenario is not None:
                label = visible(",".join(f"{name}={param.label}" for name, param in values.items()))
                cases.append(
                    Case(
                        f"{scenario.name}[{label}]" if label else scenario.name,
                        scenario,
                        self.path,
                        self.text,
                        {name: param.value for name, param in values.items()},
                        places if expanded.root is kept else all_places(expanded.root),
                        tuple(self.notes),
                    )
                )
        return cases

    def _root(self) -> tree.Mapping | None:
        if self.given is None:
            return self._of_file()
        own = self._of_file() if self.shown != self.given.shown else None
        if own is None and self.problems:
            return None
        root = self.given.over(own, self.path.parent, self.problems)
        self.text = yaml_of(root, without=("steps", "checks"))
        return root

    def _of_file(self) -> tree.Mapping | None:
        try:
            self.text = tree.read_text(self.path, self.shown, self.outside.root)
            root, problems = tree.parse(self.text, self.shown)
        except tree.Unreadable as error:
            self.problems.append(error.problem)
            return None
        self.problems += problems
        if isinstance(root, tree.Mapping):
            return root
        empty = root is None or (isinstance(root, tree.Scalar) and root.value is None)
        place = root.place if root is not None else Place(self.shown, 1, 1)
        what = "the file is empty" if empty else "not a mapping"
        self.problems.append(Problem(place, "", f"{what}; a scenario begins with lab: 1"))
        return None

    def _scenario(
        self, root: tree.Mapping, expanded: Expanded, values: Mapping[str, Param]
    ) -> Scenario | None:
        """One case. A problem is left out if another case, or another round of a `repeat`, has one at the
        same place and path."""
        locator = Locator(expanded.root)
        filled = sweeps.fill(expanded.root, values)
        model, found = validate(ScenarioFile, filled, locator)
        topology = filled.data.get("topology")
        hosts: Hosts | None = None
        if isinstance(topology, str):
            hosts = self._topology(topology, locator.at(("topology",), ""))
            found += hosts.problems
            self.notes |= dict.fromkeys(hosts.notes)
        elif topology is None:
            pair = OWN_PAIR if self.given is None or self.given.own_pair else ()
            hosts = Hosts({name: HostSpec(name) for name in pair}, ())
        own = filled.data.get("hosts")
        more = list(own) if isinstance(own, dict) else []
        known = None if hosts is None or hosts.hosts is None else list(dict.fromkeys([*hosts.hosts, *more]))
        found += expanded.problems
        found += check_names(filled.data, known, locator)
        if known is not None and hosts is not None:
            programs = {name: [name] if name in hosts.parts else [] for name in known}
            services = services_of(filled.data, programs)
            found += check_service_names(filled.data, services, hosts.recorded, locator)
        if model is not None and hosts is not None and hosts.hosts is not None:
            joined = Joiner(model, hosts, self.path.parent, self.outside, locator).join()
            found += joined.problems
            self.notes |= dict.fromkeys(joined.notes)
            scenario = self._typed(model, joined, tuple(hosts.hosts), locator)
            found += () if self.outside.stored else not_permitted(scenario, self.outside.policy)
            found += _links_over_time(scenario, locator)
        else:
            found += judge_services(filled, self.path.parent, self.outside, locator)
            scenario = None
        said = {(problem.place, problem.path) for problem in self.problems}
        first: dict[tuple[Place, str], Origin | None] = {}
        for one in dict.fromkeys(found):
            problem, origin = expanded.in_file(one)
            where = (problem.place, problem.path)
            if where in said or problem.place in self.quiet:
                continue
            if first.setdefault(where, origin) == origin:
                labels = {name: param.label for name, param in values.items()}
                labels |= {} if origin is None else {name: str(number) for name, number in origin.rounds}
                names = [name for name in self._used_at(root).get(problem.place, ()) if name in labels]
                case = ", ".join(f"{name}={labels[name]}" for name in names)
                text = f"{problem.text} (with {case})" if case else problem.text
                self.problems.append(Problem(problem.place, problem.path, text))
        return scenario if not found else None

    def _used_at(self, root: tree.Mapping) -> dict[Place, list[str]]:
        """The parameters in the value at each place."""
        if self.used is None:
            self.used = {
                scalar.place: sweeps.references(scalar.text)
                for scalar in tree.scalars(root)
                if "${" in scalar.text
            }
        return self.used

    def _topology(self, name: str, asked: Problem) -> Hosts:
        if name not in self.topologies:
            self.topologies[name] = self._read_topology(name, asked)
        return self.topologies[name]

    def _read_topology(self, name: str, asked: Problem) -> Hosts:
        try:
            path = self.topology_path or (
                self.path.parent / name
                if self.outside.stored
                else self.outside.inside(self.path.parent, name)
            )
        except Refused as error:
            return Hosts(None, (Problem(asked.place, asked.path, str(error)),))
        outside = self.outside
        if self.topology_path is not None:  # of a run folder, whose files are its own
            outside = replace(outside, root=project_root(self.topology_path))
        # What reads Compose files takes 25 ms to import, and few scenarios have one.
        from lab.scenario.topology import read_topology

        return read_topology(path, os.path.normpath(path), asked, outside)

    def _typed(
        self, model: ScenarioFile, joined: Joined, base: tuple[str, ...], locator: Locator
    ) -> Scenario:
        for index, step in enumerate(model.steps):
            _place(step, ("steps", index), locator)
            if isinstance(step, Parallel):
                for inner, one in enumerate(step.steps):
                    _place(one, ("steps", index, "steps", inner), locator)
        for index, check in enumerate(model.checks):
            _place(check, ("checks", index), locator)
        return Scenario(
            name=model.name or visible(self.path.stem),
            hosts=joined.hosts,
            steps=tuple(model.steps),
            checks=tuple(model.checks),
            summary=model.summary or "",
            tags=tuple(model.tags),
            timeout=model.timeout,
            requires=tuple(model.requires),
            topology=None if model.topology is None else Topology(model.topology, base),
            arp=model.arp,
            alone=model.alone,
            networks=joined.networks,
            start_order=joined.start_order,
        )


def _place(element: Element, path: tuple[str | int, ...], locator: Locator) -> None:
    problem = locator.at(path, "")
    element.placed(problem.place, problem.path)


def _links_over_time(scenario: Scenario, locator: Locator) -> Iterator[Problem]:
    """Links that no kernel can make: a host's whole link, or a link after a step has changed it."""
    sides: dict[tuple[str, str], Impairment] = {}
    for host in scenario.hosts.values():
        sides[host.name, "up"], sides[host.name, "down"] = host.link.up, host.link.down
        for text in dict.fromkeys((*problems(host.link.up), *problems(host.link.down))):
            yield locator.at(("hosts", host.name, "link"), f"{text} (with the topology's link)")
    for step in all_steps(scenario.steps):
        if not isinstance(step, LinkStep):
            continue
        found: dict[str, None] = {}
        for way, change in zip(DIRECTIONS, step.changes(), strict=True):
            if change is None:
                continue
            before = sides.get((step.host, way), UNIMPAIRED)
            sides[step.host, way] = side = before.changed(change)
            known = problems(before)
            found |= dict.fromkeys(text for text in problems(side) if text not in known)
        for text in found:
            yield Problem(step.place, step.path, f"{text} (the link of {step.host} after this step)")
