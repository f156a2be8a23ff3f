"""What the inbox and its program measure, for `/metrics`: their events in, Prometheus series out."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from agent.inbox.amqp import Amqp
from agent.inbox.inbox import Event
from agent.inbox.program import Program, State


class InboxMetrics:
    """Args:
    registry: of the process, as ``Metrics().registry``.
    """

    def __init__(self, program: Program, registry: CollectorRegistry, amqp: Amqp | None = None) -> None:
        self._messages = Counter("mien_messages", "Messages by what happened to them.", ["event"], registry=registry)
        self._waits = Histogram(
            "mien_message_wait_seconds",
            "From a message's arrival to its first sound.",
            buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800),
            registry=registry,
        )
        self._gaps = Histogram(
            "mien_message_gap_seconds",
            "Nothing said between two messages of which the second had waited.",
            buckets=(0.04, 0.08, 0.12, 0.2, 0.3, 0.5, 1, 2, 5),
            registry=registry,
        )
        backlog = Gauge("mien_inbox_backlog", "Messages that wait here.", registry=registry)
        backlog.set_function(lambda: program.inbox.backlog)
        oldest = Gauge("mien_inbox_oldest_seconds", "How long the next message has waited.", registry=registry)
        oldest.set_function(lambda: program.waiting_s)
        duplicates = Gauge("mien_messages_duplicate", "Messages that came again.", registry=registry)
        duplicates.set_function(lambda: program.inbox.duplicates)
        state = Gauge("mien_program_state", "1 for the state that the program is in.", ["state"], registry=registry)
        for each in State:
            state.labels(each.value).set_function(lambda each=each: program.state is each)  # type: ignore[misc]
        if amqp is not None:
            self._broker(amqp, registry)
        program.inbox.listeners.append(self._heard)
        program.on_gap = self._gaps.observe

    def _heard(self, event: Event) -> None:
        self._messages.labels(event.kind).inc()
        if event.kind == "started" and event.waited_s is not None:
            self._waits.observe(event.waited_s)

    def _broker(self, amqp: Amqp, registry: CollectorRegistry) -> None:
        series = (
            ("mien_broker_connected", "1 while there is a broker.", lambda: amqp.connected),
            ("mien_broker_connections", "Connections made.", lambda: amqp.connections),
            ("mien_broker_ready", "Messages that wait in the broker; -1: not known.", lambda: _known(amqp.ready)),
            ("mien_messages_invalid", "Messages refused.", lambda: amqp.invalid),
            ("mien_events_waiting", "Events not yet published.", lambda: amqp.events.waiting),
            ("mien_events_dropped", "Events dropped, no broker having taken them.", lambda: amqp.events.dropped),
        )
        for name, about, value in series:
            Gauge(name, about, registry=registry).set_function(value)


def _known(count: int | None) -> int:
    return -1 if count is None else count
