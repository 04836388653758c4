"""Drop rules in a running wire: created, marked, counted."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from lab.attachment import Address
from lab.errors import WireError
from lab.evidence.model import DropCount
from lab.packet_words import PacketMatch
from lab.wire import rules, tc
from lab.wire.control import Control
from lab.wire.rules import DropRule

_MODULES = "iptable_filter xt_bpf xt_hashlimit"


class Drops:
    """The drop rules of one wire, in order of creation."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._rules: list[DropRule] = []
        self._iptables = ""

    def add(
        self, source: Address, target: Address, match: PacketMatch | Sequence[str], count: int
    ) -> DropRule:
        rule = DropRule(len(self._rules) + 1, source, target, rules.normal(match), count)
        text = rules.restore_input([rule])
        self.prepare()
        self._write(rule, text)
        self._rules.append(rule)
        # Last, because a rule takes only packets that carry its mark: from this line on it is in effect.
        self._control.run("tc", [tc.mark_filter(self._control.hello.device, source, target, rule.mark)])
        return rule

    def _write(self, rule: DropRule, text: Sequence[str]) -> None:
        file = f"/run/lab/{rule.id}"  # a long rule does not fit through user-mode Linux's console
        self._control.run("out", [f"printf '%s\\n' {shlex.join(text)} >{file}"])
        self._control.run("sh", [f"{self._iptables}-restore --noflush <{file}"])

    def prepare(self) -> None:
        """Loads the modules that rules need, once, and chooses the iptables that works here."""
        if self._iptables:
            return
        if self._control.hello.kind == "uml":
            self._control.run("sh", [f"modprobe -a {_MODULES}"])
            self._iptables = "iptables-legacy"
            return
        tried = []
        for variant in ("iptables-legacy", "iptables-nft"):
            reply = self._control.attempt("sh", [f"{variant}-save -t filter 2>&1"])
            if reply.status == 0:
                self._iptables = variant
                return
            tried.append(f"{variant}: {' '.join(reply.output) or 'failed'}")
        raise WireError(
            f"drop: no iptables works in the machine's kernel: {'; '.join(tried)}",
            hint="load ip_tables and xt_bpf into it, or use the wire `uml`",
        )

    def counts(self) -> list[DropCount]:
        """Packets dropped by each rule. Raises `WireError` if a rule is gone or dropped more than asked."""
        if not self._rules:
            return []
        saved = self._control.run("sh", [f"{self._iptables}-save -c -t filter"])
        counted = rules.dropped(saved.output)
        missing = [rule.id for rule in self._rules if rule.mark not in counted]
        if missing:
            raise WireError(f"{self._control.name}: the rules {', '.join(missing)} are gone from the kernel")
        for rule in self._rules:
            if counted[rule.mark] > rule.count:
                raise WireError(
                    f"{rule.id}: asked to drop {rule.count} packets, dropped {counted[rule.mark]}"
                )
        return [DropCount(rule.id, counted[rule.mark]) for rule in self._rules]
