"""`lab doctor`: what this machine can do."""

from __future__ import annotations

import click

from lab.cli.say import say, tell
from lab.errors import EXIT_ENVIRONMENT


@click.command("doctor")
def command() -> int:
    """Say what this machine can do, and how to get what is missing. Exit status 3 if runs would fail."""
    from lab.doctor import diagnose, examine, render
    from lab.site import load_site

    findings = diagnose(examine(load_site(), tell))
    say(render(findings), nl=False)
    return EXIT_ENVIRONMENT if any(finding.level == "bad" for finding in findings) else 0
