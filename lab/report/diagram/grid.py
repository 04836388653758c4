"""Rows of cells for a picture in a terminal: characters, their colours, and an ASCII form."""

from __future__ import annotations

from dataclasses import dataclass, field

from lab.report.text import Paint, cells

_ASCII = str.maketrans(
    {
        **dict.fromkeys("─╌═·–−", "-"),
        **dict.fromkeys("│├┤╎", "|"),
        **dict.fromkeys("╮╭", "."),
        **dict.fromkeys("╰╯", "'"),
        **dict.fromkeys("“”", '"'),
        **dict.fromkeys("▶▷→", ">"),
        **dict.fromkeys("◀◁←", "<"),
        **dict.fromkeys("…±⏎␍␉", "~"),
        "┃": "#",
        "┼": "+",
        "╳": "X",
        "×": "x",
        "µ": "u",
        "⋮": ":",
        "●": "o",
        "◆": "*",
        "↻": "@",
    }
)


@dataclass(slots=True)
class Row:
    cells: list[str]
    styles: list[tuple[str, ...]]
    text_host: str | None = None  #: the host whose line has words beside it
    text_end: int = 0


@dataclass(slots=True)
class Grid:
    """Rows of `width` cells each."""

    width: int
    paint: Paint
    ascii: bool
    rows: list[Row] = field(default_factory=list, init=False)

    def plain(self, text: str) -> str:
        """The text, in ASCII if requested."""
        if not self.ascii:
            return text
        return text.translate(_ASCII).encode("ascii", "replace").decode()

    def put(self, row: Row, at: int, text: str, styles: tuple[str, ...] = ()) -> None:
        """Writes `text` over the cells from `at`; what does not fit is left out."""
        for character in text:
            size = cells(character)
            if at < 0 or size == 0 or at + size > self.width:
                at += size
                continue
            row.cells[at] = character
            row.styles[at] = styles
            if size == 2:
                row.cells[at + 1] = ""
            at += size

    def dash(self, row: Row, start: int, stop: int, stroke: str, styles: tuple[str, ...]) -> None:
        """Draws strokes over the cells of [start, stop); lines that they cross stay visible."""
        for at in range(start, stop):
            row.cells[at] = "┼" if row.cells[at] in "│┃" else stroke
            row.styles[at] = styles

    def finish(self, row: Row) -> str:
        """The row as text, in its colours."""
        text: list[str] = []
        run, style = "", row.styles[0]
        for character, styles in zip(row.cells, row.styles, strict=True):
            if styles != style:
                text.append(self.paint(self.plain(run), *style))
                run, style = "", styles
            run += character
        text.append(self.paint(self.plain(run), *style))
        return "".join(text)
