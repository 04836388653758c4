"""The check of a recorded value that a program printed."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from lab.checks.common import Context, failed, passed
from lab.evidence.store import Evidence
from lab.scenario.checks import ValueCheck
from lab.verdict import Finding


def judge_value(check: ValueCheck, evidence: Evidence, context: Context) -> Finding:
    """Judge a recorded value against a number or limits."""
    wanted = str(check.is_)
    text = context.values.get(check.of)
    if text is None:
        return failed(check, "value", wanted, "no value", f"nothing was recorded as {check.of}")
    number = _number(text)
    if number is None:
        return failed(check, "value", wanted, repr(text), f"{check.of} is {text!r}, which is not a number")
    if check.is_.holds(number):
        return passed(check, "value", f"{check.of} {wanted}", f"{check.of} {number}")
    reason = f"{check.of} is {number}, and not {wanted}"
    return failed(check, "value", wanted, str(number), reason)


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
