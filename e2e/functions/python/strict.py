"""A new version of mark.Mark, whose answer to one message differs: shows what a comparison finds."""
from pulsar import Function


class Strict(Function):
    def process(self, input, context):
        return f"{input}?" if input == "text-7" else f"{input}!"
