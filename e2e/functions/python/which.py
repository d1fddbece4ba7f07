"""Answers its input behind the number of the replica that read it, 1:input: shows who shares a topic, and in what
order."""
from pulsar import Function


class Which(Function):
    def process(self, input, context):
        return f"{context.get_instance_id()}:{input}"
