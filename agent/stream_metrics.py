"""What a stream measures beside its program, for `/metrics`: its encoder, its targets and its recording, when somebody
asks. State and messages are agent/inbox/metrics.py's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agent.metrics import Metrics
from rooms.rtmp import StreamStatus
from rooms.rtmp_recording import RecordingStatus

_TARGET_STATES = ("connecting", "live", "waiting", "refused", "closed")


class StreamMetrics(Metrics):
    """One for the process.

    Args:
        stream, recording: asked at each exposition.
    """

    def __init__(self, stream: Callable[[], StreamStatus], recording: Callable[[], RecordingStatus | None]) -> None:
        super().__init__()
        self._stream = stream
        self._recording = recording
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry: everything that the sink and its targets count themselves."""
        status = self._stream()
        dropped = CounterMetricFamily("mien_stream_dropped", "Left out by the encoder.", labels=["what"])
        dropped.add_metric(["picture"], status.pictures_dropped)
        dropped.add_metric(["tick"], status.ticks_dropped)
        yield dropped
        yield CounterMetricFamily("mien_stream_ticks", "Ticks encoded.", value=status.ticks)
        yield CounterMetricFamily("mien_stream_encoder_restarts", "Encoders replaced.", value=status.encoder_restarts)
        cost = GaugeMetricFamily("mien_stream_picture_ms", "Mean cost of a picture.", labels=["step"])
        cost.add_metric(["compose"], status.compose_ms)
        cost.add_metric(["encode"], status.encode_ms)
        yield cost
        yield from self._targets(status)
        recording = self._recording()
        if recording is not None:
            yield GaugeMetricFamily(
                "mien_stream_recording", "Whether it is being recorded.", value=recording.state == "recording"
            )
            yield CounterMetricFamily("mien_stream_recorded_bytes", "Recorded.", value=recording.written_bytes)

    def _targets(self, status: StreamStatus) -> Iterator[Metric]:
        state = GaugeMetricFamily("mien_stream_target_state", "1 for the state it is in.", labels=["target", "state"])
        counts = {
            "connections": "Connections that were made.",
            "failures": "Connections that broke or were not made.",
            "pictures_dropped": "Pictures that a slow server did not get.",
            "sounds_dropped": "Sound packets that a slow server did not get.",
            "sent_bytes": "Bytes sent.",
        }
        families = {
            name: CounterMetricFamily(f"mien_stream_target_{name}", text, labels=["target"])
            for name, text in counts.items()
        }
        for number, target in enumerate(status.targets, 1):
            label = f"{number} {target.address}"
            for each in _TARGET_STATES:
                state.add_metric([label, each], float(each == target.state))
            for name, family in families.items():
                family.add_metric([label], getattr(target, name))
        yield state
        yield from families.values()
