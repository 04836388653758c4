"""`lab.up`: turns what a program gives into a lab that can be started."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast, get_args

from msgspec.structs import replace

from lab.api.engine import opened
from lab.api.net import Lab
from lab.api.run import LabRun
from lab.runner.case import CaseRun, CaseRunner
from lab.runner.suite import finish_folder
from lab.scenario import tree
from lab.scenario.given import Given
from lab.scenario.load import LAB_KEY, Case, load_given
from lab.scenario.problems import Problem, ScenarioError
from lab.session.folder import make_case_folder, make_folder, new_run_id
from lab.session.interrupt import Interrupt
from lab.site import Site, WireChoice, load_site

_SERVICES = re.compile(r"^[\"']?(services|include|name)[\"']?\s*:", re.MULTILINE)
_LATER = "is not yet supported"


def up(
    source: str | os.PathLike[str] | None = None,
    *,
    hosts: Mapping[str, Any] | None = None,
    networks: Mapping[str, Any] | None = None,
    gateways: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    wire: str | None = None,
    ip: int | None = None,
    out: str | os.PathLike[str] | None = None,
    name: str | None = None,
) -> Lab:
    """A lab of its own: `with lab.up("compose/pair.yml") as net:`.

    `source` is a scenario file (its steps are not run: `net.play()` runs them), a Compose file, or None: then
    the hosts are exactly those of `hosts`. `hosts`, `networks` and `params` have the shape of the YAML and
    override the file's own, key by key; `params` chooses one value of each parameter. `wire` is `auto`,
    `kernel` or `uml`, otherwise lab.yml's; `out` is the folder for the run folder (`runs/`), `name` the name
    of the lab. Relative paths start at the working directory.

    Looks for mistakes, and raises `lab.ScenarioError` with all of them, each at its path. Starts nothing.
    """
    return make(
        source,
        base=Path(),
        keys={"hosts": hosts, "networks": networks, "gateways": gateways, "params": params, "ip": ip},
        wire=wire,
        out=Path(out) if out is not None else None,
        name=name,
    )


def make(
    source: str | os.PathLike[str] | None,
    *,
    base: Path,
    keys: Mapping[str, Any],
    wire: str | None,
    out: Path | None,
    name: str | None,
    keep: bool = False,
    on_failure: Callable[[CaseRun], None] | None = None,
    lazily: bool = False,
    folder_name: str | None = None,
) -> Lab:
    """`up`, with relative paths starting at `base`.

    `keep`: a lab whose program failed stays up. `on_failure` is called while it is still up.
    """
    site = load_site()
    case = _case(source, base, keys, wire, name)

    def make_run() -> LabRun:
        runner = case_runner(site, wire, keep=keep, on_failure=on_failure)
        run = new_run_id()
        folder = make_case_folder(make_folder(out or site.runs, folder_name or case.name, run))
        made = LabRun(runner, case, run, folder, os.getpid() + int(run[:2], 16))
        made.scenario = replace(case.scenario, steps=(), checks=())  # it is the program that plays them
        made.keep_sources()
        made.ended = lambda: finish_folder(folder.path)
        return made

    return Lab(case, make_run, lazily=lazily)


def case_runner(
    site: Site,
    wire: str | None,
    *,
    keep: bool = False,
    on_failure: Callable[[CaseRun], None] | None = None,
) -> CaseRunner:
    """What runs one case on the process's engine. Raises `LabError` where there is none."""
    on = opened(site)
    return CaseRunner(
        engine=on.engine,
        store=on.store,
        images=on.images,
        site=site,
        wire=cast(WireChoice, wire or site.wire),
        keep="failed" if keep else False,
        interrupt=Interrupt(),
        listener=lambda event: None,
        on_failure=on_failure,
    )


def _case(
    source: str | os.PathLike[str] | None,
    base: Path,
    given: Mapping[str, Any],
    wire: str | None,
    name: str | None,
) -> Case:
    keys = {key: value for key, value in given.items() if value is not None}
    known = Given({}, base)
    problems: list[Problem] = []
    if keys.pop("gateways", None) is not None:
        problems.append(Problem(known.place, "gateways", f"gateways {_LATER}"))
    ip = keys.pop("ip", None)
    if ip not in (None, 4):
        text = f"IPv6 {_LATER}; allowed: 4" if ip == 6 else f"{ip!r} is no version of IP; allowed: 4"
        problems.append(Problem(known.place, "ip", text))
    if wire is not None and wire not in get_args(WireChoice):
        allowed = ", ".join(get_args(WireChoice))
        problems.append(Problem(known.place, "wire", f"{wire!r} is not a wire; allowed: {allowed}"))
    params = dict(keys.pop("params", {}))
    chosen = {key: _text(value) for key, value in params.items() if not isinstance(value, (list, tuple))}
    swept = {key: value for key, value in params.items() if key not in chosen}
    path = None if source is None else base / Path(source)
    compose = path is not None and _is_compose(path)
    if name is not None:
        keys["name"] = name
    if path is None or compose:
        keys.setdefault("name", "lab" if path is None else path.stem)
        keys["lab"] = 1
        swept |= {key: [params[key]] for key in chosen}
        chosen = {}
    if compose and path is not None:
        keys["topology"] = os.path.relpath(path, base)
    if swept:
        keys["params"] = swept
    whole = Given(keys, base, own_pair=path is not None)
    try:
        cases = load_given(whole, None if compose else path, params=chosen, policy=load_site().policy)
    except ScenarioError as error:
        raise ScenarioError([*problems, *error.problems]) from None
    if len(cases) != 1:
        shown = ", ".join(case.name for case in cases[:5])
        text = f"these are {len(cases)} cases ({shown} …); a lab is one: give each parameter one value"
        problems.append(Problem(known.place, "params", text))
    if not cases[0].scenario.hosts:
        problems.append(
            Problem(known.place, "hosts", 'a lab without hosts; name some: hosts={"a": {}, "b": {}}')
        )
    if problems:
        raise ScenarioError(problems)
    return cases[0]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_compose(path: Path) -> bool:
    """Whether a file has `services` at the top and no `lab`."""
    try:
        text = tree.read_text(path, str(path))
    except tree.Unreadable as error:
        raise ScenarioError([error.problem]) from None
    return bool(_SERVICES.search(text)) and not LAB_KEY.search(text)
