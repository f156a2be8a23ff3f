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

from agent import commands

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
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    talk = subparsers.add_parser("talk", parents=[common], help="talk to the avatar in the browser")
    talk.add_argument("--host", help="address to serve on (127.0.0.1; beyond this machine MIEN_TOKEN must be set)")
    talk.add_argument("--port", type=int, help="port to serve on (8080; 0: any free one)")
    talk.add_argument("--no-open", action="store_true", help="do not open the browser")
    talk.add_argument("--tls-cert", type=Path, metavar="FILE", help="serve https with this certificate chain (PEM)")
    talk.add_argument("--tls-key", type=Path, metavar="FILE", help="and its key (PEM)")
    talk.add_argument("--rtmp", metavar="URL", help="put the conversation on air there too, as `mien stream` does")
    talk.set_defaults(run=commands.talk, log_level=logging.INFO)

    agent = subparsers.add_parser("agent", parents=[common], help="talk in the rooms of a LiveKit server")
    agent.add_argument("mode", choices=("start", "dev"), help="start: end in peace when told to; dev: at once")
    agent.set_defaults(run=commands.agent, log_level=logging.INFO)

    avatar = subparsers.add_parser("avatar", parents=[common], help="be the face of other people's LiveKit agents")
    avatar.add_argument("mode", choices=("start", "dev"), help="start: end in peace when told to; dev: at once")
    avatar.set_defaults(run=commands.avatar, log_level=logging.INFO)

    page = subparsers.add_parser("page", parents=[common], help="serve the page, and its tokens, for LiveKit rooms")
    page.add_argument("--host", help="address to serve on (127.0.0.1; beyond this machine MIEN_TOKEN must be set)")
    page.add_argument("--port", type=int, help="port to serve on (8080; 0: any free one)")
    page.set_defaults(run=commands.page, log_level=logging.INFO)
    watch = subparsers.add_parser("watch", parents=[common], help="call the avatar back where its LiveKit worker died")
    watch.set_defaults(run=commands.watch, log_level=logging.INFO)

    stream = subparsers.add_parser(
        "stream", parents=[common], help="be on air at an RTMP server, and say what comes in"
    )
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
    stream.set_defaults(run=commands.stream, log_level=logging.INFO)

    egress = subparsers.add_parser("egress", help="have a LiveKit server put a room of its on air")
    actions = egress.add_subparsers(title="actions", required=True, metavar="ACTION", dest="action")
    egress.set_defaults(run=commands.egress, log_level=logging.WARNING)
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

    render = subparsers.add_parser("render", parents=[common], help="make a video of the avatar speaking a recording")
    render.add_argument("speech", type=Path, metavar="SPEECH", help="what it says: wav, flac, mp3, ogg, m4a, ...")
    render.set_defaults(run=commands.render, log_level=logging.WARNING)

    say = subparsers.add_parser("say", parents=[common], help="make a video of the avatar saying a text")
    say.add_argument("text", metavar="TEXT", help="what it says; - reads standard input")
    say.add_argument("--voice", help="the TTS provider's voice, as TTS_VOICE")
    say.add_argument(
        "--priority", type=int, choices=range(10), metavar="0-9", help="with --to: higher ones go first (0)"
    )
    say.set_defaults(run=commands.say, log_level=logging.WARNING)

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

    prepare = subparsers.add_parser("prepare", parents=[common], help="make a face that speaks of a picture or video")
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
    prepare.set_defaults(run=commands.prepare, log_level=logging.WARNING)

    dub = subparsers.add_parser("dub", parents=[common], help="give the face in a video other lips (a GPU, MuseTalk)")
    dub.add_argument("video", type=Path, metavar="VIDEO", help="a video of one face; a short one runs forth and back")
    dub.add_argument("speech", type=Path, metavar="SPEECH", help="what it says: wav, flac, mp3, ogg, m4a, ...")
    dub.add_argument("-o", "--out", type=Path, required=True, metavar="OUT.mp4", help="the video to write")
    dub.add_argument("--consent", metavar="TEXT", help='"who agreed, when"; asked for where it is not given')
    dub.add_argument("--force", action="store_true", help="where there are several faces: the largest")
    dub.add_argument("--decoder", choices=("exact", "tiny"), default="exact", help="tiny: faster and softer (exact)")
    dub.add_argument("--device", choices=("cuda", "cpu"), help="cpu: without a GPU, seconds for each picture")
    dub.set_defaults(run=commands.dub, log_level=logging.WARNING)

    download = subparsers.add_parser("download", parents=[common], help="fetch the weights of MuseTalk, the GPU's face")
    download.add_argument("what", choices=("musetalk",), help="3.9 GB, into MIEN_WEIGHTS_DIR; goes on where it stopped")
    download.add_argument("--accept-licenses", action="store_true", help="accept the licences, which it shows first")
    download.set_defaults(run=commands.download, log_level=logging.WARNING)

    lips = subparsers.add_parser("lips", parents=[common], help="judge how well the lips of a video follow its speech")
    lips.add_argument("video", type=Path, metavar="VIDEO", help="any video of one person or avatar who speaks")
    lips.add_argument(
        "--phones", type=Path, metavar="FILE", help="phone times: lines of `END_S NAME`, or flite -psdur's"
    )
    lips.add_argument("--offset-ms", type=float, default=0.0, metavar="MS", help="when in the video they begin (0)")
    lips.add_argument("--text", help="what is said, in English (without it and --phones: what is recognized)")
    lips.add_argument("-o", "--out", type=Path, metavar="OUT.json", help="write the numbers and every aperture")
    lips.set_defaults(run=commands.lips, log_level=logging.WARNING)

    doctor = subparsers.add_parser("doctor", parents=[common], help="check that everything needed is there and works")
    doctor.set_defaults(run=commands.doctor, log_level=logging.ERROR)

    licenses = subparsers.add_parser("licenses", parents=[common], help="the licence of every part and every model")
    licenses.set_defaults(run=commands.licenses, log_level=logging.WARNING)
    return parser


class _Version(argparse.Action):
    """`--version`, which looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *unused: object, **also_unused: object) -> None:
        print(f"mien {commands.version()}")
        parser.exit()


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


if __name__ == "__main__":
    sys.exit(main())
