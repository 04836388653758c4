"""The reference of the command line `docs/reference/cli.md`, from the commands' own help.

python -m tools.cli_reference > docs/reference/cli.md
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from lab.cli import COMMANDS, cli
from lab.programs import client, server

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"
WIDTH = 90  #: columns of the help texts on the page

_HEAD = """\
# The command line

`lab COMMAND --help` says the same as this page, which `python -m tools.cli_reference` makes from it.
`lab` is `.venv/bin/lab`, or `python -m lab` with the Python of that virtual environment.

The report goes to stdout, progress and errors to stderr. An error says where it is, what was found, what is
allowed and what to do next; `lab --debug COMMAND` adds the traceback.

| exit status | means |
|---|---|
| 0 | all passed, or all were skipped, which the report says clearly |
| 1 | a check or an expectation failed: FAIL |
| 2 | bad usage, a bad scenario, or nothing to run |
| 3 | the lab or its environment broke, or the wire did not do what was asked: ERROR |
| 130 | interrupted; everything was taken down |

| variable | effect |
|---|---|
| `DOCKER_HOST`, `DOCKER_CONTEXT`, `DOCKER_CONFIG`, `DOCKER_TLS_VERIFY`, `DOCKER_CERT_PATH` | which engine, \
as for the command `docker`; [lab.yml](site.md) takes precedence |
| `LAB_STATE` | the folder of the lab's own engine and of the locks of runs, instead of the default |
| `NO_COLOR`, `TERM=dumb` | no colour |

The commands:

"""


def text() -> str:
    """The whole page."""
    lines = [f"- [`lab {name}`](#lab-{name}): {line}" for name, line in COMMANDS.items()]
    return _HEAD + "\n".join(lines) + "\n" + "".join(_sections())


def _sections() -> Iterator[str]:
    with click.Context(cli, info_name="lab", terminal_width=WIDTH, **cli.context_settings) as context:
        for name in COMMANDS:
            yield f"\n## lab {name}\n\n"
            if name in ("client", "server"):
                yield _block(_program_help(name))
                continue
            command = cli.get_command(context, name)
            assert command is not None
            yield from _help(command, name, context)


def _help(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    """The help of a command and of its subcommands."""
    with click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH) as context:
        yield _block(command.get_help(context))
        if isinstance(command, click.Group):
            for inner in command.list_commands(context):
                found = command.get_command(context, inner)
                assert found is not None
                yield f"\n### {context.command_path} {inner}\n\n"
                yield from _help(found, inner, context)


def _program_help(name: str) -> str:
    """The help of one of the article's programs, which use plain argparse and print it."""
    program = {"client": client.main, "server": server.main}[name]
    printed = io.StringIO()
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(WIDTH)
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            program(["--help"], prog=f"lab {name}")
    finally:
        if columns is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = columns
    return printed.getvalue()


def _block(help_text: str) -> str:
    return f"```text\n{help_text.strip()}\n```\n"


if __name__ == "__main__":
    sys.stdout.write(text())
