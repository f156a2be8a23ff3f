"""What each command of `mien` does: its parsed arguments in, an exit status out.

Everything a command needs is imported inside it, so that one command does not wait for what another one loads.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.conversation import Conversation
    from agent.settings import Settings


def version() -> str:
    from importlib.metadata import version

    return version("mien")


def _settings(arguments: argparse.Namespace, overrides: dict[str, Any]) -> Settings:
    """The settings of the environment and `.env`, with what the command line says on top."""
    from agent.settings import load_settings

    overrides |= {
        "MIEN_PERSONA": arguments.persona,
        "MIEN_PORTRAIT": arguments.portrait,
        "AVATAR_BACKEND": arguments.renderer,
        "MIEN_SIZE_PX": arguments.size,
    }
    return load_settings(os.environ, env_file=Path(".env"), overrides=overrides)


def _addresses(given: str | None) -> list[str] | None:
    return None if given is None else [part.strip() for part in given.split(",") if part.strip()]


def talk(arguments: argparse.Namespace) -> int:
    settings = _settings(
        arguments,
        {
            "MIEN_HOST": arguments.host,
            "MIEN_PORT": arguments.port,
            "MIEN_TLS_CERT": arguments.tls_cert,
            "MIEN_TLS_KEY": arguments.tls_key,
            "RTMP_URL": _addresses(arguments.rtmp),
        },
    )
    from agent.face import choose_face, paint_ahead
    from agent.persona import load_persona

    # The face is painted while everything else is imported: each takes about two seconds.
    persona = load_persona(settings.avatar.persona)
    face = choose_face(settings.avatar, persona)
    still = paint_ahead(face)
    from agent.conversation import Conversation
    from agent.talk import run

    kind = _on_air(settings, persona.name, face.backend) if arguments.rtmp is not None else Conversation
    run(settings, open_browser=not arguments.no_open, still=still, conversation=kind)


def _on_air(settings: Settings, persona: str, renderer: str) -> type[Conversation]:
    """The kind of conversation that is streamed.

    ``RTMP_URL`` alone, without ``--rtmp``, is for `mien stream`: nobody's conversation goes on air unasked.
    """
    from agent.broadcast import Broadcast, streamed

    return streamed(Broadcast(settings.stream, persona, renderer))


def stream(arguments: argparse.Namespace) -> int:
    settings = _settings(
        arguments,
        {
            "RTMP_URL": _addresses(arguments.rtmp),
            "RABBITMQ_URL": arguments.amqp,
            "MIEN_STREAM_RECORD": arguments.record,
            "MIEN_STREAM_BACKGROUND": arguments.background,
            "MIEN_STREAM_CAPTIONS": arguments.captions,
            "MIEN_STREAM_LABEL": arguments.label,
            "MIEN_HOST": arguments.host,
            "MIEN_PORT": arguments.port,
        },
    )
    from agent.stream_process import run

    run(settings)


def agent(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments, {"RTMP_URL": _addresses(arguments.rtmp)})
    from agent.conversation import Conversation
    from agent.worker import run

    kind = Conversation
    if arguments.rtmp is not None:
        from agent.face import choose_face
        from agent.persona import load_persona

        persona = load_persona(settings.avatar.persona)
        kind = _on_air(settings, persona.name, choose_face(settings.avatar, persona).backend)
    run(settings, dev=arguments.mode == "dev", conversation=kind)


def avatar(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments, {})
    from agent.avatar_worker import run

    run(settings, dev=arguments.mode == "dev")


def page(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments, {"MIEN_HOST": arguments.host, "MIEN_PORT": arguments.port})
    from agent.page import run

    run(settings)
    return 0


def watch(_: argparse.Namespace) -> int:
    from agent.settings import load_settings
    from agent.watch import run

    run(load_settings(os.environ, env_file=Path(".env")))
    return 0


def egress(arguments: argparse.Namespace) -> int:
    import asyncio
    import json

    from agent.egress import Egresses
    from agent.settings import load_settings
    from rooms.rtmp_address import Address

    overrides = {"RTMP_URL": _addresses(arguments.rtmp)} if arguments.action == "start" else {}
    settings = load_settings(os.environ, env_file=Path(".env"), overrides=overrides)

    async def ask() -> str:
        async with Egresses(settings.livekit) as egresses:
            if arguments.action == "stop":
                return str(await egresses.stop(arguments.id))
            if arguments.action == "list":
                found = await egresses.running(ended=arguments.all)
                if arguments.json:
                    return json.dumps([one.as_json() for one in found], indent=2)
                return "\n".join(map(str, found)) or "nothing is on air by egress"
            to = [Address.parse(url.get_secret_value()) for url in settings.stream.urls]
            who: str | None = arguments.participant
            composite: bool = arguments.composite
            return str(await egresses.start(arguments.room, to, settings.stream, participant=who, composite=composite))

    print(asyncio.run(ask()))
    return 0


def render(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments, {})
    import asyncio

    from agent.offline import render_recording

    asyncio.run(render_recording(arguments.speech, arguments.out, settings, version=version()))
    return 0


def say(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments, {"TTS_VOICE": arguments.voice})
    text = sys.stdin.read() if arguments.text == "-" else arguments.text
    if arguments.to is not None:
        from agent.inbox.say import say

        token = settings.server.token.get_secret_value() if settings.server.token is not None else None
        print(say(arguments.to, token, data=text, voice=arguments.voice, priority=arguments.priority, session_id="say"))
        return 0
    import asyncio

    from agent.offline import render_text

    asyncio.run(render_text(text, arguments.out, settings, version=version()))
    return 0


def prepare(arguments: argparse.Namespace) -> int:
    from functools import partial

    from agent.prepare import ForMuseTalk, is_picture, prepare
    from agent.prepare_consent import Asking
    from agent.prepare_musetalk import open_encoder
    from agent.progress import bar
    from agent.settings import load_settings

    source: Path = arguments.source
    out: Path = arguments.out
    musetalk = None
    if arguments.use == "musetalk" or not is_picture(source):
        settings = load_settings(os.environ, env_file=Path(".env"), overrides={"MIEN_SIZE_PX": arguments.size})
        musetalk = ForMuseTalk(settings.avatar.size_px, partial(open_encoder, settings.avatar.weights), bar)
    asking = Asking(_tell, _ask if sys.stdin.isatty() else None)
    made_with = f"mien {version()}"
    prepare(
        source,
        out,
        consent=arguments.consent,
        force=arguments.force,
        made_with=made_with,
        asking=asking,
        musetalk=musetalk,
    )
    print(f"{out}: look at {out / 'preview.png'}, then: mien talk --portrait {out}")
    return 0


def dub(arguments: argparse.Namespace) -> int:
    from functools import partial

    from agent.dub import dub, open_models
    from agent.prepare_consent import Asking
    from agent.progress import bar
    from agent.settings import load_settings

    settings = load_settings(os.environ, env_file=Path(".env"))
    opening = partial(open_models, settings.avatar.weights, device=arguments.device, decoder=arguments.decoder)
    dub(
        arguments.video,
        arguments.speech,
        arguments.out,
        opening,
        consent=arguments.consent,
        force=arguments.force,
        version=version(),
        asking=Asking(_tell, _ask if sys.stdin.isatty() else None),
        bar=bar,
    )
    print(f"{arguments.out}: as long as {arguments.speech}")
    return 0


def download(arguments: argparse.Namespace) -> int:
    from agent.download import Download
    from agent.download_files import MUSETALK
    from agent.progress import Bar
    from agent.settings import load_settings

    settings = load_settings(os.environ, env_file=Path(".env"))
    download = Download(MUSETALK, settings.avatar.weights, settings.download.hub)
    download.accept(_tell, _ask if sys.stdin.isatty() else None, arguments.accept_licenses)
    bar = Bar(str(settings.avatar.weights), download.size, sys.stderr, lambda size: f"{size / 1e9:.2f} GB")
    try:
        download.fetch(lambda done, total: bar.show(done))
    finally:
        bar.close()
    print(f"{settings.avatar.weights}: all weights are there and are the published ones")
    return 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def _ask(question: str) -> str:
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline()


def lips(arguments: argparse.Namespace) -> int:
    from agent.lips.command import judge

    table, passed = judge(arguments.video, arguments.phones, arguments.text, arguments.offset_ms, arguments.out)
    print(table)
    return 0 if passed else 1


def doctor(_: argparse.Namespace) -> int:
    from agent.doctor import examine

    status: int = examine(os.environ, env_file=Path(".env"))
    return status


def licenses(_: argparse.Namespace) -> int:
    from agent.licenses import report

    print(report(), end="")
    return 0
