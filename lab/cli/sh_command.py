"""`lab sh`: a shell or a command on a running host."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import click

from lab.cli.say import tell


@click.command("sh", context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND]...")
@click.option("--run", metavar="ID", help="Which lab, if several are running.")
def command(host: str, words: tuple[str, ...], run: str | None) -> int:
    """Open a shell on HOST of a running lab, or run COMMAND there. `wire` is the router between the hosts;
    HOST/SERVICE is inside a service.

    Stdin is passed on unless it is a terminal: lab sh client wc -l < file. In a loop that reads a file,
    write lab sh … < /dev/null, as for ssh.
    """
    from lab.engine.private import find_engine
    from lab.errors import UsageError
    from lab.runner.standing import choose
    from lab.site import load_site

    engine = find_engine(tell, address=load_site().engine_address, start=False)
    lab = choose(engine, run)
    if host not in lab.hosts:
        raise UsageError(f"run {lab.run} has no running host {host!r}: it has {', '.join(lab.hosts)}")
    container, shell = lab.hosts[host].id, "/bin/sh" if "/" in host else "/bin/bash"
    stdin = _piped()
    if words or stdin is not None:
        return engine.exec_attached(container, list(words) or [shell], stdin, _write)
    docker = shutil.which("docker")
    if docker is None:
        raise UsageError("a shell needs the command `docker`", hint=f"name a command: lab sh {host} ip route")
    environment = {**os.environ, "DOCKER_HOST": engine.info().address}
    return subprocess.run([docker, "exec", "-it", container, shell], env=environment, check=False).returncode


def _piped() -> int | None:
    """The descriptor of stdin if it is a file or a pipe; None if it is a terminal or closed."""
    if sys.stdin is None or sys.stdin.isatty():
        return None
    return sys.stdin.fileno()


def _write(stream: str, data: bytes) -> None:
    out = sys.stdout.buffer if stream == "stdout" else sys.stderr.buffer
    out.write(data)
    out.flush()
