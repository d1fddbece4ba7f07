"""Works for busyMs (user config, 30 without) of a processor and answers its input with a mark: shows scaling by load."""
import time

from pulsar import Function


class Busy(Function):
    def process(self, input, context):
        work = context.get_user_config_value("busyMs")
        until = time.thread_time() + (30 if work is None else int(work)) / 1000
        while time.thread_time() < until:
            pass
        return f"{input}!"
