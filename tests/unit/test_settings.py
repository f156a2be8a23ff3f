"""Settings: where they come from, what is refused and how, and that `.env.example` tells the truth."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from agent.settings import VARIABLES, Settings, SettingsError, load_settings

pytestmark = pytest.mark.unit

EXAMPLE = Path(__file__).parents[2] / ".env.example"


def test_without_anything_everything_has_its_default() -> None:
    assert load_settings({}) == Settings()
    settings = load_settings({"PATH": "/bin", "HOME": "/root"})
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8080)
    assert not settings.openai.configured


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text('MIEN_PORT=1001\nMIEN_HOST="127.0.0.1"\nTTS_PROVIDER=espeak\nMIEN_PERSONA=from-file\n')
    environ = {"MIEN_PORT": "1002", "MIEN_PERSONA": "from-environment"}
    settings = load_settings(environ, env_file=file, overrides={"MIEN_PORT": 1003, "MIEN_PERSONA": None})
    assert settings.server.port == 1003
    assert settings.avatar.persona == "from-environment"
    assert settings.tts.provider == "espeak"


def test_a_missing_file_and_empty_values_count_as_not_set(tmp_path: Path) -> None:
    environ = {"OPENAI_API_KEY": "", "MIEN_PORT": "", "TTS_VOICE": ""}
    assert load_settings(environ, env_file=tmp_path / "none") == Settings()


def test_every_variable_reaches_its_setting() -> None:
    environ = {
        "OPENAI_API_KEY": "sk-1",
        "OPENAI_BASE_URL": "http://127.0.0.1:11434/v1",
        "OPENAI_MODEL": "m",
        "OPENAI_STT_MODEL": "s",
        "OPENAI_TTS_MODEL": "t",
        "TTS_PROVIDER": "edge-tts",
        "TTS_VOICE": "v",
        "TTS_LANGUAGE": "de",
        "STT_PROVIDER": "none",
        "MIEN_WHISPER_MODEL": "small",
        "MIEN_TURN_DETECTION": "vad",
        "MIEN_MIN_ENDPOINTING_S": "0.2",
        "MIEN_MAX_ENDPOINTING_S": "1.5",
        "MIEN_MIN_INTERRUPTION_S": "0.5",
        "AVATAR_BACKEND": "puppet",
        "MIEN_SIZE_PX": "256",
        "MIEN_PERSONA": "p",
        "MIEN_PORTRAIT": "/portraits/ada",
        "MIEN_WEIGHTS_DIR": "/weights",
        "MIEN_HUB_URL": "http://127.0.0.1:9/mirror/",
        "MIEN_HOST": "0.0.0.0",
        "MIEN_PORT": "9000",
        "MIEN_TOKEN": "secret",
        "MIEN_ALLOWED_ORIGINS": "https://a.example, https://b.example",
        "MIEN_TLS_CERT": "c.pem",
        "MIEN_TLS_KEY": "k.pem",
        "MIEN_MAX_SESSIONS": "9",
        "MIEN_ICE_SERVERS": '[{"urls": "stun:stun.example:3478"}]',
        "MIEN_ICE_ADDRESSES": "192.0.2.1,192.0.2.2",
        "LIVEKIT_URL": "wss://livekit.example",
        "LIVEKIT_API_KEY": "key",
        "LIVEKIT_API_SECRET": "secret",
        "MIEN_LIVEKIT_PUBLIC_URL": "wss://rooms.example",
        "MIEN_AGENT_NAME": "guide",
        "MIEN_AVATAR_NAME": "guide-face",
        "MIEN_PORTRAITS": "portraits",
        "MIEN_AGENT_HOST": "0.0.0.0",
        "MIEN_AGENT_PORT": "9001",
        "MIEN_AGENT_METRICS_PORT": "9002",
        "MIEN_AVATAR_PORT": "9095",
        "MIEN_AVATAR_METRICS_PORT": "9096",
        "MIEN_ADMISSION": "stated",
        "MIEN_DRAIN_S": "5",
        "RTMP_URL": "rtmp://a.example/live/k, rtmps://b.example/live/l",
        "RTMP_RESOLUTION": "720x1280",
        "RTMP_FPS": "30",
        "RTMP_BITRATE": "4000",
        "RTMP_ENCODER": "x264",
        "STATIC_VIDEO_PATH": "idle.mp4",
        "STATIC_VIDEO_LOOP": "false",
        "MIEN_STREAM_BACKGROUND": "#102030",
        "MIEN_STREAM_CAPTIONS": "true",
        "MIEN_STREAM_LABEL": "AI",
        "MIEN_STREAM_RECORD": "made",
        "MIEN_STREAM_KEEP_H": "24",
        "RABBITMQ_URL": "amqp://u:p@broker.example/v",
        "RABBITMQ_HOST": "broker.example",
        "RABBITMQ_PORT": "5673",
        "RABBITMQ_USER": "u",
        "RABBITMQ_PASSWORD": "p",
        "RABBITMQ_VHOST": "v",
        "RABBITMQ_QUEUE": "lines",
    }
    assert set(environ) == set(VARIABLES)
    settings, default = load_settings(environ), Settings()
    for section, field in VARIABLES.values():
        assert getattr(getattr(settings, section), field) != getattr(getattr(default, section), field)
    assert settings.server.allowed_origins == ("https://a.example", "https://b.example")
    assert settings.server.ice_servers == ({"urls": "stun:stun.example:3478"},)
    assert settings.server.token == SecretStr("secret")
    assert [url.get_secret_value() for url in settings.stream.urls] == [
        "rtmp://a.example/live/k",
        "rtmps://b.example/live/l",
    ]
    assert (settings.stream.width, settings.stream.height) == (720, 1280)


@pytest.mark.parametrize(
    ("name", "near"),
    [("MIEN_PROT", "MIEN_PORT"), ("MIEN_PERSONNA", "MIEN_PERSONA"), ("MIEN_TLS_CERTIFICATE", "MIEN_TLS_CERT")],
)
def test_an_unknown_name_of_ours_is_refused_with_the_nearest_right_one(name: str, near: str) -> None:
    with pytest.raises(SettingsError, match=rf"unknown setting {name}: did you mean {near}\?"):
        load_settings({name: "1"})


def test_an_unknown_name_unlike_any_of_ours_gets_the_list() -> None:
    with pytest.raises(SettingsError, match=r"known names: .*MIEN_PORT"):
        load_settings({"MIEN_QQQQQQQQQQQQQQ": "1"})


def test_an_unknown_name_in_the_file_is_refused_too(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("MIEN_HOTS=127.0.0.1\n")
    with pytest.raises(SettingsError, match="MIEN_HOST"):
        load_settings({}, env_file=file)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"MIEN_PORT": "99999"}, r"MIEN_PORT='99999'.*65535"),
        ({"MIEN_PORT": "eighty"}, r"MIEN_PORT='eighty'"),
        ({"MIEN_SIZE_PX": "300"}, r"MIEN_SIZE_PX='300'.*multiple of 16"),
        ({"TTS_PROVIDER": "elevenlabs"}, r"TTS_PROVIDER='elevenlabs'.*'espeak'"),
        ({"STT_PROVIDER": "google"}, r"STT_PROVIDER='google'.*'pocketsphinx'"),
        ({"AVATAR_BACKEND": "unreal"}, r"AVATAR_BACKEND='unreal'.*'puppet'"),
        ({"OPENAI_BASE_URL": "localhost:1"}, r"OPENAI_BASE_URL='localhost:1': must start with http"),
        ({"MIEN_MIN_ENDPOINTING_S": "3"}, r"MIEN_MAX_ENDPOINTING_S must be at least MIEN_MIN_ENDPOINTING_S"),
        ({"MIEN_ICE_SERVERS": "stun:x"}, r"MIEN_ICE_SERVERS is not JSON"),
        ({"MIEN_HOST": "0.0.0.0"}, r"serving on 0\.0\.0\.0 is reachable by others: set MIEN_TOKEN"),
        ({"MIEN_TLS_CERT": "c.pem"}, r"--tls-cert and --tls-key .* belong together"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_its_value_and_what_to_do(environ: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings(environ)
    assert "\n" not in str(caught.value)


def test_several_wrong_values_are_all_told() -> None:
    with pytest.raises(SettingsError, match=r"TTS_PROVIDER.*MIEN_PORT"):
        load_settings({"TTS_PROVIDER": "x", "MIEN_PORT": "x"})


@pytest.mark.parametrize(
    "environ",
    [
        {"OPENAI_API_KEY": "sk-very-secret", "MIEN_PORT": "x"},
        {"MIEN_TOKEN": "sk-very-secret", "MIEN_TLS_CERT": "c.pem"},
        {"LIVEKIT_API_SECRET": "sk-very-secret", "LIVEKIT_URL": "livekit.example"},
        {"MIEN_ICE_SERVERS": '{"urls": "turn:t", "credential": "sk-very-secret"}'},
        {"MIEN_ICE_SERVERS": '["sk-very-secret"]'},
    ],
)
def test_no_error_quotes_a_secret(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    assert "sk-very-secret" not in str(caught.value)


def test_no_print_of_the_settings_shows_a_secret() -> None:
    names = ("OPENAI_API_KEY", "MIEN_TOKEN", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET")
    settings = load_settings(dict.fromkeys(names, "sk-very-secret"))
    assert "sk-very-secret" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_settings_do_not_change() -> None:
    settings = load_settings({})
    with pytest.raises(ValidationError, match="frozen"):
        settings.server.port = 1


def documented() -> dict[str, str]:
    """Each variable of `.env.example` with the value that stands there."""
    return dict(re.findall(r"^#([A-Z][A-Z_]*)=(.*)$", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE))


def test_the_example_file_documents_every_variable_and_no_other() -> None:
    assert set(documented()) == set(VARIABLES)


def test_the_example_file_shows_the_defaults() -> None:
    shown = {name: value for name, value in documented().items() if value}
    assert len(shown) > 10
    assert load_settings(shown) == Settings()


def test_the_example_file_as_it_is_sets_nothing() -> None:
    assert load_settings({}, env_file=EXAMPLE) == Settings()
