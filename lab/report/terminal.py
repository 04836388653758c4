"""The terminal report: whether it held, where it first went wrong, what was judged, what to do next.

Lines with a place, an expectation or a reason are never wrapped or cut: they are for copying. Only the cells
of the table are cut to the width. Colour is never the only sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.harmless import clean, printed
from lab.quantities import plural, seconds
from lab.report.text import Paint, cut, fit, tally
from lab.report.values import value_tables
from lab.result import Result, time_taken
from lab.verdict import Finding, Verdict

_GOOD = (Verdict.PASS, Verdict.SKIP)


def render(
    result: Result,
    *,
    width: int = 80,
    colour: bool = False,
    verbose: bool = False,
    folder: Path | None = None,
) -> str:
    """One case as text that ends in a newline. `verbose` shows all findings in full and all phases."""
    paint = Paint(colour)
    lines = [_headline(result, width, paint)]
    if result.summary:
        lines.append(f"      {clean(result.summary)}")
    lines += _why(result, paint, verbose)
    lines += _table(result.findings, width, paint, verbose)
    lines += _impairment(result, paint, verbose)
    lines += [f"  {clean(name)} = {clean(value)}" for name, value in result.values.items()]
    lines += _foot(result, width, paint, verbose, folder)
    return printed("\n".join(line.rstrip() for line in lines) + "\n", colour=colour)


def render_suite(
    results: Sequence[Result],
    *,
    width: int = 80,
    colour: bool = False,
    verbose: bool = False,
    folders: Sequence[Path | None] = (),
) -> str:
    """Many cases: a line for each, then in full those that did not hold, then the totals.

    `folders` has one folder for each result, or is empty.
    """
    paint = Paint(colour)
    where = list(folders) or [None] * len(results)
    lines = [_headline(result, width, paint) for result in results]
    blocks = []
    for result, folder in zip(results, where, strict=True):
        if verbose or result.verdict not in _GOOD:
            blocks.append(
                f"\n{'─' * width}\n"
                + render(result, width=width, colour=colour, verbose=verbose, folder=folder).rstrip("\n")
            )
        elif result.verdict is Verdict.SKIP:
            lines[results.index(result)] += f"\n      {clean(result.reason)}"
    blocks += [f"\n{table}" for table in value_tables(results, width)]
    total = Verdict.of(result.verdict for result in results)
    spent = seconds(time_taken(results))
    end = f"{paint.verdict(total, 6)}{plural(len(results), 'case')}: {tally(r.verdict for r in results)}"
    if not results:
        end = f"{paint.verdict(Verdict.ERROR, 6)}no case was run"
    elif all(result.verdict is Verdict.SKIP for result in results):
        end += paint("  nothing was tested", "bold", "yellow")
    return printed("\n".join([*lines, *blocks, "", f"{end}  ({spent})"]) + "\n", colour=colour)


def _headline(result: Result, width: int, paint: Paint) -> str:
    """`PASS  timeout[delay=5ms]      3.42 s`; the name is cut only if the line would wrap."""
    took = seconds(result.seconds)
    room = max(20, width - 8 - len(took))
    name = fit(clean(result.name), room)
    return f"{paint.verdict(result.verdict, 6)}{paint(name, 'bold')}  {paint(took, 'dim')}"


def _why(result: Result, paint: Paint, verbose: bool) -> list[str]:
    """The first thing that went wrong, in full; the others with `verbose`."""
    if result.verdict is Verdict.PASS:
        return []
    if result.verdict is Verdict.SKIP:
        return ["", f"  Skipped: {clean(result.reason)}"]
    lines: list[str] = [""]
    if result.error is not None:
        place = f"{clean(str(result.error.place))}: " if result.error.place else ""
        lines.append(f"  {paint('The lab could not judge this', 'bold')} ({clean(result.error.kind)})")
        message = clean(result.error.message, keep_newlines=True).splitlines() or [""]
        lines.append(f"    {place}{message[0]}")
        lines += [f"    {line}" for line in message[1:]]
        if result.error.hint:
            lines.append(f"    next: {clean(result.error.hint)}")
    first = result.first_failure
    if first is not None:
        if result.error is not None:
            lines.append("")
        lines.append(f"  {paint('It first went wrong here', 'bold')}")
        lines += finding_lines(first, paint, indent="    ")
        rest = [f for f in result.findings if f.verdict not in _GOOD and f is not first]
        if verbose:
            for finding in rest:
                lines += ["", *finding_lines(finding, paint, indent="    ")]
    elif result.error is None:
        lines.append(f"  {clean(result.reason)}")
    return lines


def finding_lines(finding: Finding, paint: Paint, *, indent: str) -> list[str]:
    """One finding in full: `file:line:column: name (source)`, then expected, got, tolerance and so on."""
    lines = [f"{clean(str(finding.place))}: {paint(clean(finding.name), 'bold')} ({clean(finding.source)})"]
    rows = [
        ("expected", finding.expected, ()),
        ("got", finding.actual, ("bold",)),
        ("tolerance", finding.tolerance, ()),
        ("margin", finding.margin, ()),
        ("because", finding.reason, ()),
        ("packets", packets_text(finding), ()),
    ]
    for label, text, styles in rows:
        first, *more = text.splitlines() or [""]
        if first:
            lines.append(f"  {label:<10} {paint(clean(first), *styles)}")
            lines += [f"  {'':<10} {paint(clean(line), *styles)}" for line in more]
    return [indent + line for line in lines]


def packets_text(finding: Finding) -> str:
    """`client #3, #5 · server #2`: frame numbers as in Wireshark, at most 6 per host."""
    hosts: dict[str, list[int]] = {}
    for ref in finding.packets:
        hosts.setdefault(ref.host, []).append(ref.number)
    parts = []
    for host, numbers in hosts.items():
        shown = ", ".join(f"#{number}" for number in numbers[:6])
        more = f" and {len(numbers) - 6:,} more" if len(numbers) > 6 else ""
        parts.append(f"{clean(host)} {shown}{more}")
    return " · ".join(parts)


def _table(findings: Sequence[Finding], width: int, paint: Paint, verbose: bool) -> list[str]:
    if not findings:
        return []
    names = [clean(f.name) for f in findings]
    places = [f"line {f.place.line}" for f in findings]
    place_width = max(len(p) for p in places)
    name_width = min(max(len(n) for n in names), 26)
    room = width - 2 - 6 - place_width - 2 - name_width - 2
    lines = ["", f"  {paint('Judged', 'bold')}  {tally(f.verdict for f in findings)}"]
    for finding, name, place in zip(findings, names, places, strict=True):
        good = finding.verdict is Verdict.PASS
        if good:
            text = clean(finding.actual or finding.expected)
            if finding.margin and verbose:
                text = f"{text}  (margin {clean(finding.margin)})"
        else:
            text = clean(finding.reason or f"{finding.actual}, not {finding.expected}")
        lines.append(
            f"  {paint.verdict(finding.verdict, 6)}{paint(fit(place, place_width), 'dim')}  "
            f"{fit(name, name_width)}  {cut(text, room) if room > 8 else ''}"
        )
        if verbose and good and finding.expected and finding.expected != finding.actual:
            space = " " * (12 + place_width + name_width)
            lines.append(space + paint(f"expected {clean(finding.expected)}", "dim"))
    return lines


def _impairment(result: Result, paint: Paint, verbose: bool) -> list[str]:
    """Configured against measured values: all with `verbose`, otherwise only contradictions."""
    shown = [p for p in result.links if verbose or p.verdict == "contradiction"]
    if not shown:
        return []
    lines = ["", f"  {paint('The link, configured and measured', 'bold')}"]
    for proof in shown:
        path = f"{proof.source} → {proof.target}" if proof.target else f"{proof.source} {proof.direction}"
        verdict = proof.verdict.upper() if proof.verdict == "contradiction" else proof.verdict
        lines.append(
            f"  {verdict:<13} {clean(path)} {proof.quantity}: "
            f"{proof.configured} configured, {proof.measured} measured of {proof.samples:,}"
            + (f" ({proof.spread})" if proof.spread else "")
        )
        if proof.detail and proof.verdict == "contradiction":
            lines.append(f"    {clean(proof.detail)}")
    return lines


def _foot(result: Result, width: int, paint: Paint, verbose: bool, folder: Path | None) -> list[str]:
    lines = [""]
    if result.phases:
        if verbose:
            longest = max(len(phase.name) for phase in result.phases)
            lines += [
                f"  {fit(clean(phase.name), longest)}  from {phase.start:7.3f} s  for {phase.seconds:7.3f} s"
                for phase in result.phases
            ]
        else:
            phases = " · ".join(f"{clean(phase.name)} {seconds(phase.seconds)}" for phase in result.phases)
            lines.append("  " + cut(f"Time    {phases}", width - 2))
    if result.environment is not None and result.environment.wire:
        env = result.environment
        wire = f"Wire    {env.wire}" + (f": {env.wire_reason}" if env.wire_reason and verbose else "")
        lines.append(f"  {clean(wire)}")
    lines += [f"  Note    {clean(note)}" for note in result.notes]
    if folder is not None:
        lines.append(f"  Folder  {clean(str(folder))}")
        lines += [f"  {paint('Next', 'bold')}    {line}" for line in _next(result, folder)[:1]]
        lines += [f"          {line}" for line in _next(result, folder)[1:]]
    return lines if len(lines) > 1 else []


def _next(result: Result, folder: Path) -> list[str]:
    picture = f"open {folder / 'report.html'}"
    drawn = f"lab report --diagram {folder}"
    if result.verdict is Verdict.PASS:
        return [picture]
    if not result.captures and result.error is not None and result.error.hint:
        return []  # the error's hint says what to do next
    if result.verdict is Verdict.SKIP or not result.captures:
        return ["lab doctor   (what this machine can do)"]
    return [drawn, picture]
