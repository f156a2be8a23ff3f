"""Personas: the shipped one is whole, folders are read, and what is wrong is said with the file and the field."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from agent.persona import SHIPPED, PersonaError, load_persona, shipped_personas
from agent.speech.espeak import library_voice
from avatar.puppet.look import Look

pytestmark = pytest.mark.unit

WHOLE = 'name = "Ada"\ninstructions = "Be brief."\n'


def folder_with(folder: Path, text: str) -> str:
    (folder / "persona.toml").write_text(text, encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize("name", shipped_personas())
def test_each_shipped_persona_can_be_used(name: str) -> None:
    persona = load_persona(name)
    assert persona.folder == SHIPPED / name
    assert persona.greeting
    assert "AI" in persona.greeting + persona.instructions
    assert set(persona.voice) <= {"espeak", "edge-tts", "openai"}
    for look in persona.look_names:
        Look.parse(load_persona(f"{name}:{look}").look)


def test_mien_is_shipped() -> None:
    assert "mien" in shipped_personas()
    assert load_persona("mien").name == "Mien"


def test_shipped_personas_are_different_people() -> None:
    mien, abel = load_persona("mien"), load_persona("abel")
    assert mien.instructions != abel.instructions
    assert mien.greeting != abel.greeting
    assert not set(mien.voice.items()) & set(abel.voice.items())
    assert not {"skin", "hair", "clothes", "hair_style"} & {
        key for key in mien.look if mien.look[key] == abel.look.get(key)
    }


@pytest.mark.parametrize("name", shipped_personas())
def test_each_shipped_persona_has_voices_that_there_are(name: str) -> None:
    assert library_voice(load_persona(name).voice["espeak"])


LOOKS = WHOLE + '[look]\nhair = "#112233"\neyes = "#445566"\n[looks.evening]\nhair = "#778899"\n'


def test_a_look_is_chosen_after_a_colon(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, LOOKS)
    assert load_persona(folder).look == load_persona(f"{folder}:default").look == {"hair": "#112233", "eyes": "#445566"}
    evening = load_persona(f"{folder}:evening")
    assert evening.look == {"hair": "#778899", "eyes": "#445566"}
    assert (evening.wears, evening.look_names) == ("evening", ["default", "evening"])
    assert load_persona("mien:evening").look["background"] == "evening"


def test_a_file_may_say_what_is_worn(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, LOOKS.replace("[look]", 'wears = "evening"\n[look]'))
    assert load_persona(folder).look["hair"] == "#778899"
    assert load_persona(f"{folder}:default").look["hair"] == "#112233"


def test_a_folder_with_a_colon_in_its_name_is_that_folder(tmp_path: Path) -> None:
    other = tmp_path / "mine:evening"
    other.mkdir()
    assert load_persona(folder_with(other, LOOKS)).wears == "default"


def test_an_unknown_look_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(PersonaError, match="Mien has no look 'morning': choose one of default, evening"):
        load_persona("mien:morning")
    with pytest.raises(PersonaError, match=r"wears = 'night': its looks are default, evening"):
        load_persona(folder_with(tmp_path, LOOKS.replace("[look]", 'wears = "night"\n[look]')))
    with pytest.raises(PersonaError, match=r"looks\.default: this name is \[look\]'s own"):
        load_persona(folder_with(tmp_path, LOOKS.replace("looks.evening", "looks.default")))


def test_a_folder_is_read(tmp_path: Path) -> None:
    persona = load_persona(
        folder_with(tmp_path, WHOLE + 'language = "de"\n[voice]\nespeak = "de"\n[look]\nhair = "#112233"\n')
    )
    assert (persona.name, persona.language) == ("Ada", "de")
    assert persona.voice == {"espeak": "de"}
    assert persona.look == {"hair": "#112233"}
    assert persona.folder == tmp_path.resolve()


def test_a_folder_wins_nothing_over_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "mien"
    other.mkdir()
    folder_with(other, WHOLE)
    monkeypatch.chdir(tmp_path)
    assert load_persona("mien").folder == SHIPPED / "mien"
    assert load_persona("./mien").name == "Ada"


@pytest.mark.parametrize("name", ["nobody", "../personas", "mien/persona.toml"])
def test_what_is_not_there_is_refused_with_what_is(name: str) -> None:
    with pytest.raises(PersonaError, match=r"no persona .*or one of .*mien"):
        load_persona(name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('instructions = "x"', "name: Field required"),
        ('name = ""\ninstructions = "x"', "name: String should have at least 1 character"),
        ('name = "A"', "instructions: Field required"),
        (WHOLE + "greting = 'Hi'", "greting: Extra inputs are not permitted"),
        (WHOLE + 'language = "English"', "language: String should match pattern"),
        (WHOLE + "[voice]\nespeak = 3", r"voice\.espeak: Input should be a valid string"),
        (WHOLE + f'greeting = "{"x" * 501}"', "greeting: String should have at most 500 characters"),
        ("name = ", "is not TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PersonaError, match=said) as caught:
        load_persona(folder_with(tmp_path, text))
    assert str(tmp_path) in str(caught.value)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "persona.toml").write_bytes('name = "Ünal"\ninstructions = "x"'.encode("latin-1"))
    with pytest.raises(PersonaError, match="is not TOML"):
        load_persona(str(tmp_path))


def test_the_folder_cannot_be_set_by_the_file(tmp_path: Path) -> None:
    persona = load_persona(folder_with(tmp_path, WHOLE + 'folder = "/etc"'))
    assert persona.folder == tmp_path.resolve()


def test_a_persona_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_persona("mien").name = "Other"
