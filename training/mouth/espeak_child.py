"""The child process in which espeak-ng speaks for the training: jobs in on standard input, sound and IPA times out.

espeak-ng is GPL-3 and keeps its state in globals, so it lives alone here (as for the conversation, in
agent/speech/espeak_worker.py, which gives mnemonics; the training wants IPA, the same for all languages).

A job is a line of JSON: {text, voice, rate_wpm, pitch, pitch_range}. The answer is a line of JSON {error} or {rate_hz,
samples, phones: [[ms, ipa], ...]} and then as many int16 samples, raw. A job {text, voice} is only read, not spoken:
the answer is {clauses: [ipa, ...]} with `JOINT` between sounds, spaces between words and marks of stress.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

import espeakng_loader

from agent.speech.espeak_worker import _Callback  # the layout of the library's own events

_SYNCHRONOUS = 2
_PHONEMES, _IPA, _DONT_EXIT = 0x0001, 0x0002, 0x8000
_CHARS_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_PHONEME_EVENT = 7
JOINT = "_"
_READ_AS_IPA = 0x02 | ord(JOINT) << 8


def main() -> None:
    out = sys.stdout.buffer
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate_hz = library.espeak_Initialize(
        _SYNCHRONOUS, 200, str(espeakng_loader.get_data_path()).encode(), _PHONEMES | _IPA | _DONT_EXIT
    )
    pieces: list[bytes] = []
    phones: list[tuple[int, str]] = []

    def deliver(wave: Any, samples: int, events: Any) -> int:
        index = 0
        while (event := events[index]).type != 0:
            if event.type == _PHONEME_EVENT:
                phones.append((event.audio_position, bytes(event.id.string).decode("utf-8", "replace")))
            index += 1
        if wave and samples > 0:
            pieces.append(ctypes.string_at(wave, samples * 2))
        return 0

    callback = _Callback(deliver)
    library.espeak_SetSynthCallback(callback)
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int,
        ctypes.c_uint, ctypes.c_uint, ctypes.POINTER(ctypes.c_uint), ctypes.c_void_p,
    ]  # fmt: skip
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.c_int]
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p

    def read(text: str) -> list[str]:
        kept = ctypes.create_string_buffer(text.encode())
        at = ctypes.c_void_p(ctypes.addressof(kept))
        clauses: list[str] = []
        while at.value:  # it moves on by a clause, and to nowhere after the last
            ipa = library.espeak_TextToPhonemes(ctypes.byref(at), _CHARS_UTF8, _READ_AS_IPA)
            clauses.append(ipa.decode("utf-8", "replace"))
        return [clause for clause in clauses if clause.strip()]

    for line in sys.stdin.buffer:
        job = json.loads(line)
        pieces.clear()
        phones.clear()
        head: dict[str, Any]
        if library.espeak_SetVoiceByName(job["voice"].encode()) != 0:
            head = {"error": f"espeak-ng has no voice {job['voice']!r}"}
        elif "rate_wpm" not in job:
            head = {"clauses": read(job["text"])}
        else:
            for parameter, name in ((_RATE, "rate_wpm"), (_PITCH, "pitch"), (_RANGE, "pitch_range")):
                library.espeak_SetParameter(parameter, int(job[name]), 0)
            text = job["text"].encode()
            library.espeak_Synth(text, len(text) + 1, 0, 1, 0, _CHARS_UTF8, None, None)
            head = {"rate_hz": rate_hz, "samples": sum(map(len, pieces)) // 2, "phones": phones}
        out.write(json.dumps(head).encode() + b"\n")
        if "samples" in head:
            out.write(b"".join(pieces))
        out.flush()


if __name__ == "__main__":
    main()
