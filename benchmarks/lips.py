"""How well the puppet's lips follow voices that it was never trained on: the measuring stick, on finished videos.

Every speaker's sentences become one recording, the recording a video by the same code as `mien render`, and the decoded
pictures of that video are judged against the speaker's own phone times (agent/lips). Two controls must fail: a video
whose sound was shuffled, and one whose pictures come 120 ms late. What pictures do not show (width, rounding, degraded
sound, silence, music) is measured on the ear's own output, and says so.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from agent.lips.aperture import Floats, watch
from agent.lips.phones import Phone, merged
from agent.lips.reference import at, curves
from agent.lips.score import BOUNDS, Score, Share, Take, correlation, failures, score, value
from agent.offline import LEAD_IN_TICKS, Progress, render_file
from agent.speechfile import read_speech
from avatar.frames import SPEECH_RATE_HZ, TICK_MS, TICK_SPEECH_SAMPLES, Pcm
from avatar.puppet.ear import TrainedTracker
from avatar.puppet.loudness import LoudnessTracker
from avatar.puppet.mouth import Mouth, MouthTracker
from avatar.puppet.renderer import PuppetRenderer
from avatar.puppet.weights import SHIPPED, load_weights
from benchmarks import lips_sound
from benchmarks.lips_corpus import Speaker, speakers
from benchmarks.report import Report, arguments
from rooms.mp4 import Provenance
from training.mouth.augment import resampled, scaled

SIZE_PX = 512
PAUSE_MS = 200
"""Between two sentences, besides the silence that their speaker adds. Long pauses would flatter the correlation."""
LONG_PAUSE_MS = 400
"""In a pause of this length mouths come to rest."""
LEVEL_DB = -23.0
STATED_BILABIALS = 200
DELAY_PICTURES = 3
QUICK_SENTENCES = 6
LEAST_WORST = 0.75
"""Closed at /p b m/, for the worst voice."""
LEAST_SHAPE = 0.68
ABOVE_LOUDNESS = 0.2
MOST_COST = 0.03
MOST_COST_MS, MOST_LOOKAHEAD_MS = 1.0, 80
MOST_OPEN_WITHOUT_SPEECH = 0.04


@dataclass(frozen=True, eq=False, slots=True)
class Recording:
    """One speaker's sentences with pauses: int16 [n] at 16 kHz, and the phones on its time line."""

    speaker: Speaker
    pcm: Pcm
    phones: Sequence[Phone]


def recorded(speaker: Speaker) -> Recording:
    pause = np.zeros(PAUSE_MS * SPEECH_RATE_HZ // 1000)
    pieces, phones, samples = [pause], [Phone("", 0.0, PAUSE_MS)], len(pause)
    for spoken in speaker.utterances:
        sound = resampled(spoken.pcm.astype(np.float64), spoken.rate_hz)
        start_ms = 1000.0 * samples / SPEECH_RATE_HZ
        phones += [replace(p, start_ms=p.start_ms + start_ms, end_ms=p.end_ms + start_ms) for p in spoken.phones]
        pieces += [scaled(sound, LEVEL_DB), pause]
        samples += len(sound) + len(pause)
    return Recording(speaker, np.concatenate(pieces).astype(np.int16), merged(phones))


def filmed(recording: Recording, out: Path, new_tracker: Callable[[], MouthTracker]) -> None:
    """The puppet speaks it into a video file, as `mien render` does."""
    renderer = PuppetRenderer({}, SIZE_PX, new_tracker=new_tracker)
    wav = out.with_suffix(".wav")
    lips_sound.write_wave(wav, recording.pcm)

    async def render() -> None:
        async def pieces() -> Any:
            for piece in read_speech(wav):
                yield piece

        try:
            await render_file(
                renderer, pieces(), out, Provenance("benchmark", "mien", "puppet"), Progress(out, None, sys.stderr)
            )
        finally:
            await renderer.aclose()

    asyncio.run(render())


def judged(video: Path, recording: Recording, phones: Sequence[Phone] | None = None) -> Score:
    """The stick: decoded pictures against phone times (those of the recording, if no others are given)."""
    offset_ms = LEAD_IN_TICKS * TICK_MS
    placed = [
        replace(p, start_ms=p.start_ms + offset_ms, end_ms=p.end_ms + offset_ms) for p in phones or recording.phones
    ]
    # Rest is when the avatar really does not speak: its own phones, whatever sound is laid beside it.
    own = [replace(p, start_ms=p.start_ms + offset_ms, end_ms=p.end_ms + offset_ms) for p in recording.phones]
    rest = [(p.start_ms + 200, p.end_ms - 120) for p in own if not p.ipa and p.end_ms - p.start_ms > LONG_PAUSE_MS]
    seen = watch(video, [(0.0, offset_ms), *rest])
    return score([Take(seen.times_ms, seen.values_px, placed)])


def shuffled(recording: Recording, seed: int = 5) -> list[Phone]:
    """The phones of the same sound with its sentences in another order, cut where they pause."""
    sentences: list[list[Phone]] = [[]]
    for phone in recording.phones:
        sentences[-1].append(phone)
        if not phone.ipa and phone.end_ms - phone.start_ms > PAUSE_MS:
            sentences.append([])
    order = np.random.default_rng(seed).permutation(len(sentences))
    out: list[Phone] = []
    now_ms = 0.0
    for k in order:
        for phone in sentences[int(k)]:
            length = phone.end_ms - phone.start_ms
            out.append(Phone(phone.ipa, now_ms, now_ms + length))
            now_ms += length
    return out


def delayed(video: Path, out: Path, pictures: int) -> None:
    """The same video with every picture so much later; its sound stays."""
    with av.open(str(video)) as source, av.open(str(out), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream("libx264", rate=Fraction(1000, TICK_MS))
        copy.width, copy.height, copy.pix_fmt = stream.width, stream.height, "yuv420p"
        copy.time_base = Fraction(TICK_MS, 1000)
        for n, frame in enumerate(source.decode(video=0)):
            shown = av.VideoFrame.from_ndarray(frame.to_ndarray(format="yuv420p"), "yuv420p")
            for at_tick in range(pictures + 1) if n == 0 else (n + pictures,):
                shown.pts, shown.time_base = at_tick, Fraction(TICK_MS, 1000)
                target.mux(copy.encode(shown))
        target.mux(copy.encode())


# -- the ear alone


def mouths(pcm: Pcm, new_tracker: Callable[[], MouthTracker]) -> list[Mouth]:
    """What an ear says of a recording, one mouth a picture."""
    tracker = new_tracker()
    silence = np.zeros(2 * TICK_SPEECH_SAMPLES + tracker.lookahead_ms * SPEECH_RATE_HZ // 1000, np.int16)
    return list(tracker.push(np.concatenate([pcm, silence])))[: len(pcm) // TICK_SPEECH_SAMPLES]


def parted(told: Sequence[Mouth]) -> Floats:
    """How far such lips are apart, as the puppet draws them (avatar/puppet/lips.py), 0 to about 1."""
    return np.array(
        [
            m.jaw * (1 - 0.28 * m.rounding) * (1 - m.closure) * (1 - 0.75 * m.lip_teeth)
            + 0.08 * m.lip_teeth * (1 - m.closure)
            for m in told
        ]
    )


def loudness(pcm: Pcm) -> tuple[Floats, Floats]:
    """Each picture's loudness alone: its RMS, as the simplest avatars open their mouths; and its level in dB, smoothed
    as the reference is.
    """
    blocks = pcm[: len(pcm) // 160 * 160].astype(np.float64).reshape(-1, 160)
    rms = np.sqrt(np.mean(blocks**2, axis=1))
    window = np.hanning(13)[1:-1]
    smooth = np.convolve(np.maximum(20 * np.log10(rms + 1.0) - 30.0, 0.0), window / window.sum(), "same")
    count = len(pcm) // TICK_SPEECH_SAMPLES
    return np.sqrt(np.mean(rms[: 4 * count].reshape(-1, 4) ** 2, axis=1)), np.asarray(smooth[2::4][:count])


def heard(recording: Recording, new_tracker: Callable[[], MouthTracker]) -> dict[str, float]:
    """Correlations of the ear's output with the reference, without any picture."""
    told = mouths(recording.pcm, new_tracker)
    middles = (np.arange(len(told)) + 0.5) * TICK_MS
    wanted = curves(recording.phones, 1000.0 * len(recording.pcm) / SPEECH_RATE_HZ)
    opening, in_speech = at(wanted.opening, middles), at(wanted.speech, middles) > 0.5
    lips, (rms, level) = parted(told), loudness(recording.pcm)
    return {
        "r": correlation(lips, opening),
        "r_speech": correlation(lips[in_speech], opening[in_speech]),
        "width_r": correlation(np.array([m.spread for m in told]), at(wanted.width, middles)),
        "rounding_r": correlation(np.array([m.rounding for m in told]), at(wanted.rounding, middles)),
        "loudness_r": correlation(rms, opening),
        "loudness_r_speech": correlation(rms[in_speech], opening[in_speech]),
        "level_r": correlation(level, opening),
        "level_r_speech": correlation(level[in_speech], opening[in_speech]),
    }


def main() -> int:
    parser = arguments("lips", "the puppet's lips against phone times of voices never trained on")
    parser.add_argument("--weights", type=Path, default=SHIPPED, help="weights of the ear (those of the package)")
    parser.add_argument("--loudness", action="store_true", help="measure the ear without training instead")
    parser.add_argument("--speaker", action="append", default=[], metavar="NAME", help="only this speaker (repeatable)")
    options = parser.parse_args()
    report = Report("lips" if not options.loudness else "lips_loudness", options.quick, options.out)
    weights = load_weights(options.weights)

    def new_tracker() -> MouthTracker:
        return LoudnessTracker() if options.loudness else TrainedTracker(weights)

    report.facts["ear"] = "loudness" if options.loudness else options.weights.name
    sentences = QUICK_SENTENCES if options.quick else 99
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        core: list[Recording] = []
        for speaker in speakers(sentences, options.speaker):
            recording = recorded(speaker)
            video = Path(folder) / f"{speaker.name.replace(' ', '-')}.mp4"
            filmed(recording, video, new_tracker)
            seen = judged(video, recording)
            rows.append(_row(speaker, seen) | {k: round(v, 3) for k, v in heard(recording, new_tracker).items()})
            print(rows[-1], file=sys.stderr)
            if speaker.core:
                core.append(recording)
            if len(rows) == 1:
                late = Path(folder) / "late.mp4"
                delayed(video, late, DELAY_PICTURES)
                for name, control in (
                    ("sound shuffled", judged(video, recording, shuffled(recording))),
                    ("pictures 120 ms late", judged(late, recording)),
                ):
                    missed = failures(control)
                    report.facts[f"control: {name}"] = {"misses": missed, "r": round(control.r, 3)}
                    report.bound(f"control, {name}: passes (0: it fails, as it must)", float(not missed), 0, "", n=1)
            video.unlink()
    report.samples("speakers", rows)
    _bounds(report, rows)
    if core:
        _conditions(report, core, new_tracker)
        _cost(report, core[0].pcm, new_tracker)
    return report.finish()


def _row(speaker: Speaker, seen: Score) -> dict[str, Any]:
    row: dict[str, Any] = {"speaker": speaker.name, "language": speaker.language, "core": speaker.core}
    for name in BOUNDS:
        row[f"seen_{name}"] = round(value(seen, name), 3)
        if isinstance(found := getattr(seen, name), Share):
            row[f"seen_{name}_n"] = found.n
    return row | {"p95_px": seen.p95, "pictures": seen.pictures, "misses": failures(seen)}


def _bounds(report: Report, rows: Sequence[dict[str, Any]]) -> None:
    """Of the named speakers: means over speakers for r, over sounds for shares. Least bounds are told as 1 - value."""
    core = [row for row in rows if row["core"]] or rows
    for name in ("r", "r_speech"):
        mean = float(np.mean([row[f"seen_{name}"] for row in core]))
        least = BOUNDS[name].least
        assert least is not None
        report.bound(f"1 - {BOUNDS[name].what}, seen", 1 - mean, 1 - least, "", n=sum(row["pictures"] for row in core))
    above = float(np.mean([row["seen_r"] - row["loudness_r"] for row in core]))
    report.bound("1 - (opening r above loudness alone)", 1 - above, 1 - ABOVE_LOUDNESS, "", n=len(core))
    for name in ("width_r", "rounding_r"):
        mean = float(np.mean([row[name] for row in core]))
        report.bound(f"1 - {name.replace('_', ' ')}, heard", 1 - mean, 1 - LEAST_SHAPE, "", n=len(core))
    for name in ("bilabials", "labiodentals"):
        counts = [row[f"seen_{name}_n"] for row in core]
        mean = float(np.average([row[f"seen_{name}"] for row in core], weights=counts))
        least = BOUNDS[name].least
        assert least is not None
        stated = STATED_BILABIALS if name == "bilabials" else 0
        report.bound(f"not {BOUNDS[name].what}", 1 - mean, 1 - least, "", n=sum(counts), stated_n=stated)
    worst = min(row["seen_bilabials"] for row in core)
    report.bound("not closed at /p b m/, worst voice", 1 - worst, 1 - LEAST_WORST, "", n=len(core))
    counts = [row["seen_false_closures_n"] for row in core]
    mean = float(np.average([row["seen_false_closures"] for row in core], weights=counts))
    report.bound("open vowels shown closed", mean, 0.05, "", n=sum(counts))
    lag = max((row["seen_lag_ms"] for row in core), key=abs)
    report.bound("lag of the worst voice, ms", abs(lag), 20.0, "ms", n=len(core))


def _conditions(report: Report, core: Sequence[Recording], new_tracker: Callable[[], MouthTracker]) -> None:
    """Degraded sound, and sound without speech, by the ear's own output."""
    clean = [heard(recording, new_tracker) for recording in core]
    rows = []
    for name, spoil in lips_sound.DEGRADED.items():
        spoiled = [heard(replace(recording, pcm=spoil(recording.pcm)), new_tracker) for recording in core]
        cost = {key: float(np.mean([a[key] - b[key] for a, b in zip(clean, spoiled, strict=True)])) for key in clean[0]}
        rows.append({"condition": name} | {key: round(lost, 3) for key, lost in cost.items()})
        if name in lips_sound.BOUNDED:
            report.bound(f"opening r lost: {name}", cost["r"], MOST_COST, "", n=len(core))
    report.samples("conditions", rows)
    rows = []
    for name, pcm in lips_sound.without_speech().items():
        lips = parted(mouths(pcm, new_tracker))
        rows.append({"sound": name, "mean": round(float(lips.mean()), 4), "max": round(float(lips.max()), 3)})
        report.bound(f"mean opening: {name}", float(lips.mean()), MOST_OPEN_WITHOUT_SPEECH, "", n=len(lips))
    report.samples("without_speech", rows)
    silent = mouths(np.zeros(10 * SPEECH_RATE_HZ, np.int16), new_tracker)
    report.bound("different mouths in digital silence, less one", float(len(set(silent)) - 1), 0, "", n=len(silent))


def _cost(report: Report, pcm: Pcm, new_tracker: Callable[[], MouthTracker]) -> None:
    """What a picture's hearing costs, and how far ahead it hears."""
    tracker = new_tracker()
    costs = []
    for start in range(0, min(len(pcm), 1000 * TICK_SPEECH_SAMPLES), TICK_SPEECH_SAMPLES):
        began = time.thread_time_ns()
        tracker.push(pcm[start : start + TICK_SPEECH_SAMPLES])
        costs.append((time.thread_time_ns() - began) / 1e6)
    report.numbers("the ear: cpu a picture", costs, "ms")
    report.bound("the ear: cpu a picture, p50", float(np.percentile(costs, 50)), MOST_COST_MS, "ms", n=len(costs))
    report.bound("the ear: lookahead", tracker.lookahead_ms, MOST_LOOKAHEAD_MS, "ms", n=1)


if __name__ == "__main__":
    sys.exit(main())
