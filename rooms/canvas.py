"""Composes what is on air: the avatar on a background, an idle clip, a caption, a label. Pictures in, whole pictures
out.

What stands still is drawn once; a picture costs about the copying of the avatar into its place. One thread composes;
the few things that can be told from elsewhere (`caption`, `idle`, `dissolve`) take effect with the next picture.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from avatar.frames import MienError, Picture, Planes
from rooms.canvas_text import Patch, Plane, caption, label, split
from rooms.canvas_video import Clip

DISSOLVE_TICKS = 6
"""0.24 s from one source to another: no jump, and no wait that anybody notices."""
_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_EDGE_PX = 8
_EDGE_FALLOFF = 0.35
"""How much darker the extended backdrop is at the canvas's edge."""


class CanvasError(MienError):
    """What was asked for cannot be shown: which setting, why."""


@dataclass(frozen=True, slots=True)
class Stage:
    """How the canvas looks.

    Args:
        width, height: px, even.
        background: ``#rrggbb``, an image's or a video's path, or None: the avatar's own backdrop goes on to the edges.
        clip: a video shown while nothing is said, in place of the avatar's idle motion.
        clip_loop: whether it begins again; else the avatar's own idle motion follows it.
        label: shown in the corner all the time, for instance ``AI``.
    """

    width: int = 1280
    height: int = 720
    background: str | None = None
    clip: Path | None = None
    clip_loop: bool = True
    label: str | None = None

    def __post_init__(self) -> None:
        if self.width % 2 or self.height % 2 or not (160 <= self.width <= 3840 and 160 <= self.height <= 3840):
            raise CanvasError(f"a canvas is 160 to 3840 px wide and high, even, not {self.width}x{self.height}")


_Yuv = tuple[Plane, Plane, Plane]


class Canvas:
    """Composes into one buffer, which the encoder copies before the next call.

    Raises:
        CanvasError, ClipError: the background or the clip cannot be used.
    """

    def __init__(self, stage: Stage) -> None:
        width, height = self._size = (stage.width, stage.height)
        self._frame = av.VideoFrame(width, height, "yuv420p")
        self._out: _Yuv = _writable(self._frame)
        self._scene: _Yuv = split(np.full((height * 3 // 2, width), 128, np.uint8), width, height)
        """Background and avatar; the background is put there once, where it stands still."""
        self._mixed: _Yuv = split(np.full((height * 3 // 2, width), 128, np.uint8), width, height)
        self._shown: _Yuv = self._scene
        """What was last shown, without text."""
        self._still, self._moving = _background(stage.background, width, height)
        self._clip = Clip(stage.clip, width, height, loop=stage.clip_loop) if stage.clip is not None else None
        self._label = label(stage.label, width, height) if stage.label else None
        self._caption: Patch | None = None
        self._laid_for: tuple[int, int] | None = None
        """The size of the avatar's picture for which the scene's background has been laid."""
        self._lays_again = False
        """A dissolve between avatars is under way, which are laid each with its own backdrop."""
        self._from: _Yuv | None = None
        self._dissolved = 0
        self._begun = self._shows_clip = self._was_idle = False

        self._told = threading.Lock()
        self._caption_text: str | None = None
        self._caption_new = False
        self._idle = True
        self._dissolve_ms: float | None = None

    # -- told from any thread

    def caption(self, text: str | None) -> None:
        """Show this text (its first two lines), or none."""
        with self._told:
            if text != self._caption_text:
                self._caption_text, self._caption_new = text, True

    def idle(self, idle: bool) -> None:
        """Whether nothing is said: the moment for the idle clip."""
        with self._told:
            self._idle = idle

    def dissolve(self, at_ms: float = 0.0) -> None:
        """The pictures from this media time on are another avatar's: blend into them, and draw its own backdrop on."""
        with self._told:
            self._dissolve_ms = at_ms

    # -- the composing thread

    def compose(self, picture: Picture, media_time_ms: float) -> av.VideoFrame:
        """The picture of one tick, valid until the next call."""
        with self._told:
            text, new_caption, self._caption_new = self._caption_text, self._caption_new, False
            idle = self._idle
            dissolve = self._dissolve_ms is not None and media_time_ms >= self._dissolve_ms
            if dissolve:
                self._dissolve_ms = None
        if new_caption:
            self._caption = caption(text, *self._size) if text else None
        clip = self._clip_due(idle, media_time_ms)
        changed = dissolve or (clip is not None) != self._shows_clip
        if changed and self._begun:
            self._from, self._dissolved = _copied(self._shown), 0
        self._lays_again = dissolve or (self._lays_again and self._from is not None)
        if self._lays_again:  # at every picture: the first ones of the new avatar may come late
            self._laid_for = None
        self._shows_clip, self._begun = clip is not None, True
        if clip is not None:
            self._shown = split(clip, *self._size)
        else:
            self._draw(picture, media_time_ms)
            self._shown = self._scene
        self._mix()
        for out, plane in zip(self._out, self._shown, strict=True):
            np.copyto(out, plane)
        for patch in (self._label, self._caption):
            if patch is not None:
                patch.blend(self._out)
        return self._frame

    def again(self) -> av.VideoFrame | None:
        """The picture of the last call once more, if there was one."""
        return self._frame if self._begun else None

    def close(self) -> None:
        for clip in (self._clip, self._moving):
            if clip is not None:
                clip.close()

    def _clip_due(self, idle: bool, now_ms: float) -> Planes | None:
        began, self._was_idle = idle and not self._was_idle, idle
        if self._clip is None or not idle:
            return None
        if began:
            self._clip.restart(now_ms)
        return None if self._clip.ended else self._clip.at(now_ms)

    def _draw(self, picture: Picture, now_ms: float) -> None:
        """The avatar onto the scene, as high as the canvas, in its middle, standing on its lower edge."""
        width, height = self._size
        scale = min(width / picture.width, height / picture.height)
        wide, high = (round(side * scale / 2) * 2 for side in (picture.width, picture.height))
        x, y = (width - wide) // 4 * 2, height - high
        avatar = split(picture.planes, picture.width, picture.height)
        if self._moving is not None:
            for under, plane in zip(self._scene, split(self._moving.at(now_ms), *self._size), strict=True):
                np.copyto(under, plane)
        elif self._laid_for != (picture.width, picture.height):
            self._laid_for = (picture.width, picture.height)
            self._lay(avatar, x, y, wide, high)
        for index, (under, plane) in enumerate(zip(self._scene, avatar, strict=True)):
            part = 2 if index else 1
            place = under[y // part : (y + high) // part, x // part : (x + wide) // part]
            if place.shape == plane.shape:
                np.copyto(place, plane)
            else:
                np.copyto(place, cv2.resize(plane, (wide // part, high // part), interpolation=cv2.INTER_LINEAR))

    def _lay(self, avatar: _Yuv, x: int, y: int, wide: int, high: int) -> None:
        """The background that stands still: the one given, or the avatar's own edges, drawn on and darkening."""
        if self._still is not None:
            for under, plane in zip(self._scene, self._still, strict=True):
                np.copyto(under, plane)
            return
        for index, (under, plane) in enumerate(zip(self._scene, avatar, strict=True)):
            part = 2 if index else 1
            _extend(under, plane, x // part, y // part, wide // part, high // part, neutral=16 if not index else 128)

    def _mix(self) -> None:
        """While one source dissolves into another, what is shown is a mixture."""
        if self._from is None:
            return
        self._dissolved += 1
        share = self._dissolved / (DISSOLVE_TICKS + 1)
        if share >= 1:
            self._from = None
            return
        for before, now, out in zip(self._from, self._shown, self._mixed, strict=True):
            cv2.addWeighted(before, 1 - share, now, share, 0, dst=out)
        self._shown = self._mixed


def _copied(planes: _Yuv) -> _Yuv:
    return planes[0].copy(), planes[1].copy(), planes[2].copy()


def _writable(frame: av.VideoFrame) -> _Yuv:
    """The frame's own memory."""
    views = []
    for plane in frame.planes:
        memory: Any = plane
        lines = np.frombuffer(memory, np.uint8).reshape(plane.height, plane.line_size)
        views.append(lines[:, : plane.width])
    return views[0], views[1], views[2]


def _extend(under: Plane, plane: Plane, x: int, y: int, wide: int, high: int, *, neutral: int) -> None:
    """Continue a picture's outermost columns to the left and right, and its uppermost rows upwards."""
    edges = [plane[:, :_EDGE_PX].mean(axis=1), plane[:, -_EDGE_PX:].mean(axis=1)]
    under[:] = neutral
    columns = [cv2.resize(edge.astype(np.float32)[:, np.newaxis], (1, high))[:, 0] for edge in edges]
    width = under.shape[1]
    for column, start, stop, nearest in ((columns[0], 0, x, x), (columns[1], x + wide, width, x + wide)):
        if stop <= start:
            continue
        distance = np.abs(np.arange(start, stop) + 0.5 - nearest) / max(1, x)
        fall = 1 - _EDGE_FALLOFF * distance**1.5
        under[y : y + high, start:stop] = neutral + (column[:, np.newaxis] - neutral) * fall[np.newaxis, :]
    if y > 0:
        row = np.asarray(under[y : y + 1], np.float32)
        row[:, x : x + wide] = cv2.resize(plane[:_EDGE_PX].mean(axis=0).astype(np.float32)[np.newaxis], (wide, 1))
        fall = 1 - _EDGE_FALLOFF * ((y - np.arange(y) - 0.5) / y) ** 1.5
        under[:y] = neutral + (row - neutral) * fall[:, np.newaxis]


def _background(what: str | None, width: int, height: int) -> tuple[_Yuv | None, Clip | None]:
    """A background that stands still, or one that moves, or neither."""
    if what is None:
        return None, None
    if what.startswith("#"):
        if not _COLOUR.fullmatch(what):
            raise CanvasError(f"a background colour is written #rrggbb, not {what!r}")
        bgr = np.full((height, width, 3), [int(what[at : at + 2], 16) for at in (5, 3, 1)], np.uint8)
        return _planes(bgr, width, height), None
    file = Path(what).expanduser()
    if not file.is_file():
        raise CanvasError(f"the background {what} is no file: give #rrggbb, an image or a video")
    if file.suffix.lower() not in _IMAGES:
        return None, Clip(file, width, height, loop=True)
    image = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise CanvasError(f"the background {what} cannot be read as an image: save it again as PNG or JPEG")
    scale = max(width / image.shape[1], height / image.shape[0])
    wide, high = (max(side, round(of * scale)) for side, of in ((width, image.shape[1]), (height, image.shape[0])))
    scaled = cv2.resize(image, (wide, high), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    left, top = (wide - width) // 2, (high - height) // 2
    return _planes(np.asarray(scaled[top : top + height, left : left + width], np.uint8), width, height), None


def _planes(bgr: Plane, width: int, height: int) -> _Yuv:
    return split(np.asarray(cv2.cvtColor(np.ascontiguousarray(bgr), cv2.COLOR_BGR2YUV_I420), np.uint8), width, height)
