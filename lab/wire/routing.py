"""A wire for a case that impairs nothing: the machine's kernel routes, and netem is not needed.

If the machine's kernel has no netem, this saves the boot of a user-mode Linux: 0.33 s of the 1.5 s of such a
case. Only cases that send little get one (see `lab.session.plan`).
"""

from __future__ import annotations

import shlex
from typing import NoReturn

from lab.errors import WireError
from lab.evidence.model import DropCount, QueueCount
from lab.link import PLAIN
from lab.wire import counting, router, tc
from lab.wire.router import WireSetup
from lab.wire.wire import Wire, as_asked


class RoutingWire(Wire):
    """A wire that routes between the hosts and refuses to impair."""

    def _build(self, setup: WireSetup) -> None:
        if setup.drops or any(link != PLAIN for link in self.links.values()):
            self._refuse()
        self._control.run("ip", router.set_up_lines(self.hello.device, setup, ()))
        text = shlex.join(router.forward_lines(setup))
        self._control.run("out", [f"printf '%s\\n' {text} | {self.hello.router}-restore --noflush 2>&1"])
        self._confirm_apart(setup)
        sides = [(port.host, port.direction) for port in setup.ports()]
        self._tell_links(sides, self._read_back(), None)

    def _confirm_apart(self, setup: WireSetup) -> None:
        wanted = router.apart_rules(setup)
        if not wanted:
            return
        saved = self._control.run("out", [f"{self.hello.router}-save -t filter 2>&1"]).output
        as_asked([f"asked {rule}, got nothing like it" for rule in wanted if rule not in saved])
        self._tell_apart(setup)

    def confirm(self) -> None:
        with self._lock:
            self._read_back()

    def _read_back(self) -> int:
        qdiscs = self._control.qdiscs()
        wall_ns = self._control.keep_readback(None, {"qdiscs": qdiscs})
        as_asked(tc.impairing(qdiscs))
        return wall_ns

    def in_flight(self) -> int:
        return counting.in_flight(self._control)

    def counters(self) -> tuple[tuple[DropCount, ...], tuple[QueueCount, ...]]:
        return (), ()

    def _refuse(self, *_asked: object, **_more: object) -> NoReturn:
        raise WireError(
            f"{self._control.name}: it was started for a case that impairs nothing, and only routes",
            hint="run with --wire kernel or --wire uml, and report this: the lab should have known",
        )

    change = cut = restore = power = partition = heal = drop = _refuse
