"""The parts of the way to a broker that need none: addresses, messages without an id, the buffer of events."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr

from agent.inbox import amqp_events
from agent.inbox.amqp_address import Address, AddressError
from agent.inbox.amqp_events import Events, routing_key
from agent.inbox.amqp_nameless import KEPT_S, Nameless
from agent.inbox.inbox import Event, EventKind
from agent.settings import BrokerSettings, SettingsError, load_settings
from tests.doubles.clock import run_virtually

pytestmark = pytest.mark.unit

AWKWARD = "p@ss:/w?rd%20ü#"


def test_an_address_of_parts_keeps_every_character_and_shows_no_password() -> None:
    address = Address.from_parts("broker.example", 5673, "us:er", AWKWARD, "my/vhost")
    assert (address.url.user, address.url.password) == ("us:er", AWKWARD)
    assert (address.url.host, address.url.port, address.url.raw_path) == ("broker.example", 5673, "/my%2Fvhost")
    assert address.shown == "amqp://broker.example:5673/my%2Fvhost"
    for secret in (AWKWARD, "p%40ss"):
        assert secret not in repr(address) + address.shown
        assert secret not in address.hide(f"cannot reach {address.url} with {AWKWARD}")
    assert Address.from_parts("::1", 5672, "u", "p", "/").shown == "amqp://::1:5672/"


def test_an_address_of_a_url_has_the_usual_port_and_a_heartbeat() -> None:
    assert Address.from_url("amqp://u:p@h/v").url.port == 5672
    assert Address.from_url("amqps://u:p@h").url.port == 5671
    assert Address.from_url("amqp://u:p@h/v").url.query["heartbeat"] == "10"
    assert Address.from_url("amqp://u:p@h/v?heartbeat=3").url.query["heartbeat"] == "3"


@pytest.mark.parametrize("url", ["http://u:hidden@h", "h:5672", "", "amqp://", "amqp://u:hidden@h:port/"])
def test_what_is_no_address_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(AddressError, match="write amqp://") as refused:
        Address.from_url(url)
    assert "hidden" not in str(refused.value)


def test_the_settings_name_a_broker_or_none() -> None:
    assert Address.from_settings(BrokerSettings()) is None
    assert not BrokerSettings().configured
    by_parts = load_settings({"RABBITMQ_HOST": "h", "RABBITMQ_PASSWORD": "x"}).broker
    assert by_parts.configured
    told = Address.from_settings(by_parts)
    assert told is not None
    assert (told.url.user, told.url.password) == ("guest", "x")
    by_url = Address.from_settings(BrokerSettings(url=SecretStr("amqp://a:b@c/d"), host="ignored"))
    assert by_url is not None
    assert by_url.shown == "amqp://c:5672/d"
    with pytest.raises(SettingsError) as refused:
        load_settings({"RABBITMQ_PORT": "0", "RABBITMQ_HOST": "h", "RABBITMQ_PASSWORD": "hidden"})
    assert "RABBITMQ_PORT='0'" in str(refused.value)
    assert "hidden" not in str(refused.value)


# -- without an id


def test_a_body_that_was_held_when_the_connection_broke_is_known_again_once() -> None:
    nameless = Nameless()
    nameless.came(b"a", "1")
    nameless.came(b"a", "2")
    assert nameless.again(b"a") is None  # nothing broke
    nameless.lost(10.0)
    assert [nameless.again(b"a") for _ in range(3)] == ["1", "2", None]
    assert nameless.again(b"b") is None


def test_one_acknowledged_just_before_may_come_again_and_an_old_one_not() -> None:
    nameless = Nameless()
    for number in range(3):
        nameless.came(b"%d" % number, str(number))
    nameless.settled("0", 10.0)
    nameless.settled("1", 10.0 + KEPT_S)
    nameless.lost(10.0 + KEPT_S + 1)
    assert [nameless.again(b"%d" % number) for number in range(3)] == [None, "1", "2"]


# -- events


@dataclass
class Exchange:
    """Takes publications, unless it is broken."""

    taken: list[tuple[str, dict[str, Any], Any]] = field(default_factory=list)
    broken: bool = False

    async def publish(self, message: Any, routing_key: str, **_: Any) -> None:
        await asyncio.sleep(0.001)
        if self.broken:
            raise ConnectionError("gone")
        self.taken.append((routing_key, json.loads(message.body), message.correlation_id))


def event(message_id: str, kind: EventKind = "accepted", session_id: str = "s") -> Event:
    return Event(kind, message_id, session_id, 1_900_000_000.0)


def test_events_are_published_in_order_and_again_after_a_break() -> None:
    async def script() -> None:
        events, exchange, replies = Events(), Exchange(), Exchange()
        events.asked("2", "answers", "c")
        for number in range(4):
            events.heard(event(str(number)))
        publishing = asyncio.create_task(events.publish(exchange, replies))  # type: ignore[arg-type]
        await asyncio.sleep(0.0015)
        exchange.broken = True
        with pytest.raises(ConnectionError):
            await publishing
        exchange.broken = False
        publishing = asyncio.create_task(events.publish(exchange, replies))  # type: ignore[arg-type]
        await events.flushed(5)
        publishing.cancel()
        assert [told["id"] for _, told, _ in exchange.taken] == ["0", "1", "2", "3"]
        assert [(key, told["id"], asker) for key, told, asker in replies.taken] == [("answers", "2", "c")]
        assert (events.published, events.waiting, events.dropped) == (4, 0, 0)

    run_virtually(script())


def test_without_a_broker_the_newest_events_are_kept() -> None:
    async def script() -> None:
        events = Events()
        for number in range(amqp_events.WAITING + 30):
            events.heard(event(str(number)))
        assert (events.waiting, events.dropped) == (amqp_events.WAITING, 30)
        exchange = Exchange()
        publishing = asyncio.create_task(events.publish(exchange, exchange))  # type: ignore[arg-type]
        await events.flushed(60)
        publishing.cancel()
        assert exchange.taken[0][1]["id"] == "30"

    run_virtually(script())


@pytest.mark.parametrize(
    ("session_id", "message_id", "key"),
    [
        ("studio", "a-1", "studio.a-1.accepted"),
        ("", "", "-.-.accepted"),
        ("a.b c#*", "x.y", "a_b_c__.x_y.accepted"),
        ("ü" * 300, "i", f"{'_' * 100}.i.accepted"),
    ],
)
def test_routing_keys_have_three_words(session_id: str, message_id: str, key: str) -> None:
    assert routing_key(event(message_id, session_id=session_id)) == key
    assert len(key.encode()) < 255
