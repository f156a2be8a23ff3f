"""faster-whisper as a livekit-agents STT: an utterance in, text out, on this machine, in some hundred languages.

The package is an extra (``mien[whisper]``) and the weights are fetched once, after a yes, with their progress in
bytes; from then on nothing leaves the machine. `Whisper` is the process's model (loaded once, one utterance at a time
on a thread; the library lets go of the interpreter's lock), `WhisperSTT` one conversation's recognizer over it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from livekit.agents import APIConnectionError, APIConnectOptions, stt, utils
from livekit.agents.language import LanguageCode
from livekit.agents.types import NOT_GIVEN, NotGivenOr

from agent.speech.utterance import at_16_khz, may_be_speech
from avatar.frames import MienError, Pcm

SIZES_MB = {
    "tiny": 78,
    "tiny.en": 78,
    "base": 148,
    "base.en": 148,
    "small": 486,
    "small.en": 486,
    "medium": 1530,
    "medium.en": 1530,
    "large-v3": 3090,
}
"""The models that can be fetched and what they weigh, roughly."""
LONGEST_S = 30
TIGHTEST = 2.4
"""OpenAI's own threshold for the compression ratio of a text."""
CACHE = Path.home() / ".cache" / "mien" / "whisper"
_NEEDED = ("config.json", "model.bin", "tokenizer.json")
_WANTED = (*_NEEDED, "preprocessor_config.json")

Progress = Callable[[int, int | None], None]
"""Bytes done, and bytes in all where known; called on the event loop."""


class WhisperError(MienError):
    """faster-whisper cannot be used: what is missing, and what to do."""


def installed() -> bool:
    return importlib.util.find_spec("faster_whisper") is not None


class Whisper:
    """One model of a process.

    Args:
        model: a name of SIZES_MB, or the path of a folder with a CTranslate2 Whisper model.
        cache: where fetched models are kept.
        hub: where they are fetched from; None for the public one.

    Raises:
        WhisperError: neither.
    """

    def __init__(self, model: str, *, cache: Path = CACHE, hub: str | None = None) -> None:
        self.model = model
        self.hub = hub
        folder = Path(model).expanduser()
        if model in SIZES_MB:
            folder = cache / model
        elif not folder.is_dir():
            raise WhisperError(
                f"no whisper model {model!r} (MIEN_WHISPER_MODEL): "
                f"use one of {', '.join(SIZES_MB)}, or a model's folder"
            )
        self.folder = folder
        self._loaded: Any = None
        self._loading = threading.Lock()
        self._fetching = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="whisper")

    @property
    def size_mb(self) -> int | None:
        return SIZES_MB.get(self.model)

    @property
    def fetched(self) -> bool:
        """Everything is on disk; nothing will be asked of the network."""
        return all((self.folder / name).is_file() for name in _NEEDED) and any(self.folder.glob("vocabulary.*"))

    async def fetch(self, progress: Progress) -> None:
        """Fetch the weights from the hub. Cancelling stops at the next piece; what has come is kept for the next try.

        Raises:
            WhisperError: the hub cannot be reached, refuses, or the disk is full.
        """
        loop, stop = asyncio.get_running_loop(), threading.Event()

        def tell(done: int, total: int | None) -> None:
            loop.call_soon_threadsafe(progress, done, total)

        def fetch() -> None:
            with self._fetching:  # of two conversations, one fetches and the other waits for it
                if not self.fetched and not stop.is_set():
                    _download(self.model, self.folder, self.hub, tell, stop)

        try:
            await asyncio.to_thread(fetch)
        finally:
            stop.set()

    def load(self) -> None:
        """Load the model; blocks. Called by ``transcribe`` when it was not called before.

        Raises:
            WhisperError: it is not installed, not fetched, or broken.
        """
        with self._loading:
            if self._loaded is not None:
                return
            if not installed():
                raise WhisperError("faster-whisper is not installed: pip install 'mien[whisper]'")
            if not self.fetched:
                raise WhisperError(
                    f"the whisper model {self.model!r} is not in {self.folder}: agree to its download first"
                )
            import faster_whisper

            try:
                self._loaded = faster_whisper.WhisperModel(
                    str(self.folder),
                    device="cpu",
                    compute_type="int8",
                    cpu_threads=max(1, (os.cpu_count() or 2) // 2),
                    local_files_only=True,
                )
            except (RuntimeError, ValueError, OSError) as error:
                raise WhisperError(
                    f"the whisper model in {self.folder} cannot be loaded ({error}): "
                    "delete the folder to fetch it again"
                ) from error

    async def transcribe(self, pcm: Pcm, language: str | None) -> tuple[str, str, float]:
        """(text, language, confidence) of int16 at 16 kHz; no text for what is no speech. Only the last 30 s count.

        Raises:
            WhisperError: see ``load``.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transcribe, pcm, language)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _transcribe(self, pcm: Pcm, language: str | None) -> tuple[str, str, float]:
        pcm = pcm[-LONGEST_S * 16_000 :]
        if not may_be_speech(pcm):
            return "", language or "en", 0.0
        self.load()
        try:
            segments, info = self._loaded.transcribe(
                pcm.astype(np.float32) / 32768,
                language=language,
                beam_size=1,
                temperature=0.0,
                condition_on_previous_text=False,
                without_timestamps=True,
                vad_filter=False,
            )
            # Text that can be packed this tightly is said over and over: what whisper makes of noise.
            parts = [part for part in segments if part.compression_ratio <= TIGHTEST]
        except (RuntimeError, ValueError) as error:
            raise WhisperError(f"faster-whisper: {error}") from error
        text = "".join(part.text for part in parts).strip()
        likely = float(np.exp(np.mean([part.avg_logprob for part in parts]))) if parts else 0.0
        return text, str(info.language), likely


def _download(
    model: str, folder: Path, hub: str | None, tell: Callable[[int, int | None], None], stop: threading.Event
) -> None:
    """Fetch the model's files into ``folder``; runs on a thread."""
    try:
        import huggingface_hub
        from tqdm import tqdm  # type: ignore[import-untyped]
    except ImportError:
        raise WhisperError("faster-whisper is not installed: pip install 'mien[whisper]'") from None
    done, total = 0, 0

    class Count(tqdm):  # type: ignore[misc]
        """The hub client's progress bar, which draws nothing and counts bytes."""

        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **(options | {"disable": True}))

        def update(self, n: float | None = 1) -> bool | None:
            nonlocal done
            if stop.is_set():
                raise WhisperError("the download was cancelled")
            done += int(n or 0)
            tell(done, total)
            return None

    repository = f"Systran/faster-whisper-{model}"
    try:
        info = huggingface_hub.HfApi(endpoint=hub, token=False).model_info(repository, files_metadata=True)
        files = {
            each.rfilename: each.size or 0
            for each in info.siblings or []
            if each.rfilename in _WANTED or each.rfilename.startswith("vocabulary.")
        }
        missing = [name for name in _NEEDED if name not in files]
        if missing:
            raise WhisperError(
                f"{repository} on the hub has no {', '.join(missing)}: choose another MIEN_WHISPER_MODEL"
            )
        total = sum(files.values())
        tell(0, total)
        # The weights last: while they are missing, the model does not count as fetched.
        for name in sorted(files, key=lambda name: files[name]):
            before = done
            huggingface_hub.hf_hub_download(
                repository,
                name,
                revision=info.sha,
                local_dir=folder,
                tqdm_class=Count,
                token=False,
                endpoint=hub,
            )
            done = before + files[name]
            tell(done, total)
    except WhisperError:
        raise
    except Exception as error:  # requests, httpx, OSError, hub errors: whatever its client uses today
        raise WhisperError(
            f"the whisper model {model!r} could not be fetched ({type(error).__name__}): "
            "check the network and try again"
        ) from error


class WhisperSTT(stt.STT[str]):
    """Args:
    whisper: the process's model.
    language: what is spoken, such as ``en``; None to find out.
    """

    def __init__(self, whisper: Whisper, *, language: str | None = None) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))
        self._whisper = whisper
        self._language = language

    @property
    def model(self) -> str:
        return self._whisper.model

    @property
    def provider(self) -> str:
        return "faster-whisper"

    async def _recognize_impl(
        self,
        buffer: utils.AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        try:
            text, spoken, confidence = await self._whisper.transcribe(at_16_khz(buffer), self._language)
        except WhisperError as error:
            raise APIConnectionError(str(error), retryable=False) from error
        return stt.SpeechEvent(
            type=stt.SpeechEventType.FINAL_TRANSCRIPT,
            request_id=utils.shortuuid("whisper_"),
            alternatives=[stt.SpeechData(language=LanguageCode(spoken), text=text, confidence=confidence)],
        )
