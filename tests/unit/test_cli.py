"""The command line without an engine: exit codes, where things are printed, and what is said."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from lab import cli
from lab.errors import EngineError

VALID = """\
lab: 1
name: two
summary: two delays
tags: [quick]
params: {delay: [1ms, 2ms]}
hosts:
  client:
    link: {delay: "${delay}"}
steps:
  - {do: listen, at: server, port: 8001, as: srv}
  - {do: connect, at: client, to: "server:8001", as: c}
"""


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    code = ended.value.code
    assert isinstance(code, int)
    return code


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    file = tmp_path / "two.yml"
    file.write_text(VALID)
    return file


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help") == 0
    assert "usage" in capsys.readouterr().out.lower()


def test_a_misspelt_command_is_usage_and_suggests(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("chekc") == 2
    assert "did you mean 'check'?" in capsys.readouterr().err


def test_check_says_what_is_valid(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", scenario) == 0
    assert capsys.readouterr().out == "1 file, 2 cases: valid\n"


def test_check_prints_errors_plain_on_stderr(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario.write_text(VALID.replace("8001, as", "80010000, as").replace("name: two", "nmae: two"))
    assert run("check", scenario) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(": ")[0] for line in err.splitlines()] == [f"{scenario}:2:1", f"{scenario}:10:36"]


def test_list_as_json_is_what_tools_read(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", scenario, "--format", "json") == 0
    cases = json.loads(capsys.readouterr().out)
    assert [(case["name"], case["params"], case["tags"]) for case in cases] == [
        ("two[delay=1ms]", {"delay": "1ms"}, ["quick"]),
        ("two[delay=2ms]", {"delay": "2ms"}, ["quick"]),
    ]


def test_nothing_to_run_is_usage(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", scenario, "--tag", "slow") == 2
    assert "none of 2 cases matches --tag slow" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "{file}", "-j", "many"], "-j many: allowed: a number from 1, or auto"),
        (["run", "{file}", "--keep", "-j", "2"], "--keep works with one case at a time"),
        (["run", "{file}", "--param", "delay"], "a parameter and its value"),
        (["run", "nowhere.yml"], "nowhere.yml"),
        (["report", "nowhere"], "no such folder"),
        (["recheck", "."], "not a run folder"),
        (["matrix", "{file}", "-k", "none"], "nothing to run"),
    ],
)
def test_bad_usage_is_2_and_says_why(
    scenario: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run(*(word.format(file=scenario) for word in arguments)) == 2
    assert said in capsys.readouterr().err


def broken(error: Exception) -> object:
    def main(**_: object) -> int:
        raise error

    return type("Broken", (), {"main": staticmethod(main)})


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (EngineError("no engine", hint="start one"), 3, "lab: no engine\n  next: start one\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (ValueError("a bug"), 3, "internal error: ValueError: a bug"),
    ],
)
def test_how_errors_end_the_command(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    said: str,
) -> None:
    monkeypatch.setattr(cli, "cli", broken(error))
    assert run("run") == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "cli", broken(ValueError("a bug")))
    assert run("--debug", "run") == 3
    assert "Traceback" in capsys.readouterr().err


# Who prints and exits

ROOT = Path(__file__).resolve().parents[2]
#: The article's programs run by themselves, in hosts; they import nothing of the lab.
PROGRAMS = ("lab/pattern_worker.py", "lab/programs/client.py", "lab/programs/server.py")


SPEAK = re.compile(r"print|exit|quit|SystemExit|sys\.exit|os\._exit|click\.\w+")
#: Without any of these words a text cannot speak: most modules need not be parsed.
WORDS = re.compile(r"\b(?:print|exit|_exit|quit|SystemExit|click|__name__)\b")


def speaking(text: str) -> list[int]:
    """Lines that print or exit, and those of a `main` of a module's own."""
    found = []
    for node in ast.walk(ast.parse(text)) if WORDS.search(text) else ():
        match node:
            case ast.Call(func=ast.Name() | ast.Attribute(value=ast.Name())):
                speaks = SPEAK.fullmatch(ast.unparse(node.func)) is not None
            case ast.Compare(left=ast.Name(id="__name__")):
                speaks = ast.unparse(node) == "__name__ == '__main__'"
            case _:
                continue
        found += [node.lineno] if speaks else []
    return found


@pytest.mark.parametrize(
    "text",
    [
        *("print(1)", "print (1)", "quit()", "import sys\nsys.exit(1)", "os._exit(1)", "raise SystemExit(1)"),
        *("click.echo('x')", "if __name__ == '__main__':\n  f()"),
    ],
)
def test_one_who_speaks_is_found(text: str) -> None:
    assert speaking(text)
    assert not speaking("printed = stream.write('print')")
    assert not speaking("self.exit(1); a.click.echo('x'); sys.exitfunc(); context.print()")


def test_only_the_command_line_prints_and_exits() -> None:
    found = []
    for path in (ROOT / "lab").rglob("*.py"):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith("lab/cli/") and name not in (*PROGRAMS, "lab/__main__.py"):
            found += [f"{name}:{line}" for line in speaking(path.read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize("name", ["Makefile", "tools/setup.sh", ".ci/run", ".github/workflows/lab.yml"])
def test_scripts_call_commands_not_modules(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    called = re.findall(r"-m lab(\S*) +([\w-]+)", text)
    assert [f"lab{module}" for module, _ in called if module] == []
    assert {command for _, command in called} <= set(cli.COMMANDS)
    assert called
