"""`lab run`: scenarios to verdicts."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lab.cli.options import colour, parse_params
from lab.cli.say import say, tell
from lab.errors import EXIT_INTERRUPTED, UsageError
from lab.verdict import Verdict


@click.command("run")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-k", "keyword", metavar="TEXT", help="Only cases whose name contains TEXT.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only scenarios with one of these tags.")
@click.option("--param", "params", multiple=True, metavar="K=V", help="Only this value of a parameter.")
@click.option("--repeat", type=click.IntRange(1, 1000), default=1, metavar="N", help="Run each case N times.")
@click.option("-j", "--jobs", default="1", metavar="N|auto", help="Cases at a time; auto: one per CPU.")
@click.option("--keep", is_flag=True, help="Leave the hosts running after the steps, to look around.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Instead of runs/.")
@click.option("--wire", type=click.Choice(["auto", "kernel", "uml"]), help="Instead of lab.yml's.")
@click.option("-v", "--verbose", is_flag=True, help="Every step and check, and all progress.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
@colour
def command(
    paths: tuple[Path, ...],
    keyword: str | None,
    tags: tuple[str, ...],
    params: tuple[str, ...],
    repeat: int,
    jobs: str,
    keep: bool,
    out: Path | None,
    wire: str | None,
    verbose: bool,
    quiet: bool,
    color: bool,
) -> int:
    """Run scenarios from files and folders, and judge them.

    The report goes to stdout, progress to stderr. Exit status: 0 all passed, 1 a check failed, 2 bad usage or
    nothing to run, 3 the lab or its environment broke, 130 interrupted.
    """
    from lab.cli.progress import Progress
    from lab.runner.invocation import invoke
    from lab.runner.selection import Selection

    workers = _workers(jobs)
    if keep and (workers > 1 or repeat > 1):
        raise UsageError("--keep works with one case at a time", hint="leave out -j and --repeat")
    selection = Selection(paths, keyword, tags, parse_params(params))
    progress = Progress(quiet=quiet, verbose=verbose)
    done = invoke(selection, repeat=repeat, workers=workers, keep=keep, out=out, wire=wire, listener=progress)
    progress.clear()
    say(done.report(colour=color, verbose=verbose), nl=False, colour=color)
    sys.stdout.flush()
    if done.interrupted:
        tell(f"interrupted by {done.interrupted}: everything was taken down")
        return EXIT_INTERRUPTED
    return Verdict.of(outcome.result.verdict for outcome in done.outcomes).exit_code


def _workers(text: str) -> int:
    from lab.runner.suite import default_workers

    if text == "auto":
        return default_workers()
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"-j {text}: allowed: a number from 1, or auto")
    return int(text)
