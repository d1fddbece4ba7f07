"""Answers its input with a mark, delayMs (user config, 1000 without) later: shows backlogs and scaling."""
import time

from pulsar import Function


class Slow(Function):
    def process(self, input, context):
        delay = context.get_user_config_value("delayMs")
        time.sleep(1 if delay is None else int(delay) / 1000)
        return f"{input}!"
