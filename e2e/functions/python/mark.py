"""Answers its input with the mark (user config) behind it, "!" without: shows by which configuration, and in which order,
messages were worked on."""
import time

from pulsar import Function


class Mark(Function):
    def process(self, input, context):
        return f"{input}{context.get_user_config_value('mark') or '!'}"


class Raises(Mark):
    """The same, and an exception for three of ten inputs: always for the same ones."""

    def process(self, input, context):
        if sum(map(ord, input)) % 10 < 3:
            raise ValueError("three of ten inputs raise")
        return super().process(input, context)


class Slow(Mark):
    """Takes 300 milliseconds for each message."""

    def process(self, input, context):
        time.sleep(0.3)
        return super().process(input, context)


class Stuck(Mark):
    """Never finishes a message."""

    def process(self, input, context):
        while True:
            time.sleep(60)
