"""Services that ended by themselves: a failure, unless the scenario or a check expects it."""

from __future__ import annotations

from collections.abc import Iterator

from lab.evidence.model import Records, ServiceRecord
from lab.evidence.services import ADVICE_OVER, ENDED_ALONE, how_it_ended, label_of, last_output
from lab.scenario.checks import ServiceCheck
from lab.scenario.model import Scenario
from lab.verdict import Finding, Verdict


def judge_services(scenario: Scenario, records: Records) -> Iterator[Finding]:
    """One finding for each service that ended though no step ended it and no check covers its exit.

    A job may end with 0; so may a service that another waits for to complete. A service that exceeded a limit
    of the site always fails, except for memory: a check may cover that like any other end.
    """
    for record in records.services:
        if record.ended_wall_ns is None or record.ended_by is not None or record.not_ready:
            continue
        over = record.limit != "" and not record.out_of_memory
        if not over and ((record.may_end and record.exit_code == 0) or _spoken_of(scenario, record)):
            continue
        spec = scenario.hosts[record.host].services[record.service]
        wanted = "it ends with exit status 0" if record.may_end else "it runs to the end"
        lead = "" if record.limit else "no step ended it, but "
        tail = last_output(records, record)
        output = f"; its last output:\n{tail}" if tail else "; it wrote nothing"
        yield Finding(
            ENDED_ALONE,
            spec.path,
            spec.place,
            Verdict.FAIL,
            wanted,
            how_it_ended(record),
            reason=f"{label_of(record)}: {lead}{how_it_ended(record)}{output}\n{_advice(record)}",
        )


def _advice(record: ServiceRecord) -> str:
    if record.limit:
        return ADVICE_OVER
    if record.exit_code == 0:
        return "if it is meant to end, say so: ready: {exit: 0}, or a check: {check: service, exit: 0}"
    return "if it is to end so, say it in a check: {check: service, exit: …}; otherwise its output says why"


def _spoken_of(scenario: Scenario, record: ServiceRecord) -> bool:
    """Whether a check says how the service should end."""
    return any(
        isinstance(check, ServiceCheck)
        and check.at == record.host
        and check.service in (None, record.service)
        and (check.exit is not None or check.running is False)
        for check in scenario.checks
    )
