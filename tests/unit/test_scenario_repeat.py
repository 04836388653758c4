"""`repeat`: what it expands to, what its ids and names become, and how far it may go."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.scenario.load import Case, load
from lab.scenario.problems import ScenarioError
from lab.scenario.steps import MAX_STEPS, Parallel, all_steps
from tools.mutation.mutate import mutants

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "s.yml"
        path.write_text(f"lab: 1\n{text}", encoding="utf-8")
        return path

    return write


def problems(path: Path) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        load(path)
    return [str(problem).split(":", 1)[1] for problem in caught.value.problems]


def told(case: Case, key: str) -> list[Any]:
    return [
        value for step in all_steps(case.scenario.steps) if (value := getattr(step, key, None)) is not None
    ]


NESTED = """steps:
  - {do: listen, at: server, port: 1, as: srv, id: "plain"}
  - do: repeat
    times: 2
    n: i
    steps:
      - {do: connect, at: client, to: "server:1", as: "c${i}", background: true, id: dial}
      - do: repeat
        times: 2
        steps: [{do: socket, at: client, as: "u${i}${n}", count: "${n}", id: "made-${n}"}]
      - {do: await, id: dial}
  - {do: close, at: client, on: c2}
"""


def test_rounds_stand_in_its_place(write: Write) -> None:
    (case,) = load(write(NESTED))
    assert [step.do for step in case.scenario.steps] == [
        *("listen", "connect", "socket", "socket", "await", "connect", "socket", "socket", "await", "close")
    ]
    assert told(case, "as_") == ["srv", "c1", "u11", "u12", "c2", "u21", "u22"]
    assert told(case, "count") == [1, 2, 1, 2]  # "${n}" alone is a number
    assert [step.path for step in case.scenario.steps] == [f"steps[{n}]" for n in range(10)]


def test_places_are_those_of_the_file(write: Write) -> None:
    (case,) = load(write(NESTED))
    assert [step.place.line for step in case.scenario.steps] == [3, 8, 11, 11, 12, 8, 11, 11, 12, 13]
    assert case.place("steps[6].count").line == 11
    assert case.place("steps[9].on") == case.scenario.steps[9].place.__class__(str(case.path), 13, 33)


def test_ids_get_the_numbers_they_do_not_say(write: Write) -> None:
    (case,) = load(write(NESTED))
    ids = [step.id_ for step in case.scenario.steps if step.id_ is not None]
    assert ids == [
        *("plain", "dial-1", "made-1-1", "made-2-1", "dial-1"),
        *("dial-2", "made-1-2", "made-2-2", "dial-2"),
    ]


def test_the_same_name_twice_means_the_inner_one(write: Write) -> None:
    text = """steps:
  - do: repeat
    times: 2
    steps:
      - {do: socket, at: client, as: "o${n}"}
      - do: repeat
        times: "${n}"
        steps: [{do: sleep, for: "${n}ms", id: "z${n}"}]
"""
    (case,) = load(write(text))
    assert [str(time) for time in told(case, "for_")] == ["1ms", "1ms", "2ms"]
    assert [step.id_ for step in case.scenario.steps] == [None, "z1-1", None, "z1-2", "z2-2"]


def test_a_name_from_outside_stays(write: Write) -> None:
    text = """steps:
  - {do: listen, at: server, port: 1, as: srv}
  - {do: connect, at: client, to: "server:1", as: c}
  - {do: accept, at: server, on: srv, as: s}
  - {do: send, at: client, on: c, data: "aaa", id: all}
  - {do: repeat, times: 3, steps: [{do: recv, at: server, on: s, size: 1, expect: {data: {same_as: all}}}]}
"""
    (case,) = load(write(text))
    assert [expect.data.same_as for expect in told(case, "expect")] == ["all", "all", "all"]


def test_in_a_parallel_all_rounds_start_together(write: Write) -> None:
    text = """steps:
  - do: parallel
    steps:
      - {do: sleep, for: 1ms}
      - {do: repeat, times: 3, steps: [{do: socket, at: client, as: "c${n}"}]}
checks: [{check: counter, at: client, name: TcpActiveOpens, delta: 0}]
"""
    (case,) = load(write(text))
    (step,) = case.scenario.steps
    assert isinstance(step, Parallel)
    assert [one.path for one in step.steps] == [f"steps[0].steps[{n}]" for n in range(4)]
    assert case.scenario.used_hosts == ("client",)


def test_times_may_be_a_parameter(write: Write) -> None:
    text = 'params: {k: [1, 4]}\nsteps: [{do: repeat, times: "${k}", steps: [{do: sleep, for: 1ms}]}]\n'
    cases = load(write(text))
    assert [(case.name, len(case.scenario.steps)) for case in cases] == [("s[k=1]", 1), ("s[k=4]", 4)]
    assert "steps[3]" in cases[1].places
    assert "steps[1]" not in cases[0].places


def test_dollar_dollar_stays_text(write: Write) -> None:
    text = """steps:
  - {do: repeat, times: 1, steps: [{do: run, at: client, command: [echo, "$${n} ${n}"]}]}
"""
    (case,) = load(write(text))
    assert told(case, "command") == [["echo", "${n} 1"]]


def test_one_mistake_is_said_once_at_its_place_in_the_file(write: Write) -> None:
    text = """steps:
  - do: repeat
    times: 100
    steps:
      - {do: sleep, for: "${n}"}
      - {do: connect, at: client, to: "server:${n}000", as: c}
"""
    said = problems(write(text))
    assert said[0].startswith("6:26: steps[0].steps[0].for: 1 has no unit")
    assert said[0].endswith("(with n=1)")
    assert said[1] == (
        "7:39: steps[0].steps[1].to: 'server:66000': '66000' is not a port, 1 to 65535 (with n=66)"
    )
    assert len(said) == 2


def test_as_many_steps_as_are_allowed(write: Write) -> None:
    """And thousands of mistakes in time in proportion: once 4,000 wrong names took minutes."""
    step = '{do: socket, at: client, as: "c${n}"}'
    (case,) = load(write(f"steps: [{{do: repeat, times: {MAX_STEPS}, steps: [{step}]}}]\n"))
    assert len(case.scenario.steps) == MAX_STEPS
    begin = time.process_time()
    wrong = '{do: close, at: client, on: "k${n}", id: "x${n}"}'
    said = problems(write(f"steps: [{{do: repeat, times: 4000, steps: [{step}, {wrong}]}}]\n"))
    assert len(said) == 1
    assert time.process_time() - begin < 20


@pytest.mark.parametrize(
    "steps",
    [
        f"[{{do: repeat, times: {MAX_STEPS}, steps: [{{do: sleep, for: 1s}}, {{do: sleep, for: 1s}}]}}]",
        "[{do: repeat, times: 200, steps: [{do: repeat, times: 200, steps: [{do: sleep, for: 1s}]}]}]",
        "[{do: parallel, steps: [{do: repeat, times: 9999, steps: [{do: sleep, for: 1s}]}]}, "
        "{do: repeat, times: 2, steps: [{do: sleep, for: 1s}]}]",
    ],
)
def test_more_are_refused(write: Write, steps: str) -> None:
    (said,) = problems(write(f"steps: {steps}\n"))
    assert ".times: with every round of its repeats the scenario has more than 10,000 steps" in said


def test_large_steps_are_bounded_too(write: Write) -> None:
    command = ", ".join(["a"] * 1000)
    (said,) = problems(
        write(
            f"steps: [{{do: repeat, times: 600, steps: [{{do: run, at: client, command: [{command}]}}]}}]\n"
        )
    )
    assert said.startswith(
        "2:29: steps[0].times: with every round of its repeats the scenario has more than 500,000"
    )


def test_a_line_has_its_mutants_once(write: Write) -> None:
    """Rounds of one line have the same expectation: it is falsified in one of them."""
    text = """steps:
  - {do: listen, at: server, port: 1, as: srv}
  - do: repeat
    times: 20
    steps:
      - {do: socket, at: client, as: "c${n}", count: 2, expect: {result: 2}}
      - {do: socket, at: client, as: "d${n}", count: "${n}", expect: {result: "${n}"}}
"""
    (case,) = load(write(text))
    found = [mutant.description for mutant in mutants(case.scenario)]
    assert sum("steps[1]" in one for one in found) == 2
    assert len(found) == 2 + 2 * 20  # what differs from round to round is falsified in each
