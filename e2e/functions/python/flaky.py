"""Fails at every message that begins with "bad" and answers the others: shows retries and dead letters."""
from pulsar import Function


class Flaky(Function):
    def process(self, input, context):
        if str(input).startswith("bad"):
            raise ValueError(f"refused: {input}")
        return str(input)
