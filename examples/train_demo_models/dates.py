"""Dates as people write them, and the one way ISO 8601 writes them.

Every day from 1970 to 2069 is either a training day or a test day, so a test date was
never seen in training in any spelling. Day comes before month where only digits tell
(`3/4/1999` is 3 April), and two-digit years count from 1970.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta

import numpy as np

CONTEXT = 64
SEPARATOR = "="
END = "\n"
CHARACTERS = (
    END
    + SEPARATOR
    + " ,-./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
ANSWER = len("1999-03-03")

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
WEEKDAYS = (
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
)
SPELLINGS = (
    "{d} {month} {y}",
    "{d} {mon} {y}",
    "{d}-{mon}-{yy}",
    "{month} {d}, {y}",
    "{mon} {nth} {y}",
    "{nth} of {month} {y}",
    "{wd} {d} {mon} {y}",
    "{weekday}, {month} {nth}, {y}",
    "{weekday}, {d} {month} {yy}",
    "{dd}/{mm}/{y}",
    "{d}.{m}.{yy}",
    "{y}/{m}/{d}",
    "{y}{mm}{dd}",
)


def days() -> tuple[list[date], list[date]]:
    """Return the training days and the test days, nine to one."""
    first, last = date(1970, 1, 1), date(2069, 12, 31)
    every = [first + timedelta(n) for n in range((last - first).days + 1)]
    random.Random(0).shuffle(every)
    cut = len(every) // 10
    return every[cut:], every[:cut]


def spell(day: date, rng: random.Random) -> str:
    """Write `day` in one of the spellings, at times all lower or all upper case."""
    month, weekday = MONTHS[day.month - 1], WEEKDAYS[day.weekday()]
    text = rng.choice(SPELLINGS).format(
        d=day.day,
        dd=f"{day.day:02}",
        nth=f"{day.day}{_suffix(day.day)}",
        wd=weekday[:3],
        weekday=weekday,
        m=day.month,
        mm=f"{day.month:02}",
        mon=month[:3],
        month=month,
        yy=f"{day.year % 100:02}",
        y=day.year,
    )
    return rng.choice((text, text, text.lower(), text.upper()))


def encode(texts: list[str], width: int) -> np.ndarray:
    """Return the texts as int64 tokens (count, width), END to the right of each."""
    tokens = np.full((len(texts), width), CHARACTERS.index(END), np.int64)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = [CHARACTERS.index(character) for character in text]
    return tokens


def complete(logits: Callable[[np.ndarray], np.ndarray], texts: list[str]) -> list[str]:
    """Ask a model, given as tokens → logits, for the date each text means.

    The model is causal, so what stands to the right of a text does not matter and
    texts of different lengths can be completed side by side.
    """
    ends = np.array([len(text) + len(SEPARATOR) for text in texts])
    tokens = encode([text + SEPARATOR for text in texts], int(ends.max()) + ANSWER)
    rows = np.arange(len(texts))
    for step in range(ANSWER):
        best = logits(tokens)[rows, ends + step - 1].argmax(-1)
        tokens[rows, ends + step] = best
    answers = tokens[rows[:, None], ends[:, None] + np.arange(ANSWER)]
    return ["".join(CHARACTERS[token] for token in answer) for answer in answers]


def _suffix(number: int) -> str:
    if number in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
