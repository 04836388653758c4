"""Which limit of its container a program ran into, as the kernel counts it in the container's cgroup."""

from __future__ import annotations

#: Word → where the kernel counts, in cgroup v2 and v1, and the key of the line.
_COUNTERS = {
    "pids": ("max", ("/sys/fs/cgroup/pids.events", "/sys/fs/cgroup/pids/pids.events")),
    "memory": ("oom_kill", ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")),
}


def read_hits() -> dict[str, int]:
    """How often each limit was met so far; a limit that this kernel does not count is left out."""
    hits: dict[str, int] = {}
    for word, (key, paths) in _COUNTERS.items():
        for path in paths:
            try:
                with open(path, encoding="ascii") as file:
                    found = [line.split()[1] for line in file if line.split()[:1] == [key]]
            except FileNotFoundError:
                continue
            hits[word] = int(found[0]) if found else 0
            break
    return hits


def die_first(pid: int) -> None:
    """Where memory runs out, a program ends and not the agent beside it. Its children are as it is."""
    try:
        with open(f"/proc/{pid}/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return  # it has ended, or is closed to others: then the kernel chooses by size
