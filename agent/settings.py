"""Everything that can be set, in one place: the environment and `.env`, read once at the entry point.

In: environment variables (names below, documented in `.env.example`). Out: one frozen `Settings`, whose sections are
handed to the parts that need them. No other file reads the environment.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from avatar.frames import MienError


class SettingsError(MienError):
    """A setting is wrong: its name, its value, and what is accepted."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OpenAISettings(_Section):
    """Any endpoint that speaks OpenAI's protocol; configured when a key or a base URL is set."""

    api_key: SecretStr | None = None
    base_url: str | None = None
    model: str = "gpt-4.1-mini"
    stt_model: str = "gpt-4o-mini-transcribe"
    tts_model: str = "gpt-4o-mini-tts"

    @property
    def configured(self) -> bool:
        return self.api_key is not None or self.base_url is not None

    @field_validator("base_url")
    @classmethod
    def _http(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return url


class TTSSettings(_Section):
    provider: Literal["auto", "espeak", "edge-tts", "openai"] = "auto"
    voice: str | None = None
    language: str | None = None


class STTSettings(_Section):
    provider: Literal["auto", "openai", "faster-whisper", "pocketsphinx", "none"] = "auto"
    whisper_model: str = "base"


class TurnSettings(_Section):
    """When the user's turn is over, and when their voice stops the avatar's."""

    detection: Literal["auto", "vad", "v1-mini"] = "auto"
    min_endpointing_s: Annotated[float, Field(ge=0.1, le=5)] = 0.4
    max_endpointing_s: Annotated[float, Field(ge=0.1, le=10)] = 2.0
    min_interruption_s: Annotated[float, Field(ge=0.05, le=5)] = 0.25

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_endpointing_s < self.min_endpointing_s:
            raise ValueError("MIEN_MAX_ENDPOINTING_S must be at least MIEN_MIN_ENDPOINTING_S")
        return self


class AvatarSettings(_Section):
    backend: Literal["auto", "puppet", "musetalk", "static"] = "auto"
    size_px: Annotated[int, Field(ge=256, le=1024, multiple_of=16)] = 512
    persona: str = "mien"
    """A shipped persona's name or the path of a persona folder; after a colon one of its looks."""
    portrait: Path | None = None
    """A folder that `mien prepare` made; it takes the place of the persona's own look."""
    weights: Path = Path.home() / ".cache" / "mien" / "musetalk"
    """Where MuseTalk's weights are."""

    @field_validator("weights")
    @classmethod
    def _home(cls, folder: Path) -> Path:
        return folder.expanduser()


class DownloadSettings(_Section):
    """Where `mien download` fetches weights."""

    hub: Annotated[str, Field(pattern=r"^https?://[^/\s]+(/\S*)?$")] = "https://huggingface.co"

    @field_validator("hub")
    @classmethod
    def _without_slash(cls, hub: str) -> str:
        return hub.rstrip("/")


class ServerSettings(_Section):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    token: SecretStr | None = None
    allowed_origins: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    max_sessions: Annotated[int, Field(ge=1, le=1000)] = 4
    ice_servers: tuple[dict[str, Any], ...] = ()
    ice_addresses: tuple[str, ...] = ()
    """Where media is offered; all addresses of this machine and loopback when empty."""

    @property
    def loopback(self) -> bool:
        return self.host in ("127.0.0.1", "::1", "localhost")

    @model_validator(mode="after")
    def _safe_beyond_loopback(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key (MIEN_TLS_CERT, MIEN_TLS_KEY) belong together: set both")
        if not self.loopback and self.token is None:
            raise ValueError(
                f"serving on {self.host} is reachable by others: set MIEN_TOKEN to a long random value first "
                "(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')"
            )
        return self


class LiveKitSettings(_Section):
    """The LiveKit server, and the worker that serves its rooms."""

    url: str | None = None
    public_url: str | None = None
    """Where pages reach the server, if elsewhere than this process does."""
    api_key: SecretStr | None = None
    api_secret: SecretStr | None = None
    agent_name: Annotated[str, Field(min_length=1, max_length=100)] = "mien"
    avatar_name: Annotated[str, Field(min_length=1, max_length=100)] = "mien-avatar"
    portraits: Path | None = None
    """The folder of those portraits that other people's agents may ask for."""
    host: str = "127.0.0.1"
    """Where the worker's health is served; on `port`, any free one in `dev`."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8081
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    avatar_port: Annotated[int, Field(ge=0, le=65535)] = 8082
    """The same of `mien avatar`, so that both kinds of worker run on one machine."""
    avatar_metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    admission: Literal["measured", "stated"] = "measured"
    drain_s: Annotated[float, Field(ge=0, le=86_400)] = 30.0

    @field_validator("url", "public_url")
    @classmethod
    def _websocket(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("ws://", "wss://", "http://", "https://")):
            raise ValueError("must start with ws:// or wss://")
        return url

    def credentials(self) -> tuple[str, str, str]:
        """The server's URL, the API key and its secret.

        Raises:
            SettingsError: one of them is not set.
        """
        if self.url is None or self.api_key is None or self.api_secret is None:
            given = {"LIVEKIT_URL": self.url, "LIVEKIT_API_KEY": self.api_key, "LIVEKIT_API_SECRET": self.api_secret}
            missing = " and ".join(name for name, value in given.items() if value is None)
            raise SettingsError(f"LiveKit needs {missing}: set it to what your LiveKit server has (docs/livekit.md)")
        return self.url, self.api_key.get_secret_value(), self.api_secret.get_secret_value()


class StreamSettings(_Section):
    """`mien stream`: where to, and how it looks."""

    urls: tuple[SecretStr, ...] = ()
    resolution: Annotated[str, Field(pattern=r"^[1-9][0-9]{2,3}x[1-9][0-9]{2,3}$")] = "1280x720"
    fps: Literal[25, 30] = 25
    bitrate_kbps: Annotated[int, Field(ge=200, le=20_000)] = 2500
    encoder: Literal["auto", "x264", "nvenc"] = "auto"
    idle_clip: Path | None = None
    idle_clip_loop: bool = True
    background: str | None = None
    """#rrggbb, or an image's or a video's path; the avatar's own backdrop when None."""
    captions: bool = False
    label: Annotated[str, Field(max_length=40)] | None = None
    record: Path | None = None
    keep_h: Annotated[float, Field(gt=0, le=24 * 365)] = 72.0
    """How long recordings are kept."""

    @property
    def width(self) -> int:
        return int(self.resolution.partition("x")[0])

    @property
    def height(self) -> int:
        return int(self.resolution.partition("x")[2])

    @field_validator("fps", mode="before")
    @classmethod
    def _number(cls, fps: Any) -> Any:
        return int(fps) if isinstance(fps, str) and fps.isdecimal() else fps

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.width % 2 or self.height % 2:
            raise ValueError(f"RTMP_RESOLUTION={self.resolution}: both sides must be even, for instance 1280x720")
        return self


class BrokerSettings(_Section):
    """The RabbitMQ from which messages come; configured when a URL or a host is set."""

    url: SecretStr | None = None
    """Says all of the others at once, and wins over them."""
    host: str | None = None
    port: Annotated[int, Field(ge=1, le=65535)] = 5672
    user: str = "guest"
    password: SecretStr = SecretStr("guest")
    vhost: str = "/"
    queue: Annotated[str, Field(pattern=r"^[\w.:-]{1,200}$")] = "mien"

    @property
    def configured(self) -> bool:
        return self.url is not None or self.host is not None


class Settings(_Section):
    openai: OpenAISettings = OpenAISettings()
    tts: TTSSettings = TTSSettings()
    stt: STTSettings = STTSettings()
    turn: TurnSettings = TurnSettings()
    avatar: AvatarSettings = AvatarSettings()
    download: DownloadSettings = DownloadSettings()
    server: ServerSettings = ServerSettings()
    livekit: LiveKitSettings = LiveKitSettings()
    stream: StreamSettings = StreamSettings()
    broker: BrokerSettings = BrokerSettings()


VARIABLES: Mapping[str, tuple[str, str]] = {
    "OPENAI_API_KEY": ("openai", "api_key"),
    "OPENAI_BASE_URL": ("openai", "base_url"),
    "OPENAI_MODEL": ("openai", "model"),
    "OPENAI_STT_MODEL": ("openai", "stt_model"),
    "OPENAI_TTS_MODEL": ("openai", "tts_model"),
    "TTS_PROVIDER": ("tts", "provider"),
    "TTS_VOICE": ("tts", "voice"),
    "TTS_LANGUAGE": ("tts", "language"),
    "STT_PROVIDER": ("stt", "provider"),
    "MIEN_WHISPER_MODEL": ("stt", "whisper_model"),
    "MIEN_TURN_DETECTION": ("turn", "detection"),
    "MIEN_MIN_ENDPOINTING_S": ("turn", "min_endpointing_s"),
    "MIEN_MAX_ENDPOINTING_S": ("turn", "max_endpointing_s"),
    "MIEN_MIN_INTERRUPTION_S": ("turn", "min_interruption_s"),
    "AVATAR_BACKEND": ("avatar", "backend"),
    "MIEN_SIZE_PX": ("avatar", "size_px"),
    "MIEN_PERSONA": ("avatar", "persona"),
    "MIEN_PORTRAIT": ("avatar", "portrait"),
    "MIEN_WEIGHTS_DIR": ("avatar", "weights"),
    "MIEN_HUB_URL": ("download", "hub"),
    "MIEN_HOST": ("server", "host"),
    "MIEN_PORT": ("server", "port"),
    "MIEN_TOKEN": ("server", "token"),
    "MIEN_ALLOWED_ORIGINS": ("server", "allowed_origins"),
    "MIEN_TLS_CERT": ("server", "tls_cert"),
    "MIEN_TLS_KEY": ("server", "tls_key"),
    "MIEN_MAX_SESSIONS": ("server", "max_sessions"),
    "MIEN_ICE_SERVERS": ("server", "ice_servers"),
    "MIEN_ICE_ADDRESSES": ("server", "ice_addresses"),
    "LIVEKIT_URL": ("livekit", "url"),
    "LIVEKIT_API_KEY": ("livekit", "api_key"),
    "LIVEKIT_API_SECRET": ("livekit", "api_secret"),
    "MIEN_LIVEKIT_PUBLIC_URL": ("livekit", "public_url"),
    "MIEN_AGENT_NAME": ("livekit", "agent_name"),
    "MIEN_AVATAR_NAME": ("livekit", "avatar_name"),
    "MIEN_PORTRAITS": ("livekit", "portraits"),
    "MIEN_AGENT_HOST": ("livekit", "host"),
    "MIEN_AGENT_PORT": ("livekit", "port"),
    "MIEN_AGENT_METRICS_PORT": ("livekit", "metrics_port"),
    "MIEN_AVATAR_PORT": ("livekit", "avatar_port"),
    "MIEN_AVATAR_METRICS_PORT": ("livekit", "avatar_metrics_port"),
    "MIEN_ADMISSION": ("livekit", "admission"),
    "MIEN_DRAIN_S": ("livekit", "drain_s"),
    "RTMP_URL": ("stream", "urls"),
    "RTMP_RESOLUTION": ("stream", "resolution"),
    "RTMP_FPS": ("stream", "fps"),
    "RTMP_BITRATE": ("stream", "bitrate_kbps"),
    "RTMP_ENCODER": ("stream", "encoder"),
    "STATIC_VIDEO_PATH": ("stream", "idle_clip"),
    "STATIC_VIDEO_LOOP": ("stream", "idle_clip_loop"),
    "MIEN_STREAM_BACKGROUND": ("stream", "background"),
    "MIEN_STREAM_CAPTIONS": ("stream", "captions"),
    "MIEN_STREAM_LABEL": ("stream", "label"),
    "MIEN_STREAM_RECORD": ("stream", "record"),
    "MIEN_STREAM_KEEP_H": ("stream", "keep_h"),
    "RABBITMQ_URL": ("broker", "url"),
    "RABBITMQ_HOST": ("broker", "host"),
    "RABBITMQ_PORT": ("broker", "port"),
    "RABBITMQ_USER": ("broker", "user"),
    "RABBITMQ_PASSWORD": ("broker", "password"),
    "RABBITMQ_VHOST": ("broker", "vhost"),
    "RABBITMQ_QUEUE": ("broker", "queue"),
}
"""Each environment variable and the setting it sets."""


def load_settings(
    environ: Mapping[str, str], *, env_file: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Read settings from ``env_file``, then ``environ``, then ``overrides`` (by variable name), the later ones first.

    Raises:
        SettingsError: an unknown ``MIEN_*`` name, or a value that is not accepted. Secret values are never quoted.
    """
    values: dict[str, Any] = {}
    if env_file is not None and env_file.is_file():
        values |= {name: value for name, value in dotenv_values(env_file).items() if value is not None}
    values |= dict(environ)
    unknown = sorted(name for name in values if name.startswith("MIEN_") and name not in VARIABLES)
    if unknown:
        near = difflib.get_close_matches(unknown[0], VARIABLES, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known names: {', '.join(sorted(VARIABLES))}"
        raise SettingsError(f"unknown setting {unknown[0]}: {hint}")
    sections: dict[str, dict[str, Any]] = {}
    for name, (section, field) in VARIABLES.items():
        value = values.get(name)
        if value not in (None, ""):
            sections.setdefault(section, {})[field] = _parsed(name, field, value)
    for name, value in (overrides or {}).items():
        if value is not None:
            section, field = VARIABLES[name]
            sections.setdefault(section, {})[field] = value
    try:
        return Settings.model_validate(sections)
    except ValidationError as error:
        raise SettingsError(_explained(error)) from None


def _parsed(name: str, field: str, value: Any) -> Any:
    """Turn the text of the list-valued variables into lists; the rest is pydantic's work."""
    if field in ("allowed_origins", "ice_addresses", "urls"):
        return [item.strip() for item in str(value).split(",") if item.strip()]
    if field == "ice_servers":
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise SettingsError(
                f'{name} is not JSON ({error}): write a list such as [{{"urls": "stun:stun.example.org:3478"}}]'
            ) from None
    return value


def _explained(error: ValidationError) -> str:
    """One line a problem, with the variable's name; no secret is quoted."""
    by_place = {place: name for name, place in VARIABLES.items()}
    lines = []
    for problem in error.errors(include_url=False):
        place = tuple(str(part) for part in problem["loc"][:2])
        name = by_place.get((place[0], place[1])) if len(place) == 2 else None
        message = problem["msg"].removeprefix("Value error, ")
        if name is None:
            lines.append(message)
        elif name.endswith(("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")) or name in (
            "MIEN_ICE_SERVERS",
            "RABBITMQ_URL",
            "RTMP_URL",
        ):  # those hold secrets
            lines.append(f"{name}: {message}")
        else:
            lines.append(f"{name}={problem['input']!r}: {message}")
    return "; ".join(lines)
