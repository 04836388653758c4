"""Kernel counters under nstat's names, and sysctls."""

from __future__ import annotations

from collections.abc import Iterable


def read_counters() -> dict[str, int]:
    """The counters of /proc/net/snmp and netstat (TcpActiveOpens, TcpExtListenOverflows …) and snmp6."""
    found: dict[str, int] = {}
    for path in ("/proc/net/snmp", "/proc/net/netstat"):
        with open(path, encoding="ascii") as file:
            lines = file.read().splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            group, _, rest = names.partition(":")
            for name, value in zip(rest.split(), values.partition(":")[2].split(), strict=True):
                found[group + name] = int(value)
    try:
        with open("/proc/net/snmp6", encoding="ascii") as file:
            for line in file:
                name, value = line.split()
                found[name] = int(value)
    except FileNotFoundError:  # a kernel without IPv6
        pass
    return found


def read_sysctls(names: Iterable[str]) -> dict[str, str]:
    """The present values of those sysctls that this kernel has."""
    found: dict[str, str] = {}
    for name in names:
        try:
            with open("/proc/sys/" + name.replace(".", "/"), encoding="ascii") as file:
                found[name] = " ".join(file.read().split())
        except (FileNotFoundError, PermissionError):  # older kernel, other namespace, write-only
            continue
    return found
