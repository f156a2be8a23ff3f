"""`mien doctor`: whether everything that a conversation needs is there and works on this machine.

In: the environment's settings. Out: a line a check on standard output (ok, warn or fail), with what to do where it is
not ok; the exit status. Nothing is asked of the network.
"""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Literal

import av
import av.error
import numpy as np

from agent.face import choose_face
from agent.licenses import requirements_of
from agent.persona import Persona, load_persona
from agent.settings import Settings, load_settings
from agent.speech.espeak import Espeak
from agent.speech.espeak_worker import RATE_HZ
from avatar.frames import FPS, SAMPLE_RATE_HZ, TICK_SAMPLES, MienError
from avatar.renderer import Shot

OLDEST_PYTHON = (3, 11)
SLOW_PICTURE_MS = 15.0
"""Drawing and encoding share a tick of 40 ms with everything else of the conversation."""
TIMEOUT_S = 20.0

Outcome = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Args:
        advice: what to do; empty when nothing is to be done.
    """

    outcome: Outcome
    what: str
    detail: str
    advice: str = ""


def examine(environ: Mapping[str, str], *, env_file: Path) -> int:
    """Run all checks and print what they find as they find it. Returns 1 if one failed, else 0."""
    failed = False
    for finding in _findings(environ, env_file):
        print(f"{finding.outcome:4}  {finding.what}: {finding.detail}", flush=True)
        if finding.advice:
            print(f"      {finding.advice}", flush=True)
        failed |= finding.outcome == "fail"
    print("Something has to be mended first." if failed else "Ready: mien talk")
    return int(failed)


def _findings(environ: Mapping[str, str], env_file: Path) -> Iterator[Finding]:
    yield python()
    yield packages()
    try:
        settings = load_settings(environ, env_file=env_file)
        persona = load_persona(settings.avatar.persona)
    except MienError as error:
        yield Finding("fail", "settings", str(error), f"mend it in the environment or in {env_file.resolve()}")
        settings, persona = Settings(), load_persona("mien")
    else:
        yield Finding("ok", "settings", f"persona {persona.name} ({persona.folder})")
    yield asyncio.run(_bounded("voice", lambda: voice(persona)))
    yield asyncio.run(_bounded("face", lambda: face(settings, persona)))
    yield codecs()
    yield port(settings)
    yield microphone(settings)
    yield network(settings)


async def _bounded(what: str, check: Callable[[], Awaitable[Finding]]) -> Finding:
    """A part that hangs or breaks is a finding too."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await check()
    except TimeoutError:
        return Finding("fail", what, f"no answer within {TIMEOUT_S:.0f} s", "is the machine overloaded? try again")
    except MienError as error:
        return Finding("fail", what, str(error))
    except Exception as error:  # whatever an installation breaks with is what is looked for here
        return Finding("fail", what, f"{type(error).__name__}: {error}", "make clean, then make talk installs it again")


def python() -> Finding:
    version = platform.python_version()
    if sys.version_info < OLDEST_PYTHON:
        return Finding("fail", "python", version, "install Python 3.11 or newer")
    return Finding("ok", "python", f"{version} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores")


def packages() -> Finding:
    """Everything the project's metadata asks for, in the versions it asks for."""
    pins = {
        name: requirement.partition("==")[2].partition(";")[0].strip()
        for requirement in metadata.distribution("mien").requires or []
        if "extra ==" not in requirement
        for name in [requirement.partition("==")[0].strip()]
    }
    wrong = []
    for name, wanted in sorted(pins.items()):
        try:
            there = metadata.version(name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing")
        else:
            if wanted and there != wanted:
                wrong.append(f"{name} is {there}, not {wanted}")
    if wrong:
        return Finding("fail", "packages", "; ".join(wrong), "make talk installs it; so does pip install -e .")
    return Finding("ok", "packages", f"all {len(requirements_of('mien'))} are there in the right versions")


async def voice(persona: Persona) -> Finding:
    """espeak-ng speaks, in its child process: the voice that needs nothing."""
    espeak = Espeak()
    began = time.perf_counter()
    pcm = b""
    try:
        async for chunk in espeak.speak("Hello, I am here.", persona.voice.get("espeak", "en-us")):
            pcm += chunk.pcm
    finally:
        await espeak.aclose()
    spoken_s = len(pcm) / 2 / RATE_HZ
    if spoken_s < 0.3 or not np.frombuffer(pcm, np.int16).any():
        return Finding("fail", "voice", f"espeak-ng gave {spoken_s:.1f} s of sound for a sentence")
    return Finding("ok", "voice", f"espeak-ng spoke {spoken_s:.1f} s within {time.perf_counter() - began:.1f} s")


async def face(settings: Settings, persona: Persona) -> Finding:
    """The renderer draws, and how fast."""
    choice = choose_face(settings.avatar, persona)
    renderer = await asyncio.to_thread(choice.make)
    try:
        await renderer.request(Shot(tick=0))
        count = 50
        began = time.perf_counter()
        for tick in range(1, count + 1):
            await renderer.request(Shot(tick=tick, since=tick))
        each_ms = (time.perf_counter() - began) / count * 1000
    finally:
        await renderer.aclose()
    detail = f"{renderer.name}, {renderer.width}x{renderer.height}, {each_ms:.1f} ms a picture ({choice.why})"
    if each_ms > SLOW_PICTURE_MS:
        return Finding("warn", "face", detail, "pictures may come late here: try a smaller one, mien talk --size 256")
    return Finding("ok", "face", detail)


def codecs() -> Finding:
    """What WebRTC and recordings need can be encoded."""
    picture = av.VideoFrame.from_ndarray(np.full((64 * 3 // 2, 64), 128, np.uint8), format="yuv420p")
    sound = av.AudioFrame.from_ndarray(np.zeros((1, TICK_SAMPLES // 2), np.int16), format="s16", layout="mono")
    sound.sample_rate = SAMPLE_RATE_HZ
    wrong = []
    for codec, frame in (("libvpx", picture), ("libx264", picture), ("libopus", sound), ("aac", sound)):
        try:
            encoder = av.CodecContext.create(codec, "w")
            frame.pts = 0
            if isinstance(encoder, av.VideoCodecContext) and isinstance(frame, av.VideoFrame):
                encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate = 64, 64, "yuv420p", Fraction(FPS)
                encoder.time_base = Fraction(1, FPS)
                packets = [*encoder.encode(frame), *encoder.encode(None)]
            elif isinstance(encoder, av.AudioCodecContext) and isinstance(frame, av.AudioFrame):
                encoder.sample_rate, encoder.layout = SAMPLE_RATE_HZ, "mono"
                encoder.format = "fltp" if codec == "aac" else "s16"
                packets = [*encoder.encode(frame), *encoder.encode(None)]
            if not packets:
                wrong.append(f"{codec} encodes nothing")
        except (av.error.FFmpegError, ValueError) as error:
            wrong.append(f"{codec}: {error}")
    if wrong:
        return Finding(
            "fail", "codecs", "; ".join(wrong), "install PyAV from its wheel: pip install --force-reinstall av"
        )
    return Finding("ok", "codecs", "VP8 and Opus for the browser, H.264 and AAC for recordings")


def port(settings: Settings) -> Finding:
    """The server's address can be had."""
    host, number = settings.server.host, settings.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
            probe.listen(1)
        except OSError as error:
            reason = error.strerror or str(error)
            return Finding(
                "warn", "port", f"{host}:{number}: {reason}", f"mien talk --port {number + 1} (or 0: any free one)"
            )
    return Finding("ok", "port", f"{host}:{number} is free")


def microphone(settings: Settings) -> Finding:
    """The browser's rule, which surprises everybody once."""
    server = settings.server
    if server.loopback or server.tls_cert is not None:
        return Finding("ok", "microphone", "the browser asks for it on the page; typing works without")
    return Finding(
        "warn",
        "microphone",
        f"browsers give none to http://{server.host}",
        "serve https with --tls-cert and --tls-key, or use it on this machine; typing works anyway",
    )


def network(settings: Settings) -> Finding:
    """What leaves this machine, as it is set."""
    online = []
    if settings.openai.configured:
        where = settings.openai.base_url or "api.openai.com"
        online.append(f"language model {settings.openai.model} at {where}")
    if settings.tts.provider == "edge-tts":
        online.append("voice of edge-tts, at Microsoft")
    if not online:
        return Finding("ok", "network", "none needed: with these settings nothing leaves this machine")
    return Finding("ok", "network", f"needed for: {'; '.join(online)} (not tried here)")
