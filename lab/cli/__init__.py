"""The command line: each command has a module of its own, loaded when it is called.

A command imports the rest of the lab when it runs, inside its function: `lab run --help` takes 0.06 s, and
0.4 s with what `lab run` needs.
"""

from __future__ import annotations

import gc
import importlib
import sys
import traceback
from difflib import get_close_matches
from typing import Any

import click

from lab import __version__
from lab.cli.say import show, tell
from lab.errors import EXIT_ENVIRONMENT, EXIT_INTERRUPTED, EXIT_USAGE, LabError

#: name → its line in `lab --help`. Importing all the modules takes half a second, most of it the SDK.
COMMANDS = {
    "init": "write a first scenario and CI files into a project of your own",
    "run": "run scenarios and judge them",
    "check": "validate scenarios; needs no Docker",
    "list": "list the cases of scenarios",
    "matrix": "print a CI job matrix over scenarios",
    "up": "bring up the hosts of a scenario and leave them running",
    "sh": "open a shell, or run a command, on a running host",
    "down": "take down what `up` or `run --keep` left running",
    "report": "draw a stored run again: HTML, diagram, terminal",
    "recheck": "judge a stored run again, by other expectations if you like",
    "pcap": "merge the captures of a stored run into one pcapng",
    "schema": "print the JSON Schema of the scenario format, or write it into a project",
    "compose": "print a scenario's hosts as a Compose file",
    "doctor": "say what this machine can do, and how to get what is missing",
    "clean": "remove what dead runs left behind, or only list it",
    "engine": "the lab's own Docker engine: up, down, status",
    "images": "build the images that are missing",
    "client": "run the article's client by hand",
    "server": "run the article's server by hand",
}


class LazyGroup(click.Group):
    """Commands by name; a command's module is imported only when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"lab.cli.{cmd_name}_command")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise click.UsageError(f"no such command {args[0]!r}{hint}: one of {', '.join(COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lab")
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.")
def cli() -> None:
    """Socket behaviour across real hosts: one YAML file brings up containers on an impaired network, drives
    real socket calls, and judges what the calls, the captures and the kernels say."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits: 0 passed, 1 a check failed, 2 usage, 3 environment, 130 interrupted.

    `arguments` are those after `lab`; by default the process's own.
    """
    # None of the half million objects that the imports create is garbage: looking for it takes 35 ms of 350,
    # and another 50 ms when the interpreter exits.
    gc.set_threshold(50_000)
    status = _run(sys.argv[1:] if arguments is None else arguments)
    gc.freeze()
    sys.exit(status)


def _run(arguments: list[str]) -> int:
    debug = "--debug" in arguments
    try:
        code: Any = cli.main(args=arguments, prog_name="lab", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        show(error)
        return EXIT_USAGE
    except LabError as error:
        print_error(error)
        if debug:
            tell(traceback.format_exc())
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        tell("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout went away (`| head`): nothing is left to say, and Python must not try at exit.
        sys.stdout = None
        return 0
    except Exception as error:  # noqa: BLE001 - the last line of defence: a bug of the lab, reported as one
        if debug:
            tell(traceback.format_exc())
        tell(f"lab: internal error: {type(error).__name__}: {error}")
        if not debug:
            tell("  next: run it again as `lab --debug …` and report the traceback")
        return EXIT_ENVIRONMENT


def print_error(error: LabError) -> None:
    """An error as the user sees it, plain and unwrapped, on stderr."""
    for line in str(error).split("\n"):  # `splitlines` would also split at U+2028
        tell(line if line[:1].isspace() or ":" in line.split(" ")[0] else f"lab: {line}")
    if error.hint:
        tell(f"  next: {error.hint}")
