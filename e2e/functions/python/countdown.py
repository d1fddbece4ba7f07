"""Two functions for a mesh that feeds itself. Step adds the next number to a way, a/3 becomes a/3/2, and Gate sends it
around again until it has come to 0: then it leaves for the topic "exit" of the user config."""
from pulsar import Function


class Step(Function):
    def process(self, input, context):
        way = str(input)
        return f"{way}/{int(way.rpartition('/')[2]) - 1}"


class Gate(Function):
    def process(self, input, context):
        way = str(input)
        if way.endswith("/0"):
            context.publish(context.get_user_config_value("exit"), way)
            return None  # nothing goes around
        return way
