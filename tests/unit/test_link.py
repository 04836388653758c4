"""What a link becomes when some of it is changed, and the round trip of two."""

from __future__ import annotations

from decimal import Decimal

from lab.link import GilbertElliott, Impairment, Link, one_way_delay, round_trip
from lab.units import Duration, Percent


def ms(number: int) -> Duration:
    return Duration(number * 1_000_000)


ONE = Percent(Decimal(1))
MODEL = GilbertElliott(ONE, ONE, ONE, ONE)


def test_only_what_is_named_changes() -> None:
    before = Impairment(delay=ms(5), loss=ONE, limit=10)
    assert before.changed(Impairment(delay=ms(7))) == Impairment(delay=ms(7), loss=ONE, limit=10)
    assert before.changed(Impairment()) == before


def test_one_model_of_loss_takes_the_place_of_the_other() -> None:
    random = Impairment(loss=ONE, loss_correlation=ONE)
    assert random.changed(Impairment(gemodel=MODEL)) == Impairment(gemodel=MODEL)
    assert Impairment(gemodel=MODEL).changed(Impairment(loss=ONE)) == Impairment(loss=ONE)


def test_a_way_is_up_of_the_sender_and_down_of_the_receiver() -> None:
    a = Link(Impairment(delay=ms(20)), Impairment(delay=ms(10)))
    b = Link(Impairment(delay=ms(5)), Impairment(delay=ms(7)))
    assert one_way_delay(a, b) == ms(27)
    assert round_trip(a, b) == round_trip(b, a) == ms(42)
    assert Link().up.given() == {}
    assert a.up.given() == {"delay": ms(20)}
