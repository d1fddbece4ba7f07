"""Answers its input with the mark (user config) behind it, "!" without: shows by which configuration, and in which order,
messages were worked on."""
from pulsar import Function


class Mark(Function):
    def process(self, input, context):
        return f"{input}{context.get_user_config_value('mark') or '!'}"
