"""How the built-in persona finds its answer: one turn in, one of its texts out. No network, no state.

An answer depends on the history, the clock that is handed in and the seed, and on nothing else, so asking twice for
the same turn (as preemptive generation does) gives the same words.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from agent.arithmetic import calculate
from agent.smalltalk_lines import (
    ABILITIES,
    GREETINGS,
    JOKES,
    KEY_HINT,
    OPINION,
    POEM,
    STORIES,
    UNCLEAR,
    UNKNOWN,
    WELL,
)
from agent.smalltalk_turn import Turn, name_in


def answer(turn: Turn) -> str:
    """The persona's words for this turn."""
    if not re.search(r"\w", turn.plain):
        return turn.vary(UNCLEAR)
    for rule in _RULES:
        if (said := rule(turn)) is not None:
            return said
    if len(turn.plain) < 4:
        return turn.vary(UNCLEAR)
    return turn.vary(UNKNOWN)


def _repeat(turn: Turn) -> str | None:
    if match := re.search(r"\b(?:repeat after me|please say|can you say)\b[:,]?\s+(.+)", turn.said, re.I):
        return match[1].strip()
    if turn.has("what did i (?:just )?say|repeat what i (?:just )?said|what i (?:just )?said"):
        return f"You said: {turn.before[-1].strip()}" if turn.before else "You haven't said anything before that."
    if turn.has("repeat(?: that| it| please)?|say (?:that|it) again|once more|pardon|come again|what did you say"):
        return turn.own[-1] if turn.own else "I haven't said anything yet."
    return None


def _stop(turn: Turn) -> str | None:
    if turn.has("stop|be quiet|shut up|enough|hold on|wait a (?:moment|minute|second)|never mind"):
        return turn.vary(("All right.", "Okay, I'm listening.", "Sure. Tell me when you're ready."))
    return None


def _names(turn: Turn) -> str | None:
    if turn.has("(?:what is|what's|say|know|remember|tell me) my name|who am i"):
        known = next((name for text in reversed(turn.before) if (name := name_in(text)) is not None), None)
        return f"Your name is {known}." if known else "You haven't told me your name yet. What is it?"
    if (name := name_in(turn.said)) is not None:
        return turn.vary((f"Nice to meet you, {name}.", f"Hello, {name}. I'll remember that while we talk."))
    if turn.has("your name|who are you|what are you called|introduce yourself"):
        return f"I'm {turn.persona}, an AI avatar. Right now it's the small built-in persona that answers you."
    return None


def _nature(turn: Turn) -> str | None:
    if turn.has(
        "are you (?:an? )?(?:real|human|person|alive|robot|ai|bot|machine|computer|man|woman|conscious)|what are you"
    ):
        return (
            "I'm an AI avatar: a drawn face, a synthetic voice, and behind them, right now, a small built-in persona."
        )
    if turn.has("gpt|chatgpt|openai|which model|what model|language model|built in|llm|claude|gemini") and not turn.has(
        "key"
    ):
        return "No language model is answering you. I'm the small built-in persona, with a few prepared answers."
    if turn.has("feelings?|do you feel|do you love|i love you|emotions?|do you dream|do you sleep"):
        return "I'm a program, so I feel nothing. But it's kind of you to ask."
    if turn.has("how old are you|when were you born|your birthday"):
        return "I have no age. I start anew with every conversation."
    if turn.has("where are you|where do you live|where are you from"):
        return "I run on the computer that serves this page."
    if turn.has("can you see|do you see|look at me|what am i wearing|how do i look"):
        return "I can't see you. I only get your voice and what you type."
    if turn.has("who (?:made|built|created|programmed) you|your (?:maker|creator)"):
        return "I'm part of an open project called Mien. People wrote me line by line."
    if turn.has("how do you (?:work|move|speak|talk)|your (?:lips|mouth|face|voice)"):
        return (
            "My voice is made sentence by sentence, and my lips are drawn from that same sound, so the two stay "
            "together."
        )
    return None


def _abilities(turn: Turn) -> str | None:
    if turn.has(
        "(?:api|openai|a|the|my) key|smarter|real (?:llm|model|ai)|how (?:do|can) i (?:configure|connect|improve) you"
    ):
        return KEY_HINT
    if turn.has(
        "what can you do|help|what do you do|what are you able|how can you help|what can i (?:ask|say)|your abilities"
    ):
        return ABILITIES
    if turn.has("speak (?:german|french|spanish|italian|dutch|polish|portuguese|another language)|which languages"):
        return "On my own I only speak English well. With a language model behind me I speak many more."
    if turn.has("can you hear me|do you hear me|are you there|testing|test|is this working|does this work"):
        return turn.vary(("Yes, I hear you.", "Loud and clear.", "Yes, that came through."))
    return None


def _clock(turn: Turn) -> str | None:
    now = turn.now
    if turn.has("what time|the time|what's the time|how late|o'clock"):
        hour, half = now.hour % 12 or 12, "a.m." if now.hour < 12 else "p.m."
        return f"It's {hour}:{now.minute:02d} {half}" if now.minute else f"It's {hour} {half}"
    if turn.has(
        "what (?:date|day|year|month)|what's the (?:date|day)|the date|today's date|which day|what is today|today is"
    ):
        return f"Today is {now:%A}, {now:%B} {now.day}, {now.year}."
    return None


def _sums(turn: Turn) -> str | None:
    return calculate(turn.said)


def _entertainment(turn: Turn) -> str | None:
    if turn.has("story|tale|talk for a while|tell me something|keep talking|once upon"):
        return turn.vary(STORIES)
    if turn.has("jokes?|funny|make me laugh|something fun"):
        return turn.vary(JOKES)
    if turn.has("poem|rhyme|verse"):
        return POEM
    if turn.has("sing|song"):
        return "I can't sing, only speak, and the neighbours are grateful. I do know a poem, if you like."
    if turn.has("coin"):
        return turn.dice.choice(("Heads.", "Tails."))
    if turn.has("roll|dice|random number"):
        return f"I rolled a {turn.dice.randint(1, 6)}."
    if match := re.search(r"\bcount (?:from one )?to (ten|five|three|twenty|\d+)\b", turn.plain):
        end = {"three": 3, "five": 5, "ten": 10, "twenty": 20}.get(match[1]) or int(match[1])
        return (
            ", ".join(str(number) for number in range(1, end + 1)) + "."
            if 0 < end <= 30
            else "That would take too long."
        )
    if match := re.search(r"\bspell (?:the word )?(\w{2,20})\b", turn.plain):
        return ", ".join(match[1].upper()) + "."
    return None


def _opinion(turn: Turn) -> str | None:
    if turn.has(
        "do you (?:like|think|prefer|believe|hate|enjoy)|what do you think|your (?:opinion|favou?rite)|favou?rite|agree"
    ):
        return turn.vary(OPINION)
    return None


def _courtesy(turn: Turn) -> str | None:
    if turn.has(
        "how are you|how are you doing|how do you do|how's it going|how is it going|what's up|how have you been|you "
        "okay"
    ):
        hello = "Hello! " if turn.has("hello|hi|hey") else ""
        return hello + turn.vary(WELL)
    if turn.has("thanks|thank you|thank|cheers|appreciate"):
        return turn.vary(("You're welcome.", "Gladly.", "My pleasure."))
    if turn.has("bye|goodbye|good bye|good night|see you|farewell|have to go|gotta go"):
        return turn.vary(("Goodbye! It was nice talking with you.", "See you. Take care.", "Bye! Come back any time."))
    if turn.has("sorry|excuse me|my bad"):
        return turn.vary(("No harm done.", "That's all right."))
    if turn.has("nice to meet you|pleased to meet you|good to see you"):
        return "It's nice to meet you, too."
    if turn.has(
        "you(?:'re| are) (?:great|nice|funny|cool|smart|pretty|beautiful|good|awesome|cute)|well done|good job|i "
        "like you"
    ):
        return turn.vary(("That's kind of you.", "Thank you, I'll take that."))
    if turn.has("you(?:'re| are) (?:stupid|dumb|ugly|bad|useless|annoying|boring)|hate you|idiot"):
        return "I'm a simple thing, that's true. I'll still do what I can."
    if turn.has(
        "i'm (?:sad|tired|lonely|sick|bored|stressed)|i am (?:sad|tired|lonely|sick|bored|stressed)|not (?:so |very "
        ")?(?:good|well)"
    ):
        return "I'm sorry to hear that. I can offer company, a joke or a story."
    if turn.has("(?:i'm|i am|doing) (?:fine|good|well|great|okay|ok|happy)|very well|not bad|pretty good"):
        return turn.vary(("I'm glad to hear it.", "That's good to hear."))
    return None


def _greeting(turn: Turn) -> str | None:
    if turn.has("good morning"):
        return "Good morning! What's on your mind?"
    if turn.has("good (?:evening|afternoon|day)"):
        return "And a good one to you. What would you like to talk about?"
    if turn.has("hello|hi|hey|greetings|howdy|hiya"):
        return turn.vary(GREETINGS)
    return None


def _yes_no(turn: Turn) -> str | None:
    if re.fullmatch(
        r"(?:yes|yeah|yep|sure|ok|okay|please|yes please|go on|go ahead|why not|another(?: one)?|more)", turn.plain
    ):
        last = turn.own[-1] if turn.own else ""
        if turn.plain.startswith(("another", "more")):
            return turn.vary(STORIES) if last in STORIES else turn.vary(JOKES)
        if "story" in last:
            return turn.vary(STORIES)
        if "poem" in last:
            return POEM
        return turn.vary(("Good. Go ahead.", "All right. What would you like to know?"))
    if re.fullmatch(r"(?:no|nope|no thanks|no thank you|not really)", turn.plain):
        return turn.vary(("That's fine.", "All right, no problem."))
    if re.fullmatch(r"(?:um+|uh+|hm+|mm+|ah+|oh|er+|well|so|and|the|a)(?: (?:um+|uh+|hm+|mm+|ah+))*", turn.plain):
        return turn.vary(("Take your time.", "I'm listening.", "Go on."))
    return None


_RULES: tuple[Callable[[Turn], str | None], ...] = (
    _repeat,
    _names,
    _abilities,
    _sums,
    _clock,
    _nature,
    _entertainment,
    _courtesy,
    _opinion,
    _stop,
    _yes_no,
    _greeting,
)
