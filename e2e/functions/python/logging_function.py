"""Logs its input and answers it: shows levels, formats, log topics and rotation. "warn: text" is logged as a warning
(also debug, info, error, critical; anything else is info), and fill:N logs N lines of a kilobyte."""
import logging

from pulsar import Function

LEVELS = {
    "debug": logging.DEBUG,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


class Logging(Function):
    def process(self, input, context):
        text = str(input)
        log = context.get_logger()
        prefix, _, rest = text.partition(":")
        if prefix == "fill":
            for _ in range(int(rest)):
                log.info("x" * 1024)
        else:
            log.log(LEVELS.get(prefix, logging.INFO), text)
        return text
