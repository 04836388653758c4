"""The reference of socket options, made from the lab's table.

python -m tools.option_reference > docs/reference/options.md
"""

from __future__ import annotations

import sys

from lab.socket_options import OPTIONS, TCP_INFO, Option, takes

_HEAD = """\
# Socket options

`setsockopt` and `getsockopt` take every option of Linux by its name. A plain number is in the kernel's own
unit; only `SO_RCVTIMEO` and `SO_SNDTIMEO` need a unit. An option that counts time also takes a duration.
`{hex: …}` is the value as bytes. `python -m tools.option_reference` makes this page.

`SO_RCVTIMEO` and `SO_SNDTIMEO` end a call with EAGAIN (a connect with EINPROGRESS), as in the kernel; a
`settimeout` or a `timeout` of the call takes precedence.
"""

_GROUPS = {
    "SO": "SOL_SOCKET",
    "IP": "IP",
    "TCP": "TCP",
    "UDP": "UDP",
    "IPV6": "IPv6 (a socket of that family is not yet supported)",
}

_INFO = """
## TCP_INFO

`getsockopt TCP_INFO` gives these fields, under their kernel names without `tcpi_`; times are in µs, except
`last_…`, which are in ms. `expect: {result: {snd_cwnd: {min: 10}, ca_state: 0}}` checks some of them and
ignores the others. An older kernel gives fewer.

"""


def page() -> str:
    text = _HEAD
    for prefix, title in _GROUPS.items():
        text += f"\n## {title}\n\n| option | value | |\n|---|---|---|\n"
        options = [option for name, option in OPTIONS.items() if name.partition("_")[0] == prefix]
        text += "".join(f"| `{option.name}` | {takes(option)} | {_note(option)} |\n" for option in options)
    return text + _INFO + ", ".join(f"`{name}`" for name in TCP_INFO) + "\n"


def _note(option: Option) -> str:
    access = {"both": "", "get": "read only", "set": "set only"}[option.access]
    needs = f"needs {option.needs}" if option.needs else ""
    return "; ".join(filter(None, (access, needs)))


if __name__ == "__main__":
    sys.stdout.write(page())
