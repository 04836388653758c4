"""The reference of the Python API `docs/reference/python.md`, from the docstrings.

python -m tools.python_reference > docs/reference/python.md
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import lab
from lab.api.sock import Datagram, Last

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "python.md"

_HEAD = """\
# The Python API

`python -m tools.python_reference` makes this page from the docstrings.
[The tutorial](../tutorial-pytest.md) shows how to use the API in tests.

A call takes the keys of the step of the same name in [the scenario format](scenario.md), with the same
defaults; `as` and `from` are `as_` and `from_`. A time given to a call is a duration text, or seconds as a
number; inside a value shaped as in YAML it needs its unit, as there. Data of sockets, in and out, is bytes;
output of a program or a service is text. Everything may be used from any thread. No signal handler is
installed.

```python
import lab

with lab.up("compose/pair.yml", hosts={"client": {"link": {"delay": "50ms"}}}) as net:
    client, server = net["client"], net["server"]
    listener = server.listen(8001)
    c = client.connect("server:8001", timeout="1s")  # raises what Python's own socket would raise
    s = listener.accept()
    c.sendall(b"hello")
    assert s.recv(2) == b"he"  # a stream has no boundaries
    assert s.recv_exactly(3, timeout="1s") == b"llo"

    waiting = c.recv(10, background=True)
    net.link("client", delay="200ms")
    s.sendall(b"answer")
    assert waiting.result() == b"answer"
    assert waiting.elapsed > 0.19  # seconds

    server.process("other").listen(8002)
    server.kill("other")  # its kernel closes what it had open
    try:
        client.connect("server:8002", timeout="1s")
    except ConnectionRefusedError as error:
        print(error)

    run = client.run(["ss", "-tan"], timeout="5s")
    assert "8001" in run.stdout
    net.check("handshake", from_="client", to="server:8001")  # raises lab.CheckFailed
print(net.folder / "report.html")  # always written
assert lab.open(net.folder).recheck().verdict is lab.Verdict.PASS
```

"""
_FUNCTIONS = ("up", "run", "load", "open")
_CLASSES = (
    *(
        lab.Lab,
        lab.Host,
        lab.Process,
        lab.Socket,
        lab.Call,
        lab.Ran,
        Last,
        Datagram,
        lab.Service,
        lab.StoredRun,
    ),
    *(lab.LabError, lab.ScenarioError, lab.CheckFailed, lab.ProcessKilled),
)


def text() -> str:
    """The whole page."""
    return _HEAD + "\n".join(_parts()) + "\n"


def _parts() -> Iterator[str]:
    yield "## Functions\n"
    for name in _FUNCTIONS:
        yield from _function(f"lab.{name}", getattr(lab, name), "###")
    for cls in _CLASSES:
        yield f"## {cls.__name__}\n"
        yield f"{inspect.getdoc(cls)}\n"
        yield from _members(cls)


def _members(cls: type) -> Iterator[str]:
    if issubclass(cls, Exception):
        return
    for name, member in _named(cls):
        if isinstance(member, property):
            yield f"- `.{name}`: {_line(inspect.getdoc(member) or 'see the type')}"
    yield ""
    for name, member in _named(cls):
        if inspect.isfunction(member):
            yield from _function(f".{name}", member, "###")


def _named(cls: type) -> Iterator[tuple[str, object]]:
    """The public members of a class and of those of its bases that are the lab's, each once, in order."""
    seen: set[str] = set()
    for owner in cls.__mro__:
        if owner.__module__.startswith("lab."):
            for name, member in vars(owner).items():
                if not name.startswith("_") and name not in seen and name not in ("call", "do", "fresh"):
                    seen.add(name)
                    yield name, member


def _function(name: str, function: object, mark: str) -> Iterator[str]:
    assert callable(function)
    parameters = [one for one in inspect.signature(function).parameters.values() if one.name != "self"]
    shown = inspect.Signature([one.replace(annotation=inspect.Parameter.empty) for one in parameters])
    yield f"{mark} `{name}{shown}`\n"
    yield f"{inspect.getdoc(function) or f'The step `{name.strip(chr(46))}`.'}\n"


def _line(doc: str) -> str:
    return " ".join(doc.split())


if __name__ == "__main__":
    sys.stdout.write(text())
