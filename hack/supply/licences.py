"""Licence expressions in SPDX form, and the older form with `/` between choices."""

import re

WORD = re.compile(r"\s*([()/]|[A-Za-z0-9.+:-]+)")


class Unreadable(ValueError):
    """A text is not a licence expression."""


def parse(text):
    """The expression as nested tuples: ("or" | "and", left, right), or the name of a licence."""
    words, at = [], 0
    while text[at:].strip():
        found = WORD.match(text, at)
        if not found:
            raise Unreadable(text)
        words.append(found[1])
        at = found.end()
    words.reverse()  # the next one is at the end

    def one():
        if not words:
            raise Unreadable(text)
        word = words.pop()
        if word == "(":
            inner = either()
            if not words or words.pop() != ")":
                raise Unreadable(text)
            return inner
        if word in (")", "/", "OR", "AND", "WITH"):
            raise Unreadable(text)
        if words and words[-1] == "WITH":
            words.pop()
            if not words:
                raise Unreadable(text)
            return f"{word} WITH {words.pop()}"
        return word

    def both():
        left = one()
        while words and words[-1] == "AND":
            words.pop()
            left = ("and", left, one())
        return left

    def either():
        left = both()
        while words and words[-1] in ("OR", "/"):
            words.pop()
            left = ("or", left, both())
        return left

    expression = either()
    if words:
        raise Unreadable(text)
    return expression


def write(expression):
    """The expression as SPDX text."""
    if isinstance(expression, str):
        return expression
    word, *sides = expression

    def side(inner):
        needs_brackets = word == "and" and isinstance(inner, tuple) and inner[0] == "or"
        return f"({write(inner)})" if needs_brackets else write(inner)

    return f" {word.upper()} ".join(side(inner) for inner in sides)


def used(expression, allowed):
    """The allowed licences by which the expression holds, or None if it does not."""
    if isinstance(expression, str):
        return {expression} if expression in allowed else None
    word, left, right = expression[0], used(expression[1], allowed), used(expression[2], allowed)
    if word == "or":
        return (left or set()) | (right or set()) or None
    return left | right if left and right else None
