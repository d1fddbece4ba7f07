"""Counts each word in the state store and answers word=count: shows state that outlives the pod."""
from pulsar import Function


class Counter(Function):
    def process(self, input, context):
        word = str(input)
        context.incr_counter(word, 1)
        return f"{word}={context.get_counter(word)}"
