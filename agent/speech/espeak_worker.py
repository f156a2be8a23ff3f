"""The child process that holds espeak-ng: sentences in on standard input, sound and events out on standard output.

espeak-ng is GPL-3 and keeps its state in globals, so it lives alone here: this program and its library are a work of
their own that talks to the rest by a pipe (agent/speech/framing.py). It imports nothing of the conversation.

Request: JSON {text, voice, rate_wpm, pitch, pitch_range}. Answer: frames ``e`` (JSON: events of the next chunk, then
``a`` (int16 mono at RATE_HZ), and so on, then done. Events are [kind, start_ms, ...]: ["w", ms, position, length] for
a word (characters of the text, from 0), ["p", ms, name] for a phoneme, ["c", ms] for the end of a clause.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import sys
import threading
from enum import IntEnum
from typing import IO, Any

import espeakng_loader

from agent.speech.framing import ASK, CANCEL, DONE, FAILED, read_frame, write_frame

RATE_HZ = 22_050
CHUNK_MS = 60
AUDIO = b"a"
EVENTS = b"e"

_SYNCHRONOUS = 2
_PHONEME_EVENTS = 0x0001
_DONT_EXIT = 0x8000
_POS_CHARACTER = 1
_CHARS_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4


class _EventType(IntEnum):
    WORD = 1
    CLAUSE_END = 5
    PHONEME = 7


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """The library, loaded and initialised once; one sentence at a time."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        rate = self._library.espeak_Initialize(
            _SYNCHRONOUS, CHUNK_MS, str(espeakng_loader.get_data_path()).encode(), _PHONEME_EVENTS | _DONT_EXIT
        )
        if rate != RATE_HZ:
            raise RuntimeError(f"espeak-ng answered {rate} to its initialisation, not {RATE_HZ} Hz")
        self._request = 0
        self._cancelled: set[int] = set()
        # ctypes frees a callback that nothing refers to, and espeak would call into nothing.
        self._callback = _Callback(self._deliver)
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.POINTER(ctypes.c_uint),
            ctypes.c_void_p,
        ]

    def cancel(self, request: int) -> None:
        """From the reader thread: give up this request, whether it runs or waits."""
        self._cancelled.add(request)

    def speak(self, request: int, ask: dict[str, Any]) -> None:
        if request in self._cancelled:
            self._cancelled.discard(request)
            return
        self._request = request
        for old in [number for number in tuple(self._cancelled) if number < request]:
            self._cancelled.discard(old)  # its cancellation came after its end
        if self._library.espeak_SetVoiceByName(ask["voice"].encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {ask['voice']!r}")
        for parameter, name in ((_RATE, "rate_wpm"), (_PITCH, "pitch"), (_RANGE, "pitch_range")):
            self._library.espeak_SetParameter(parameter, int(ask[name]), 0)
        text = ask["text"].encode()
        status = self._library.espeak_Synth(text, len(text) + 1, 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
        self._cancelled.discard(request)
        if status != 0:
            raise RuntimeError(f"espeak-ng refused the text with status {status}")

    def _deliver(self, wave: Any, samples: int, events: Any) -> int:
        """espeak's callback: 1 stops it."""
        if self._request in self._cancelled:
            return 1
        noted: list[list[Any]] = []
        index = 0
        while (event := events[index]).type != 0:
            match event.type:
                case _EventType.WORD:
                    noted.append(["w", event.audio_position, event.text_position - 1, event.length])
                case _EventType.CLAUSE_END:
                    noted.append(["c", event.audio_position])
                case _EventType.PHONEME:
                    name = bytes(event.id.string).decode("utf-8", "replace")
                    noted.append(["p", event.audio_position, name])
            index += 1
        if noted:
            write_frame(self._out, EVENTS, self._request, json.dumps(noted).encode())
        if wave and samples > 0:
            write_frame(self._out, AUDIO, self._request, ctypes.string_at(wave, samples * 2))
        return 0


NICENESS = 5
"""It speaks many times faster than it is heard, in bursts; on a busy machine a picture that is due comes first."""


def main() -> None:
    os.nice(NICENESS)
    source, out = sys.stdin.buffer, sys.stdout.buffer
    # What the library or the interpreter prints must not fall among the frames.
    sys.stdout = sys.stderr
    requests: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
    espeak = Espeak(out)

    def read() -> None:
        while (frame := read_frame(source)) is not None:
            kind, request, payload = frame
            if kind == ASK:
                requests.put((request, payload))
            elif kind == CANCEL:
                espeak.cancel(request)
        os._exit(0)  # the parent is gone, or wants us gone: at once, even in the middle of a sentence

    threading.Thread(target=read, daemon=True).start()
    while True:
        request, payload = requests.get()
        try:
            espeak.speak(request, json.loads(payload))
        except (ValueError, RuntimeError, KeyError, UnicodeError) as error:
            write_frame(out, FAILED, request, str(error).encode())
        else:
            write_frame(out, DONE, request)


if __name__ == "__main__":
    main()
