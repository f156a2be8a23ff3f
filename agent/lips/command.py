"""`mien lips VIDEO`: a finished video in, a table of how well its lips follow its sound out."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agent.lips.aperture import Aperture, NotSeen, watch
from agent.lips.labels import aligned, read_labels, sound_of
from agent.lips.phones import Phone
from agent.lips.score import BOUNDS, Score, Share, Take, failures, score, value

REST_FROM_MS, REST_TO_MS = 200, 120
"""In a pause, a mouth is at rest from so long after its start until so long before its end."""
FEWEST_FOR_SHARE = 10
"""Of fewer sounds a share says little; the table says so."""


def judge(
    video: Path, phones_file: Path | None, text: str | None, offset_ms: float, out: Path | None
) -> tuple[str, bool]:
    """The table of a video, and whether it passes.

    Args:
        phones_file: phone times of its sound (agent/lips/labels.py). text: what is said in it, in English. With
            neither, the recognizer finds out.
        offset_ms: when, in the video, the phone times of the file begin.
        out: where the numbers are written, with every picture's aperture, as JSON.

    Raises:
        MienError: pictures, sound or phone times cannot be used, or there is too little to judge.
    """
    if phones_file is not None:
        source = f"phone times of {phones_file}"
        phones = [
            replace(phone, start_ms=phone.start_ms + offset_ms, end_ms=phone.end_ms + offset_ms)
            for phone in read_labels(phones_file)
        ]
    else:
        source = "the recognizer's alignment of " + ("the text given" if text else "what it heard")
        phones = aligned(sound_of(video), text)
    seen = watch(video, rests(phones, float("inf")))
    result = score([Take(seen.times_ms, seen.values_px, phones)])
    missed = failures(result)
    if out is not None:
        out.write_text(_json(video, source, seen, result, missed), encoding="utf-8")
    return _table(video, source, result, missed), not missed


def rests(phones: Sequence[Phone], end_ms: float) -> list[tuple[float, float]]:
    """When a mouth that speaks these phones is at rest: before them, after them, and in long pauses."""
    spoken = [phone for phone in phones if phone.ipa]
    if not spoken:
        raise NotSeen("nothing is said in the video")
    out = [(0.0, spoken[0].start_ms - REST_TO_MS)]
    out += [(a.end_ms + REST_FROM_MS, b.start_ms - REST_TO_MS) for a, b in itertools.pairwise(spoken)]
    out.append((spoken[-1].end_ms + REST_FROM_MS, end_ms))
    return [(start, end) for start, end in out if end > start]


def _table(video: Path, source: str, result: Score, missed: Sequence[str]) -> str:
    lines = [f"{video}: {result.pictures} pictures, {source}", ""]
    for name, bound in BOUNDS.items():
        found = getattr(result, name)
        limit = f"at least {bound.least:g}" if bound.most is None else f"at most {bound.most:g}"
        if bound.least is not None and bound.most is not None:
            limit = f"{bound.least:g} to {bound.most:g}"
        count = f"  {found.hits} of {found.n}" if isinstance(found, Share) else ""
        few = " (few)" if isinstance(found, Share) and found.n < FEWEST_FOR_SHARE else ""
        lines.append(f"  {bound.what:<28} {value(result, name):7.2f}   {limit}{count}{few}")
    lines += ["", "the lips pass" if not missed else "the lips fail: " + "; ".join(missed)]
    return "\n".join(lines)


def _json(video: Path, source: str, seen: Aperture, result: Score, missed: Sequence[str]) -> str:
    numbers: dict[str, object] = {}
    for name in BOUNDS:
        found = getattr(result, name)
        numbers[name] = {"hits": found.hits, "n": found.n} if isinstance(found, Share) else round(found, 4)
    return (
        json.dumps(
            {
                "video": video.name,
                "phones": source,
                "numbers": numbers,
                "p95_px": result.p95,
                "misses": list(missed),
                "mouth": [round(share, 4) for share in seen.mouth],
                "times_ms": [round(float(time), 1) for time in seen.times_ms],
                "apertures_px": [float(aperture) for aperture in seen.values_px],
            },
            ensure_ascii=False,
        )
        + "\n"
    )
