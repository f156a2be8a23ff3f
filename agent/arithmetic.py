"""Sums that people say aloud: "what is twelve times 7" in, one spoken sentence out, or None when it is no sum."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from fractions import Fraction

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_SMALL = {name: value for value, name in enumerate(_ONES.split())}
_TEN_NAMES = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {name: value * 10 for value, name in enumerate(_TEN_NAMES.split(), start=2)}
_BIG = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
_OPERATIONS: dict[str, tuple[str, Callable[[Fraction, Fraction], Fraction]]] = {
    "+": ("plus", operator.add),
    "-": ("minus", operator.sub),
    "*": ("times", operator.mul),
    "/": ("divided by", operator.truediv),
}
_SPOKEN = (
    (r"\bmultiplied by\b|\btimes\b|(?<=\d)\s*[x×]\s*(?=\d)", " * "),
    (r"\bdivided by\b|\bover\b|÷", " / "),
    (r"\bplus\b|\badded to\b", " + "),
    (r"\bminus\b|\bless\b|−", " - "),
)
LARGEST = Fraction(10**12)


def calculate(said: str) -> str | None:
    """Answer a sum of two or more numbers, a percentage, a square root or a half; from left to right, × and ÷ first."""
    text = _digits(said.lower().replace(",", ""))
    if match := re.search(r"(-?\d+(?:\.\d+)?)\s*(?:percent|%)\s*of\s*(\d+(?:\.\d+)?)", text):
        share, whole = Fraction(match[1]), Fraction(match[2])
        return f"{_spoken(share)} percent of {_spoken(whole)} is {_spoken(share * whole / 100)}."
    if match := re.search(r"\bhalf of (\d+(?:\.\d+)?)", text):
        return f"Half of {match[1]} is {_spoken(Fraction(match[1]) / 2)}."
    if match := re.search(r"square root of (\d+)\b", text):
        return _root(int(match[1]))
    for pattern, sign in _SPOKEN:
        text = re.sub(pattern, sign, text)
    match = re.search(r"(?<![\d.])\d+(?:\.\d+)?(?:\s*[-+*/]\s*\d+(?:\.\d+)?)+", text)
    if match is None:
        return None
    if not re.search(r"\s[-+*/]\s|[+*]", match.group()) and not re.search(r"what|how much|calculate|=", text):
        return None  # a date or a telephone number, not a question
    tokens = re.findall(r"\d+(?:\.\d+)?|[-+*/]", match.group())
    if len(tokens) > 21:
        return "That's more than I can keep in my head."
    numbers, signs = [Fraction(token) for token in tokens[::2]], tokens[1::2]
    question = _spoken(numbers[0]) + "".join(
        f" {_OPERATIONS[sign][0]} {_spoken(number)}" for sign, number in zip(signs, numbers[1:], strict=True)
    )
    try:
        result = _evaluate(numbers, signs)
    except ZeroDivisionError:
        return "Dividing by zero has no answer, not even for me."
    if abs(result) > LARGEST:
        return "That's a bigger number than I'd like to read out."
    return f"{question} is {_spoken(result)}.".capitalize()


def _evaluate(numbers: list[Fraction], signs: list[str]) -> Fraction:
    terms, between = [numbers[0]], []
    for sign, number in zip(signs, numbers[1:], strict=True):
        if sign in "*/":
            terms[-1] = _OPERATIONS[sign][1](terms[-1], number)
        else:
            terms.append(number)
            between.append(sign)
    result = terms[0]
    for sign, term in zip(between, terms[1:], strict=True):
        result = _OPERATIONS[sign][1](result, term)
    return result


def _root(number: int) -> str:
    near = number**0.5
    if round(near) ** 2 == number:
        return f"The square root of {number} is {round(near)}."
    return f"The square root of {number} is about {near:.2f}."


def _spoken(number: Fraction) -> str:
    if number.denominator == 1:
        return f"minus {-number.numerator}" if number < 0 else str(number.numerator)
    exact = number * 1000
    text = f"{float(number):.3f}".rstrip("0").rstrip(".").replace("-", "minus ")
    return text if exact.denominator == 1 else f"about {text}"


def _digits(text: str) -> str:
    """Number words as digits: "twenty one times three hundred and five" is "21 times 305"."""
    words = re.findall(r"\d+(?:\.\d+)?|[a-z']+|[^\sa-z\d]|\s+", text)
    out: list[str] = []
    total = current = 0
    counting = False
    for index, word in enumerate(words):
        if word in _SMALL or word in _TENS:
            current += _SMALL.get(word, 0) + _TENS.get(word, 0)
            counting = True
        elif word in _BIG and counting:
            current *= _BIG[word]
            if _BIG[word] > 100:
                total, current = total + current, 0
        elif counting and (word.isspace() or word == "-" or word == "and") and _continues(words[index + 1 :]):
            continue
        else:
            if counting:
                out.append(str(total + current))
                total = current = 0
                counting = False
            out.append(word)
    if counting:
        out.append(str(total + current))
    return "".join(out)


def _continues(rest: list[str]) -> bool:
    """Another number word follows, with nothing but space, a hyphen or an "and" between."""
    for word in rest:
        if word in _SMALL or word in _TENS or word in _BIG:
            return True
        if not (word.isspace() or word == "-" or word == "and"):
            return False
    return False
