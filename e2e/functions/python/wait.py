"""Waits for waitMs (user config, 50 without), as for a database, and answers its input with a mark: shows scaling on
messages, which needs no processor."""
import time

from pulsar import Function


class Wait(Function):
    def process(self, input, context):
        wait = context.get_user_config_value("waitMs")
        time.sleep((50 if wait is None else int(wait)) / 1000)
        return f"{input}!"
