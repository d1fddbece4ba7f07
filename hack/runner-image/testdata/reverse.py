"""A function without a class: the instance calls process(input)."""


def process(input):
    return input[::-1]
