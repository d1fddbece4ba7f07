"""Does with a message what its text says: `block-until:SECONDS` waits until that time since 1970, `raise` raises, anything
else comes back with a mark behind it. A second class acknowledges nothing."""
import time

from pulsar import Function


class Stall(Function):
    def process(self, input, context):
        what, _, until = str(input).partition(":")
        if what == "block-until":
            while time.time() < float(until):
                time.sleep(0.1)
        if what == "raise":
            raise ValueError("as the message says")
        return f"{input}!"
