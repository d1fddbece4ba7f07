"""Answers its input twice, delayMs (user config) later: shows that a function runs."""
import time

from pulsar import Function


class Double(Function):
    def process(self, input, context):
        time.sleep(int(context.get_user_config_value("delayMs") or 0) / 1000)
        return f"{input}{input}"  # the runner turns what looks like a number into one
