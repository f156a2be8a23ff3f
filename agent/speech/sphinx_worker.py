"""The child process that holds pocketsphinx: recorded speech in on standard input, text out on standard output.

pocketsphinx keeps the interpreter's lock while it decodes, half a second at a time, which would stop the
conversation's clock; so it lives alone here (frames: agent/speech/framing.py). It imports nothing of the
conversation.

Request: u32 length of a JSON head, the head ({phrases: [...]}), then int16 mono at RATE_HZ. Answer: a ``t`` frame of
JSON {text, confidence}; before it an ``h`` frame for every second of sound, as a sign of life.
"""

from __future__ import annotations

import json
import os
import queue
import re
import struct
import sys
import threading
from typing import IO, Any

import pocketsphinx

from agent.speech.framing import ASK, CANCEL, DONE, FAILED, read_frame, write_frame

RATE_HZ = 16_000
HEAD = struct.Struct(">I")
TEXT = b"t"
HEARTBEAT = b"h"
PIECE_BYTES = RATE_HZ * 2
SPEECH_SHARE = 0.12
"""At least this share of the sound must be words; noise is decoded as fillers with a word here and there."""


def plain(phrase: str) -> str:
    """A phrase as the dictionary writes it."""
    return " ".join(re.findall(r"[a-z']+", phrase.lower()))


class Recognizer:
    """The decoder, loaded once, with a search of its own for each list of phrases."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._decoder = pocketsphinx.Decoder(samprate=RATE_HZ, loglevel="FATAL")
        self._dictation = self._decoder.current_search()
        self._grammars: dict[tuple[str, ...], str] = {}
        self.cancelled: set[int] = set()

    def recognize(self, request: int, payload: bytes) -> bytes | None:
        """The answer's JSON; None when the request was cancelled."""
        (length,) = HEAD.unpack_from(payload)
        head = json.loads(payload[HEAD.size : HEAD.size + length])
        sound = payload[HEAD.size + length :]
        self._decoder.activate_search(self._search(tuple(head["phrases"])))
        self._decoder.start_utt()
        try:
            for start in range(0, len(sound), PIECE_BYTES):
                if request in self.cancelled:
                    return None
                self._decoder.process_raw(sound[start : start + PIECE_BYTES])
                write_frame(self._out, HEARTBEAT, request)
        finally:
            self._decoder.end_utt()
        return json.dumps(self._result(len(sound))).encode()

    def _result(self, size: int) -> dict[str, Any]:
        guess = self._decoder.hyp()
        if guess is None:
            return {"text": "", "confidence": 0.0}
        words = [part for part in self._decoder.seg() if not part.word.startswith(("<", "["))]
        spoken_s = sum(part.end_frame - part.start_frame + 1 for part in words) / 100
        if spoken_s < SPEECH_SHARE * size / (2 * RATE_HZ):
            return {"text": "", "confidence": 0.0}
        return {"text": guess.hypstr, "confidence": min(1.0, max(0.0, float(guess.prob)))}

    def _search(self, phrases: tuple[str, ...]) -> str:
        if not phrases:
            return str(self._dictation)
        if phrases not in self._grammars:
            known = [plain(phrase) for phrase in phrases]
            strange = sorted(
                {word for text in known for word in text.split() if self._decoder.lookup_word(word) is None}
            )
            if strange:
                raise ValueError(f"no pronunciation for {', '.join(strange)}")
            name = f"phrases{len(self._grammars)}"
            rules = " | ".join(text for text in known if text)
            self._decoder.add_jsgf_string(name, f"#JSGF V1.0; grammar {name}; public <said> = {rules};")
            self._grammars[phrases] = name
        return self._grammars[phrases]


def main() -> None:
    source, out = sys.stdin.buffer, sys.stdout.buffer
    requests: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
    sys.stdout = sys.stderr  # nothing that is printed may fall among the frames
    recognizer = Recognizer(out)

    def read() -> None:
        while (frame := read_frame(source)) is not None:
            kind, request, payload = frame
            if kind == ASK:
                requests.put((request, payload))
            elif kind == CANCEL:
                recognizer.cancelled.add(request)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        request, payload = requests.get()
        try:
            answer = recognizer.recognize(request, payload)
        except (ValueError, RuntimeError, KeyError, struct.error) as error:
            write_frame(out, FAILED, request, str(error).encode())
            continue
        if answer is not None:
            write_frame(out, TEXT, request, answer)
        write_frame(out, DONE, request)
        recognizer.cancelled.discard(request)


if __name__ == "__main__":
    main()
