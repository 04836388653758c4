"""`lab report`: a stored run, drawn again."""

from __future__ import annotations

from pathlib import Path

import click

from lab.cli.options import colour
from lab.cli.say import say
from lab.cli.stored import run_folder


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path), default=Path("runs/latest"))
@click.option("--diagram", is_flag=True, help="The sequence diagram, for the terminal.")
@click.option("--mermaid", is_flag=True, help="The sequence diagram as Mermaid text.")
@click.option("--svg", is_flag=True, help="The sequence diagram as an SVG document.")
@click.option("--ascii", "plain", is_flag=True, help="With --diagram: ASCII characters only.")
@click.option("--width", type=click.IntRange(40, 400), default=80, help="Columns of the terminal.")
@click.option("-v", "--verbose", is_flag=True, help="Every step and check, including those that passed.")
@colour
def command(
    run: Path, diagram: bool, mermaid: bool, svg: bool, plain: bool, width: int, verbose: bool, color: bool
) -> None:
    """Draw a stored run again (default: runs/latest). Needs no Docker.

    Without an option, print the terminal report and write report.html and junit.xml again.
    """
    from lab import report
    from lab.evidence.store import EVENTS_FILE, load_evidence
    from lab.files import is_file
    from lab.result import read_result

    folder = run_folder(run)
    result = read_result(folder)
    evidence = load_evidence(folder) if is_file(folder / EVENTS_FILE, folder) else None
    if not (diagram or mermaid or svg):
        report.write_reports(folder, result, evidence)
        say(
            report.render(result, width=width, colour=color, verbose=verbose, folder=folder),
            nl=False,
            colour=color,
        )
        return
    if evidence is None:
        from lab.errors import UsageError

        raise UsageError(f"{folder}: it holds no evidence, so nothing can be drawn: {result.reason}")
    if diagram:
        drawn = report.diagram_text(evidence, width=width, colour=color, ascii=plain, result=result)
        say(drawn, nl=False, colour=color)
    if mermaid:
        say(report.diagram_mermaid(evidence, result=result), nl=False)
    if svg:
        say(report.diagram_svg(evidence, result=result), nl=False)
