"""What the server measures, for `/metrics` (Prometheus).

In: ticks, turns, interruptions, errors and sessions, as they happen. Out: the text exposition.
"""

from __future__ import annotations

import threading

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from agent.turns import Turn
from avatar.playout import TickReport

_LATENCY_S = (0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.12, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 3.0, 5.0)


LATE_MS = 20.0
"""A tick later than this is felt: half its length."""


class Metrics:
    """One for the process; told from any thread."""

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._ticks = self._late_ticks = 0
        self.registry = CollectorRegistry()
        self.sessions = Gauge("mien_sessions", "Conversations that are open now.", registry=self.registry)
        self.sessions_total = Counter("mien_sessions_opened", "Conversations opened.", registry=self.registry)
        self.refused_total = Counter(
            "mien_sessions_refused", "Conversations refused, by reason.", ["reason"], registry=self.registry
        )
        self._stages = Histogram(
            "mien_turn_stage_seconds",
            "Latency of a turn by stage, each from the one before it.",
            ["stage"],
            buckets=_LATENCY_S,
            registry=self.registry,
        )
        self._turns = Histogram(
            "mien_turn_seconds",
            "From the end of the user's speech to the first packet of the answer.",
            buckets=_LATENCY_S,
            registry=self.registry,
        )
        self._pictures = Counter(
            "mien_pictures",
            "Pictures shown: fresh ones; repeated, closing mouth or still in place of a late one.",
            ["kind"],
            registry=self.registry,
        )
        self._late = Counter(
            "mien_pictures_late", "Speech pictures that were not there at their tick.", registry=self.registry
        )
        self._lateness = Histogram(
            "mien_tick_lateness_seconds",
            "How late ticks are released.",
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.5),
            registry=self.registry,
        )
        self._interruptions = Counter("mien_interruptions", "Utterances that were cut.", registry=self.registry)
        self._errors = Counter("mien_errors", "Errors by the part that raised them.", ["kind"], registry=self.registry)

    def tick(self, report: TickReport) -> None:
        self._lateness.observe(report.late_ms / 1000)
        with self._counting:
            self._ticks += 1
            self._late_ticks += report.late_ms > LATE_MS
        self._pictures.labels(report.picture).inc()
        if report.segment is not None and report.picture != "fresh":
            self._late.inc()

    def ticks(self) -> tuple[int, int]:
        """How many ticks all playouts have released so far, and how many of them were late."""
        with self._counting:
            return self._ticks, self._late_ticks

    def turn(self, turn: Turn) -> None:
        self._turns.observe(turn.total_ms / 1000)
        for name, ms in turn.stages:
            self._stages.labels(name).observe(ms / 1000)

    def interrupted(self) -> None:
        self._interruptions.inc()

    def error(self, kind: str) -> None:
        self._errors.labels(kind).inc()

    def exposition(self) -> bytes:
        return generate_latest(self.registry)
