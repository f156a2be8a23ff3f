"""Whose face it is, and whether they agreed: asked for before anything is made of it.

In: what the command line says, or the person at the terminal. Out: the words that go on record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from avatar.frames import MienError

CONSENT_QUESTION = """
A portrait makes the person in the picture appear to say whatever the avatar says. Prepare it only if that person has
agreed to this, or if the picture shows nobody real. What you write here is kept in the portrait's manifest.
"""


class PrepareError(MienError):
    """No portrait was made: says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How the person at the terminal is spoken to.

    Args:
        tell: shows a line.
        ask: shows a question and gives the answer; None where nobody can be asked.
    """

    tell: Callable[[str], None]
    ask: Callable[[str], str] | None


def consented(given: str | None, asking: Asking) -> str:
    """Who agreed, and when, in the words given or asked for.

    Raises:
        PrepareError: nobody did, or nobody can be asked.
    """
    if given is None:
        if asking.ask is None:
            raise PrepareError(
                'the consent of the person shown must be on record: --consent "who agreed, when" '
                '(or --consent "nobody real: a drawing by ..."), or run it in a terminal, which asks'
            )
        asking.tell(CONSENT_QUESTION)
        if asking.ask("Has the person shown agreed, or is it nobody real? [y/N] ").strip().lower() not in ("y", "yes"):
            raise PrepareError("without consent no portrait is made; nothing was written")
        given = asking.ask("Who agreed, and when? (or: whose drawing it is) ")
    given = " ".join(given.split())
    if len(given) < 3:
        raise PrepareError("the consent is empty: say who agreed, and when")
    return given[:500]
