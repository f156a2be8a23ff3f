"""The child process that holds pocketsphinx: speech in on standard input as it is spoken, text out on standard output.

pocketsphinx keeps the interpreter's lock while it decodes, which would stop the conversation's clock; so it lives alone
here (frames: agent/speech/framing.py). It imports nothing of the conversation.

Request: BEGIN with a JSON head ({phrases: [...]}), FEED with int16 mono at RATE_HZ as often as there is some, FINISH.
Answer: an ``h`` frame for every second of sound, as a sign of life; after FINISH a ``t`` frame of JSON {text,
confidence}. People who speak at the same time are decoded at the same time, each by a decoder of their own.
"""

from __future__ import annotations

import json
import os
import queue
import re
import sys
import threading
from typing import IO, Any

import pocketsphinx

from agent.speech.framing import BEGIN, CANCEL, DONE, FAILED, FEED, FINISH, read_frame, write_frame

RATE_HZ = 16_000
TEXT = b"t"
HEARTBEAT = b"h"
PIECE_BYTES = RATE_HZ * 2
EARS = 4
"""Who speaks while that many others do is decoded when one of them has ended. An ear takes 92 MB."""
SPEECH_SHARE = 0.12
"""At least this share of the sound must be words; noise is decoded as fillers with a word here and there."""


def plain(phrase: str) -> str:
    """A phrase as the dictionary writes it."""
    return " ".join(re.findall(r"[a-z']+", phrase.lower()))


class Ear:
    """A decoder, with a search of its own for each list of phrases; one utterance at a time.

    Of the passes that begin only when the person has ended, the search through the words found (bestpath) is kept and
    the flat one over the whole utterance (fwdflat) left out: it earns nothing that can be told from chance. Word errors
    in free dictation, and processor time after the end of a sentence of 2 to 3 s (mean, at 2.6 GHz):

    | | espeak (2 voices, 32 sentences) | flite (3 voices, 48 sentences) |
    | --- | --- | --- |
    | both passes | 44.0 %, 237 ms | 6.0 %, 125 ms |
    | bestpath alone | 43.3 %, 48 ms | 6.7 %, 28 ms |
    | fwdflat alone | 42.9 %, 199 ms | 5.5 %, 121 ms |
    | neither | 48.5 %, 18 ms | 8.7 %, 19 ms |

    With a grammar (6 phrases, 2 voices) none was wrong, and the passes take a millisecond at most.
    """

    def __init__(self) -> None:
        self._decoder = pocketsphinx.Decoder(samprate=RATE_HZ, loglevel="FATAL", fwdflat=False)
        self._dictation = self._decoder.current_search()
        self._grammars: dict[tuple[str, ...], str] = {}
        self._listening = False
        self._bytes = 0

    def begin(self, phrases: tuple[str, ...]) -> None:
        """Raises ValueError for a phrase with a word that cannot be pronounced."""
        self._decoder.activate_search(self._search(phrases))
        self._decoder.start_utt()
        self._listening, self._bytes = True, 0

    def feed(self, sound: bytes) -> bool:
        """Decode on; whether another second is done."""
        self._decoder.process_raw(sound)
        before, self._bytes = self._bytes, self._bytes + len(sound)
        return before // PIECE_BYTES < self._bytes // PIECE_BYTES

    def finish(self) -> dict[str, Any]:
        self.rest()
        guess = self._decoder.hyp()
        if guess is None:
            return {"text": "", "confidence": 0.0}
        words = [part for part in self._decoder.seg() if not part.word.startswith(("<", "["))]
        spoken_s = sum(part.end_frame - part.start_frame + 1 for part in words) / 100
        if spoken_s < SPEECH_SHARE * self._bytes / PIECE_BYTES:
            return {"text": "", "confidence": 0.0}
        return {"text": guess.hypstr, "confidence": min(1.0, max(0.0, float(guess.prob)))}

    def rest(self) -> None:
        if self._listening:
            self._listening = False
            self._decoder.end_utt()

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


class Listener:
    """Everybody who speaks now, each with an ear; idle ears are kept.

    Args:
        out: where the answers go.
    """

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._idle = [Ear()]
        self._busy: dict[int, Ear] = {}
        self._waiting: dict[int, list[tuple[bytes, bytes]]] = {}
        """What came for those who have no ear yet."""
        self.cancelled: set[int] = set()
        """Requests whose sound need not be decoded any more; each is followed by its CANCEL."""

    def take(self, kind: bytes, request: int, payload: bytes) -> None:
        """A frame of a request. One that is not known has failed or was answered."""
        if kind == CANCEL:
            self._waiting.pop(request, None)
            self._free(request)
            self.cancelled.discard(request)
        elif request in self._waiting:
            self._waiting[request].append((kind, payload))
        elif kind == BEGIN and not self._idle and len(self._busy) == EARS:
            self._waiting[request] = [(kind, payload)]
        elif request not in self.cancelled:
            self._hear(kind, request, payload)
        while self._waiting and len(self._busy) < EARS:
            self._take_up()

    def _take_up(self) -> None:
        """Hear what came for one who had to wait: for somebody who has ended, if there is one."""
        ended = [request for request, frames in self._waiting.items() if frames[-1][0] == FINISH]
        request = next(iter([*ended, *self._waiting]))
        for kind, payload in self._waiting.pop(request):
            self._hear(kind, request, payload)

    def _hear(self, kind: bytes, request: int, payload: bytes) -> None:
        try:
            if kind == BEGIN:
                ear = self._busy[request] = self._idle.pop() if self._idle else Ear()
                ear.begin(tuple(json.loads(payload)["phrases"]))
            elif request in self._busy and kind == FEED:
                if self._busy[request].feed(payload):
                    for listening in (request, *self._waiting):
                        write_frame(self._out, HEARTBEAT, listening)
            elif request in self._busy and kind == FINISH:
                answer = self._busy[request].finish()
                self._free(request)
                write_frame(self._out, TEXT, request, json.dumps(answer).encode())
                write_frame(self._out, DONE, request)
        except (ValueError, RuntimeError, KeyError) as error:
            self._free(request)
            write_frame(self._out, FAILED, request, str(error).encode())

    def _free(self, request: int) -> None:
        if request in self._busy:
            ear = self._busy.pop(request)
            ear.rest()
            self._idle.append(ear)


NICENESS = 10
"""On a busy machine a transcript may come a little later; the sound and the picture of a conversation may not."""


def main() -> None:
    os.nice(NICENESS)
    source, out = sys.stdin.buffer, sys.stdout.buffer
    frames: queue.SimpleQueue[tuple[bytes, int, bytes]] = queue.SimpleQueue()
    sys.stdout = sys.stderr  # nothing that is printed may fall among the frames
    listener = Listener(out)

    def read() -> None:
        while (frame := read_frame(source)) is not None:
            if frame[0] == CANCEL:
                listener.cancelled.add(frame[1])
            frames.put(frame)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        listener.take(*frames.get())


if __name__ == "__main__":
    main()
