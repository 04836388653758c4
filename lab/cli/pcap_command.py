"""`lab pcap`: all captures of a run in one file."""

from __future__ import annotations

from pathlib import Path

import click

from lab.cli.say import say
from lab.cli.stored import run_folder


@click.command("pcap")
@click.argument("run", type=click.Path(path_type=Path), default=Path("runs/latest"))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Default: RUN/merged.pcapng."
)
def command(run: Path, output: Path | None) -> None:
    """Merge a run's captures into one pcapng in order of time, with an interface for each host.

    A packet that did not arrive carries a comment that says why. Wireshark and tshark open the file.
    """
    from lab.errors import UsageError
    from lab.evidence.pcapng_write import merge
    from lab.evidence.store import load_evidence

    folder = run_folder(run)
    evidence = load_evidence(folder)
    target = output or folder / "merged.pcapng"
    comments = {
        (journey.sent.host, journey.sent.number): f"lost: {journey.cause.text}"
        for journey in evidence.trace.lost()
        if journey.sent is not None and journey.cause is not None
    }
    try:
        merge(list(evidence.captures.values()), target, comments)
    except OSError as error:
        raise UsageError(f"{target}: cannot be written: {error.strerror}") from error
    say(target)
