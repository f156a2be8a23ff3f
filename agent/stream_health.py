"""What a stream's `/health` tells: the states of its parts in; one JSON object out. It holds no key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.settings import StreamSettings
from rooms.rtmp import StreamStatus
from rooms.rtmp_recording import RecordingStatus


def health(
    settings: StreamSettings,
    status: StreamStatus,
    recording: RecordingStatus | None,
    *,
    face: str | None,
    queue: Mapping[str, Any] | None,
    broker: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """``starting`` until it can speak, ``degraded`` while a target, the broker, the recording or the face is not well.

    Args:
        face: why it does not move, if it does not.
        queue: the program's status; None as long as there is none.
        broker: the broker's; None where there is none.
    """
    well = (
        all(each.state == "live" for each in status.targets)
        and (recording is None or recording.state != "failed")
        and (broker is None or bool(broker["connected"]))
        and face is None
    )
    told: dict[str, Any] = {
        "status": "starting" if queue is None else "ok" if well else "degraded",
        "state": "idle" if queue is None else queue["state"],
        "message": None if queue is None else queue["message"],
        "face": face,
        "stream": {
            "encoder": status.encoder,
            "resolution": settings.resolution,
            "fps": settings.fps,
            "ticks": status.ticks,
            "pictures_dropped": status.pictures_dropped,
            "ticks_dropped": status.ticks_dropped,
            "compose_ms": round(status.compose_ms, 2),
            "encode_ms": round(status.encode_ms, 2),
        },
        "targets": [
            {
                "target": each.address,
                "state": each.state,
                "problem": each.problem,
                "since_s": round(each.since_s, 1),
                "connections": each.connections,
                "failures": each.failures,
                "behind_ms": round(each.behind_ms),
            }
            for each in status.targets
        ],
        "recording": None
        if recording is None
        else {"state": recording.state, "file": recording.file, "problem": recording.problem},
    }
    if queue is not None:
        told["broker"] = broker
        told["queue"] = {name: queue[name] for name in ("running", "paused", "backlog", "settled", "duplicates")}
    return told
