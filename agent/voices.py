"""The voices that can be picked on the page. A persona's language in; `Voice`s with ids such as ``espeak:en-us+f3``
out.

Lists for the online providers are kept here, since asking for them would be a call that nobody asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agent.speech import espeak

ProviderName = Literal["espeak", "edge-tts", "openai"]


@dataclass(frozen=True, slots=True)
class Voice:
    """One voice; its fields are those of the page's ``hello.voices``.

    Args:
        id: ``provider:voice``.
        language: BCP 47, or ``*`` for a voice that speaks many.
        online: what it says leaves this machine.
    """

    id: str
    provider: ProviderName
    name: str
    language: str
    online: bool


ESPEAK_KINDS = {"f3": "female", "f2": "female, deep", "f4": "female, bright", "m3": "male", "m7": "male, deep"}
_ESPEAK_LANGUAGES = (
    "ar bg bn ca cmn cs cy da de el en-gb en-us eo es es-419 et eu fa fi fr-fr ga he hi hr hu id is it ja ka ko la "
    "lt lv mk ms nb nl pl pt pt-br ro ru sk sl sq sr sv sw ta tr uk ur vi"
)

_EDGE = (
    ("en-US", "Ava Andrew Emma Brian Jenny Guy Aria Christopher"),
    ("en-GB", "Sonia Ryan Libby"),
    ("en-AU", "Natasha"),
    ("en-IN", "Neerja Prabhat"),
    ("de-DE", "Katja Conrad Amala"),
    ("de-AT", "Ingrid"),
    ("fr-FR", "Denise Henri Eloise"),
    ("fr-CA", "Sylvie"),
    ("es-ES", "Elvira Alvaro"),
    ("es-MX", "Dalia Jorge"),
    ("it-IT", "Elsa Isabella Diego"),
    ("pt-BR", "Francisca Antonio"),
    ("pt-PT", "Raquel"),
    ("nl-NL", "Colette Maarten"),
    ("pl-PL", "Zofia Marek"),
    ("sv-SE", "Sofie"),
    ("da-DK", "Christel"),
    ("nb-NO", "Pernille"),
    ("fi-FI", "Noora"),
    ("cs-CZ", "Vlasta"),
    ("uk-UA", "Polina"),
    ("ru-RU", "Svetlana"),
    ("tr-TR", "Emel"),
    ("ar-EG", "Salma"),
    ("hi-IN", "Swara"),
    ("zh-CN", "Xiaoxiao Yunxi"),
    ("ja-JP", "Nanami Keita"),
    ("ko-KR", "SunHi InJoon"),
)
_OPENAI = "alloy ash ballad coral echo fable nova onyx sage shimmer verse marin cedar"


def base(language: str) -> str:
    """``en`` of ``en-US``."""
    return language.partition("-")[0].lower()


def espeak_language(language: str) -> str:
    """espeak-ng's code for a language, for instance ``en-us`` for ``en``.

    Raises:
        UnknownVoice: espeak-ng does not speak it.
    """
    codes = [each.code for each in espeak.languages()]
    wanted = language.lower()
    preferred = {"en": "en-us", "pt": "pt-br", "pt-pt": "pt", "fr": "fr-fr", "zh": "cmn", "no": "nb"}
    for code in (preferred.get(wanted), wanted, preferred.get(base(wanted)), base(wanted)):
        if code in codes:
            return str(code)
    near = next((code for code in codes if base(code) == base(wanted)), None)
    if near is None:
        raise espeak.UnknownVoice(
            f"espeak speaks no language {language!r}: set TTS_LANGUAGE to one such as en, de or fr"
        )
    return near


def espeak_default(language: str) -> str:
    return f"{espeak_language(language)}+f3"


def edge_default(language: str) -> str:
    """The service's voice for a language; an English one where there is none."""
    locales = dict(_EDGE)
    exact = next((locale for locale in locales if locale.lower() == language.lower()), None)
    near = next((locale for locale in locales if base(locale) == base(language)), "en-US")
    locale = exact or near
    return f"{locale}-{locales[locale].split()[0]}Neural"


def available(language: str, *, openai: bool) -> tuple[Voice, ...]:
    """All voices to choose from, those of the persona's language first within each provider.

    Args:
        openai: an endpoint of OpenAI's kind is configured.
    """
    voices: list[Voice] = []
    names = {each.code: each.name for each in espeak.languages()}
    for code in _ESPEAK_LANGUAGES.split():
        if code in names:
            kinds = ESPEAK_KINDS if base(code) == base(language) else {"f3": "female"}
            voices += [
                Voice(f"espeak:{code}+{kind}", "espeak", f"{names[code]}, {what}", code, False)
                for kind, what in kinds.items()
            ]
    for locale, people in _EDGE:
        voices += [
            Voice(f"edge-tts:{locale}-{person}Neural", "edge-tts", f"{person} ({locale})", locale, True)
            for person in people.split()
        ]
    if openai:
        voices += [Voice(f"openai:{name}", "openai", name.capitalize(), "*", True) for name in _OPENAI.split()]
    order = {"openai": 0, "edge-tts": 1, "espeak": 2}
    return tuple(sorted(voices, key=lambda voice: (order[voice.provider], base(voice.language) != base(language))))
