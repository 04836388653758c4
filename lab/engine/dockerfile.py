"""A Dockerfile as the engine gets it: the lab's own images by their tags, and each step with its line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

from msgspec import Struct

from lab.errors import UsageError

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::([-+])([^{}]*))?\})")
_DIRECTIVE = re.compile(r"#\s*(\w+)\s*=\s*(\S+)\s*")
_FROM_OTHER = re.compile(r"(?<=--from=)(\S+)")
#: What only BuildKit knows; every engine from 20.10 on has the classic builder.
_BUILDKIT = {
    "RUN": re.compile(r"--(mount|network|security)=|.*<<-?[\"']?\w+"),
    "COPY": re.compile(r"--(link|chmod|parents|exclude)\b|.*<<-?[\"']?\w+"),
    "ADD": re.compile(r"--(link|chmod|checksum|keep-git-dir|exclude)\b"),
}
_PLATFORMS = re.compile(r"--platform=[\"']?\$\{?(BUILD|TARGET)PLATFORM\}?[\"']?$")


class Dockerfile(Struct, frozen=True):
    """What is built. Lines are counted from 1, in the file as its author wrote it."""

    text: str
    lines: tuple[int, ...]  #: the author's line of each line of `text`
    steps: tuple[int, ...]  #: the author's line of each step that the builder counts
    #: Images that must be on the engine first, each with the line that names it.
    images: tuple[tuple[str, int], ...]


class _Instruction(Struct, frozen=True):
    word: str  #: in capitals
    rest: str  #: without continuations and comments
    first: int  #: number of its first line
    raw: tuple[str, ...]


def prepared(
    text: str, *, where: str, bases: Mapping[str, str], arguments: Mapping[str, str], label: str = ""
) -> Dockerfile:
    """The file with `lab-base` and `lab-host` replaced by the tags of `bases`, wherever it takes an image.

    `lab-host` is given without its ENTRYPOINT, which is the agent. With `label` (KEY=VALUE) every stage
    carries it, so that what a build leaves without a tag can be told from others' images. Raises `UsageError`
    for what only BuildKit can build, and for a file without FROM.
    """
    writer = _Writer(where, bases, arguments, label)
    for line in _lines(text):
        if isinstance(line, _Instruction):
            writer.add(line)
        else:
            writer.plain(*line)
    return writer.finish()


def _lines(text: str) -> Iterator[_Instruction | tuple[int, str]]:
    """The instructions, and the lines between them with their numbers."""
    lines = text.removeprefix("\ufeff").splitlines()
    escape = _escape(lines)
    number = 0
    while number < len(lines):
        line = lines[number]
        if not line.strip() or line.lstrip().startswith("#"):
            yield number + 1, line
            number += 1
            continue
        first, joined = number, ""
        while number < len(lines):
            line = lines[number]
            number += 1
            if number > first + 1 and (not line.strip() or line.lstrip().startswith("#")):
                continue  # an empty line or a comment does not end a continued instruction
            content = line.rstrip()
            if not content.endswith(escape):
                joined += content
                break
            joined += content[: -len(escape)]
        word, _, rest = joined.strip().partition(" ")
        yield _Instruction(word.upper(), rest.strip(), first + 1, tuple(lines[first:number]))


def _escape(lines: list[str]) -> str:
    for line in lines:
        found = _DIRECTIVE.fullmatch(line.strip())
        if found is None:
            break  # directives come at the top
        if found[1].lower() == "escape" and found[2] in ("\\", "`"):
            return found[2]
    return "\\"


class _Writer:
    def __init__(
        self, where: str, bases: Mapping[str, str], arguments: Mapping[str, str], label: str
    ) -> None:
        self._label = label
        self._where = where
        self._bases = bases
        self._arguments = arguments
        self._values: dict[str, str] = {}
        self._stages: set[str] = set()
        self._in_stage = False
        self._host_stage = False
        self._text: list[str] = []
        self._lines: list[int] = []
        self._steps: list[int] = []
        self._images: dict[str, int] = {}

    def plain(self, number: int, line: str) -> None:
        self._text.append(line)
        self._lines.append(number)

    def add(self, one: _Instruction) -> None:
        if (pattern := _BUILDKIT.get(one.word)) is not None and pattern.match(one.rest):
            raise UsageError(
                f"{self._where}:{one.first}: {one.word} {one.rest[:60]}: only BuildKit can build this",
                hint="build it yourself (`docker build -t NAME …`) and name it as `image: NAME`, "
                "or write it without that option",
            )
        raw = list(one.raw)
        if one.word == "ARG" and not self._in_stage:
            self._argument(one.rest)
        elif one.word == "FROM":
            raw = self._from(one)
        elif one.word in ("COPY", "ADD"):
            raw = [_FROM_OTHER.sub(lambda m: self._other(m[1], one.first), line) for line in raw]
        self._steps.append(one.first)
        for offset, line in enumerate(raw):
            self.plain(one.first + offset, line)
        if one.word == "FROM":
            more = ["ENTRYPOINT []"] if self._host_stage else []
            for line in [*more, f"LABEL {self._label}"] if self._label else more:
                self._steps.append(one.first)
                self.plain(one.first, line)

    def finish(self) -> Dockerfile:
        if not self._in_stage:
            raise UsageError(
                f"{self._where}: it has no FROM", hint="begin it with FROM lab-base, for example"
            )
        return Dockerfile(
            "\n".join(self._text) + "\n",
            tuple(self._lines),
            tuple(self._steps),
            tuple(self._images.items()),
        )

    def _argument(self, rest: str) -> None:
        """An ARG before the first FROM: the only values that a FROM may use."""
        try:
            words = shlex.split(rest)
        except ValueError:
            return  # the builder says what is wrong with it
        for word in words:
            name, equals, default = word.partition("=")
            if name in self._arguments:
                self._values[name] = self._arguments[name]
            elif equals:
                self._values[name] = self._expanded(default)

    def _from(self, one: _Instruction) -> list[str]:
        words = one.rest.split()
        flags = [word for word in words if word.startswith("--")]
        rest = [word for word in words if not word.startswith("--")]
        self._in_stage, self._host_stage = True, False
        if not rest:
            return list(one.raw)  # the builder says what is wrong with it
        image = self._expanded(rest[0].strip("\"'"))
        self._host_stage = image.removesuffix(":latest") == "lab-host" and image.lower() not in self._stages
        rest[0] = self._other(image, one.first)
        if len(rest) == 3 and rest[1].upper() == "AS":
            self._stages.add(rest[2].lower())
        # The classic builder does not know these two, and builds for the engine's own platform anyway.
        flags = [self._expanded(flag) for flag in flags if not _PLATFORMS.match(flag)]
        # One line in place of however many, the others left empty, so that numbers hold.
        return [" ".join(["FROM", *flags, *rest]), *[""] * (len(one.raw) - 1)]

    def _other(self, name: str, line: int) -> str:
        """What stands for an image in a FROM or --from: a stage, an image of the lab, or another's."""
        if name.lower() in self._stages or name.isdigit() or name == "scratch" or not name:
            return name
        tag = self._bases.get(name.removesuffix(":latest"))
        if tag is not None:
            return tag
        if "$" not in name:
            self._images.setdefault(name, line)
        return name

    def _expanded(self, text: str) -> str:
        def value(found: re.Match[str]) -> str:
            have = self._values.get(found[1] or found[2], "")
            if found[3] == "-":
                return have or found[4]
            if found[3] == "+":
                return found[4] if have else ""
            return have

        return _VARIABLE.sub(value, text)
