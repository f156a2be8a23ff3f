"""The command line, `mien`: arguments in, one of the commands run, an exit status out.

0: done. 1: `doctor` found something that must be mended, or `lips` that a bound is missed. 2: it could not be done,
and standard error says why in one line. 130: Ctrl-C. Only what argparse needs is imported here, so that `mien --help`
answers at once.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.settings import Settings

RENDERERS = ("auto", "puppet", "musetalk", "static")
OURS = ("agent", "avatar", "rooms")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `mien` with these arguments (those of the process by default); returns the exit status."""
    arguments = _parser().parse_args(argv)
    _log_to_stderr(arguments.verbose, arguments.log_level)
    from avatar.frames import MienError

    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except MienError as error:
        print(f"mien: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `mien licenses | head`: the reader has seen enough. Nothing may be flushed into the pipe at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--verbose", "-v", action="store_true", help="log everything that happens, to standard error")

    parser = argparse.ArgumentParser(
        prog="mien",
        description="A real-time avatar that people talk to.",
        epilog="Settings come from the environment and from .env in the current folder (.env.example documents all); "
        "options given here win. `mien COMMAND --help` says more.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    talk = commands.add_parser("talk", parents=[common], help="talk to the avatar in the browser")
    talk.add_argument("--host", help="address to serve on (127.0.0.1; beyond this machine MIEN_TOKEN must be set)")
    talk.add_argument("--port", type=int, help="port to serve on (8080; 0: any free one)")
    talk.add_argument("--no-open", action="store_true", help="do not open the browser")
    talk.add_argument("--tls-cert", type=Path, metavar="FILE", help="serve https with this certificate chain (PEM)")
    talk.add_argument("--tls-key", type=Path, metavar="FILE", help="and its key (PEM)")
    talk.add_argument("--rtmp", metavar="URL", help="put the conversation on air there too, as `mien stream` does")
    talk.set_defaults(run=_talk, log_level=logging.INFO)

    agent = commands.add_parser("agent", parents=[common], help="talk in the rooms of a LiveKit server")
    agent.add_argument("mode", choices=("start", "dev"), help="start: end in peace when told to; dev: at once")
    agent.set_defaults(run=_agent, log_level=logging.INFO)

    avatar = commands.add_parser("avatar", parents=[common], help="be the face of other people's LiveKit agents")
    avatar.add_argument("mode", choices=("start", "dev"), help="start: end in peace when told to; dev: at once")
    avatar.set_defaults(run=_avatar, log_level=logging.INFO)

    page = commands.add_parser("page", parents=[common], help="serve the page, and its tokens, for LiveKit rooms")
    page.add_argument("--host", help="address to serve on (127.0.0.1; beyond this machine MIEN_TOKEN must be set)")
    page.add_argument("--port", type=int, help="port to serve on (8080; 0: any free one)")
    page.set_defaults(run=_page, log_level=logging.INFO)
    watch = commands.add_parser("watch", parents=[common], help="call the avatar back where its LiveKit worker died")
    watch.set_defaults(run=_watch, log_level=logging.INFO)

    stream = commands.add_parser("stream", parents=[common], help="be on air at an RTMP server, and say what comes in")
    stream.add_argument(
        "--rtmp", metavar="URL", help="where to: rtmp[s]://host/app/key; several with commas between (RTMP_URL)"
    )
    stream.add_argument(
        "--amqp", metavar="URL", help="a RabbitMQ that tells it what to say (RABBITMQ_URL, RABBITMQ_HOST)"
    )
    stream.add_argument("--record", type=Path, metavar="FOLDER", help="keep what goes on air there, an hour a file")
    stream.add_argument("--background", metavar="WHAT", help="#rrggbb, or an image or video behind the avatar")
    stream.add_argument("--captions", action="store_const", const=True, help="show what is said as text")
    stream.add_argument("--label", metavar="TEXT", help="letters in the corner that say what this is, such as AI")
    stream.add_argument("--host", help="address to serve health, metrics and the page on (127.0.0.1)")
    stream.add_argument("--port", type=int, help="port for them (8080; 0: any free one)")
    stream.set_defaults(run=_stream, log_level=logging.INFO)

    egress = commands.add_parser("egress", help="have a LiveKit server put a room of its on air")
    actions = egress.add_subparsers(title="actions", required=True, metavar="ACTION", dest="action")
    egress.set_defaults(run=_egress, log_level=logging.WARNING)
    start = actions.add_parser("start", parents=[common], help="put the avatar, or all of a room, on air")
    start.add_argument("--room", required=True, metavar="ROOM", help="the LiveKit room's name")
    start.add_argument(
        "--rtmp", metavar="URL", help="where to: rtmp[s]://host/app/key; several with commas between (RTMP_URL)"
    )
    whom = start.add_mutually_exclusive_group()
    whom.add_argument("--participant", metavar="IDENTITY", help="whom (the avatar, found by itself where there is one)")
    whom.add_argument(
        "--composite", action="store_true", help="everybody, laid out; takes a Chrome at the egress service"
    )
    running = actions.add_parser("list", parents=[common], help="what is on air, where to, since when")
    running.add_argument("--json", action="store_true", help="as JSON")
    running.add_argument("--all", action="store_true", help="also what has ended, with its error")
    stop = actions.add_parser("stop", parents=[common], help="end one")
    stop.add_argument("id", metavar="ID", help="as `mien egress start` and `list` have it")

    render = commands.add_parser("render", parents=[common], help="make a video of the avatar speaking a recording")
    render.add_argument("speech", type=Path, metavar="SPEECH", help="what it says: wav, flac, mp3, ogg, m4a, ...")
    render.set_defaults(run=_render, log_level=logging.WARNING)

    say = commands.add_parser("say", parents=[common], help="make a video of the avatar saying a text")
    say.add_argument("text", metavar="TEXT", help="what it says; - reads standard input")
    say.add_argument("--voice", help="the TTS provider's voice, as TTS_VOICE")
    say.add_argument(
        "--priority", type=int, choices=range(10), metavar="0-9", help="with --to: higher ones go first (0)"
    )
    say.set_defaults(run=_say, log_level=logging.WARNING)

    render.add_argument("-o", "--out", type=Path, required=True, metavar="OUT.mp4", help="the video to write")
    where = say.add_mutually_exclusive_group(required=True)
    where.add_argument("-o", "--out", type=Path, metavar="OUT.mp4", help="the video to write")
    where.add_argument("--to", metavar="URL", help="no video: have the stream that serves this address say it")
    for command in (talk, stream, agent, avatar, page, render, say):
        command.add_argument(
            "--persona", help="who it is: a shipped persona's name or a folder, and a look (mien, mien:evening)"
        )
        command.add_argument("--renderer", choices=RENDERERS, help="what draws the face (auto)")
        command.add_argument(
            "--portrait",
            type=Path,
            metavar="FOLDER",
            help="a face that `mien prepare` made, instead of the persona's own",
        )
        command.add_argument("--size", type=int, metavar="PX", help="side of the picture, 256 to 1024 (512)")

    prepare = commands.add_parser("prepare", parents=[common], help="make a face that speaks of a picture or video")
    prepare.add_argument(
        "source", type=Path, metavar="SOURCE", help="PNG, JPEG or video of one face that looks at the camera"
    )
    prepare.add_argument(
        "--for", dest="use", choices=("photo", "musetalk"), help="musetalk: for the GPU's face too (always for a video)"
    )
    prepare.add_argument("--size", type=int, metavar="PX", help="with musetalk: side of its pictures (MIEN_SIZE_PX)")
    prepare.add_argument("-o", "--out", type=Path, required=True, metavar="PORTRAIT", help="the folder to write")
    prepare.add_argument("--consent", metavar="TEXT", help='"who agreed, when"; asked for where it is not given')
    prepare.add_argument("--force", action="store_true", help="in spite of what was found; replaces a portrait")
    prepare.set_defaults(run=_prepare, log_level=logging.WARNING)

    dub = commands.add_parser("dub", parents=[common], help="give the face in a video other lips (a GPU, MuseTalk)")
    dub.add_argument("video", type=Path, metavar="VIDEO", help="a video of one face; a short one runs forth and back")
    dub.add_argument("speech", type=Path, metavar="SPEECH", help="what it says: wav, flac, mp3, ogg, m4a, ...")
    dub.add_argument("-o", "--out", type=Path, required=True, metavar="OUT.mp4", help="the video to write")
    dub.add_argument("--consent", metavar="TEXT", help='"who agreed, when"; asked for where it is not given')
    dub.add_argument("--force", action="store_true", help="where there are several faces: the largest")
    dub.add_argument("--decoder", choices=("exact", "tiny"), default="exact", help="tiny: faster and softer (exact)")
    dub.add_argument("--device", choices=("cuda", "cpu"), help="cpu: without a GPU, seconds for each picture")
    dub.set_defaults(run=_dub, log_level=logging.WARNING)

    download = commands.add_parser("download", parents=[common], help="fetch the weights of MuseTalk, the GPU's face")
    download.add_argument("what", choices=("musetalk",), help="3.9 GB, into MIEN_WEIGHTS_DIR; goes on where it stopped")
    download.add_argument("--accept-licenses", action="store_true", help="accept the licences, which it shows first")
    download.set_defaults(run=_download, log_level=logging.WARNING)

    lips = commands.add_parser("lips", parents=[common], help="judge how well the lips of a video follow its speech")
    lips.add_argument("video", type=Path, metavar="VIDEO", help="any video of one person or avatar who speaks")
    lips.add_argument(
        "--phones", type=Path, metavar="FILE", help="phone times: lines of `END_S NAME`, or flite -psdur's"
    )
    lips.add_argument("--offset-ms", type=float, default=0.0, metavar="MS", help="when in the video they begin (0)")
    lips.add_argument("--text", help="what is said, in English (without it and --phones: what is recognized)")
    lips.add_argument("-o", "--out", type=Path, metavar="OUT.json", help="write the numbers and every aperture")
    lips.set_defaults(run=_lips, log_level=logging.WARNING)

    doctor = commands.add_parser("doctor", parents=[common], help="check that everything needed is there and works")
    doctor.set_defaults(run=_doctor, log_level=logging.ERROR)

    licenses = commands.add_parser("licenses", parents=[common], help="the licence of every part and every model")
    licenses.set_defaults(run=_licenses, log_level=logging.WARNING)
    return parser


class _Version(argparse.Action):
    """`--version`, which looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *unused: object, **also_unused: object) -> None:
        print(f"mien {_version()}")
        parser.exit()


def _version() -> str:
    from importlib.metadata import version

    return version("mien")


def _log_to_stderr(verbose: bool, level: int) -> None:
    """Everybody's warnings, and our own messages from ``level`` on; if verbose, all of ours and all messages."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    for name in OURS:
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else level)


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


def _talk(arguments: argparse.Namespace) -> int:
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

    kind = Conversation
    if arguments.rtmp is not None:  # RTMP_URL alone is for `mien stream`: nobody's conversation goes on air unasked
        from agent.broadcast import Broadcast, streamed

        kind = streamed(Broadcast(settings.stream, persona.name, face.backend))
    run(settings, open_browser=not arguments.no_open, still=still, conversation=kind)


def _stream(arguments: argparse.Namespace) -> int:
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


def _agent(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments, {})
    from agent.worker import run

    run(settings, dev=arguments.mode == "dev")


def _avatar(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments, {})
    from agent.avatar_worker import run

    run(settings, dev=arguments.mode == "dev")


def _page(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments, {"MIEN_HOST": arguments.host, "MIEN_PORT": arguments.port})
    from agent.page import run

    run(settings)
    return 0


def _watch(_: argparse.Namespace) -> int:
    from agent.settings import load_settings
    from agent.watch import run

    run(load_settings(os.environ, env_file=Path(".env")))
    return 0


def _egress(arguments: argparse.Namespace) -> int:
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


def _render(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments, {})
    import asyncio

    from agent.offline import render_recording

    asyncio.run(render_recording(arguments.speech, arguments.out, settings, version=_version()))
    return 0


def _say(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments, {"TTS_VOICE": arguments.voice})
    text = sys.stdin.read() if arguments.text == "-" else arguments.text
    if arguments.to is not None:
        from agent.inbox.say import say

        token = settings.server.token.get_secret_value() if settings.server.token is not None else None
        print(say(arguments.to, token, data=text, voice=arguments.voice, priority=arguments.priority, session_id="say"))
        return 0
    import asyncio

    from agent.offline import render_text

    asyncio.run(render_text(text, arguments.out, settings, version=_version()))
    return 0


def _prepare(arguments: argparse.Namespace) -> int:
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
    made_with = f"mien {_version()}"
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


def _dub(arguments: argparse.Namespace) -> int:
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
        version=_version(),
        asking=Asking(_tell, _ask if sys.stdin.isatty() else None),
        bar=bar,
    )
    print(f"{arguments.out}: as long as {arguments.speech}")
    return 0


def _download(arguments: argparse.Namespace) -> int:
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


def _lips(arguments: argparse.Namespace) -> int:
    from agent.lips.command import judge

    table, passed = judge(arguments.video, arguments.phones, arguments.text, arguments.offset_ms, arguments.out)
    print(table)
    return 0 if passed else 1


def _doctor(_: argparse.Namespace) -> int:
    from agent.doctor import examine

    status: int = examine(os.environ, env_file=Path(".env"))
    return status


def _licenses(_: argparse.Namespace) -> int:
    from agent.licenses import report

    print(report(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
