"""Which limit of its container a program hit, from the kernel's counters in the container's cgroup."""

from __future__ import annotations

#: Word → the kernel's counter in cgroup v2 and v1, and the key of its line.
_COUNTERS = {
    "pids": ("max", ("/sys/fs/cgroup/pids.events", "/sys/fs/cgroup/pids/pids.events")),
    "memory": ("oom_kill", ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")),
}


def read_hits() -> dict[str, int]:
    """How often each limit has been hit so far; a limit that this kernel does not count is left out."""
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
    """When memory runs out, let the kernel kill this program, not the agent. Its children inherit this."""
    try:
        with open(f"/proc/{pid}/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return  # it has ended or is closed to others: then the kernel chooses by size
