"""Phone times of a video's speech: read from a file of labels, or found in its sound by the local recognizer.

A label file has a line for each phone: its end in seconds, or its start and end, and its name; or one line as flite
-psdur prints it (name:end ...). Names are IPA, or American English as flite names it (``aa b iy``) in a file whose name
ends in ``.arpa`` and in flite's form.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import av
import av.error
import numpy as np

from agent.lips.phones import Phone, PhoneError, from_arpabet, merged, sounds
from avatar.frames import MienError, Pcm

RATE_HZ = 16_000
FRAME_MS = 10
LARGEST_BYTES = 5_000_000
ARPABET_SUFFIX = ".arpa"


class LabelError(MienError):
    """Phone times cannot be had."""


def read_labels(path: Path) -> list[Phone]:
    """The phones of a label file.

    Raises:
        LabelError: it cannot be read, or a line of it is none.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise LabelError(f"{path} is too large for phone times: more than {LARGEST_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"cannot read phone times from {path}: {error}") from error
    pairs = re.fullmatch(r"\s*(?:\S+:\d+(?:\.\d+)?\s*)+", text)
    rows = (
        [[end, name] for name, end in re.findall(r"(\S+?):(\d+(?:\.\d+)?)(?=\s|$)", text)]
        if pairs
        else [line.split() for line in text.splitlines() if line.strip()]
    )
    arpabet = bool(pairs) or path.suffix == ARPABET_SUFFIX
    phones: list[Phone] = []
    for number, row in enumerate(rows, start=1):
        try:
            phones.append(_phone(row, phones[-1].end_ms if phones else 0.0, arpabet))
        except (ValueError, PhoneError) as error:
            raise LabelError(
                f"{path}, phone {number}: {' '.join(row)!r} is no phone and its times ({error}); "
                "write `END_S NAME` or `START_S END_S NAME`"
            ) from None
    if not phones:
        raise LabelError(f"{path} holds no phone times")
    return merged(phones)


def _phone(row: Sequence[str], last_ms: float, arpabet: bool) -> Phone:
    if len(row) == 2:
        start_ms, end_ms = last_ms, 1000.0 * float(row[0])
    elif len(row) == 3:
        start_ms, end_ms = 1000.0 * float(row[0]), 1000.0 * float(row[1])
    else:
        raise ValueError(f"{len(row)} columns")
    if not (math.isfinite(start_ms) and math.isfinite(end_ms)) or start_ms < last_ms - 1e-6 or end_ms < start_ms:
        raise ValueError("its times do not follow the phone before it")
    name = row[-1]
    if arpabet:
        return Phone(from_arpabet(name), start_ms, end_ms)
    ipa = "" if name in ("_", "#", "sil", "pau") else name
    sounds(ipa)
    return Phone(ipa, start_ms, end_ms)


def sound_of(video: Path) -> Pcm:
    """A video's sound from the file's time 0 on: int16 [n] at 16 kHz.

    Raises:
        LabelError: it has none.
    """
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
    pieces: list[Pcm] = []
    try:
        with av.open(str(video)) as container:
            if not container.streams.audio:
                raise LabelError(f"{video} holds no sound: its lips cannot be judged without")
            for decoded in container.decode(audio=0):
                if not pieces and decoded.pts and decoded.time_base:
                    lead = max(0, round(float(decoded.pts * decoded.time_base) * RATE_HZ))
                    pieces.append(np.zeros(min(lead, 60 * RATE_HZ), np.int16))
                decoded.pts = None
                pieces += [part.to_ndarray()[0] for part in resampler.resample(decoded)]
            pieces += [part.to_ndarray()[0] for part in resampler.resample(None)]
    except (av.error.FFmpegError, OSError) as error:
        raise LabelError(f"cannot read the sound of {video}: {error}") from error
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)


def aligned(sound: Pcm, text: str | None) -> list[Phone]:
    """Where the phones of an English text lie in its sound, by pocketsphinx; without a text, of what it recognizes.

    Against the times that synthesizers give of their own speech, starts of /p b m/ are off by 5 to 10 ms (median),
    27 ms at the 90th percentile.

    Raises:
        LabelError: a word has no pronunciation, nothing was recognized, or text and sound do not fit.
    """
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=RATE_HZ, loglevel="FATAL", bestpath=False)

    def hear() -> None:
        decoder.start_utt()
        decoder.process_raw(sound.astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()

    if text is None:
        hear()
        guess = decoder.hyp()
        words = "" if guess is None else guess.hypstr
        if not words:
            raise LabelError("no English words were recognized in the sound: give --text or --phones")
    else:
        words = " ".join(re.findall(r"[a-z']+", text.lower()))
        strange = sorted({word for word in words.split() if decoder.lookup_word(word) is None})
        if strange or not words:
            raise LabelError(f"no pronunciation is known for {', '.join(strange) or 'an empty text'}: give --phones")
    decoder.set_align_text(words)
    hear()
    try:
        decoder.set_alignment()
        hear()
        found = [phone for word in decoder.get_alignment() for phone in word]
    except (RuntimeError, TypeError) as error:
        raise LabelError(f"the text does not fit the sound ({error}): give what is really said, or --phones") from error
    return merged(
        Phone(_named(phone.name), FRAME_MS * phone.start, FRAME_MS * (phone.start + phone.duration)) for phone in found
    )


def _named(name: str) -> str:
    """IPA of the recognizer's phone; its noises and pauses are silence."""
    try:
        return from_arpabet(name)
    except PhoneError:
        return ""
