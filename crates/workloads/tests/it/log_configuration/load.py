"""Loads log configurations and reports how Python interprets each.

Arguments: a file with an array of {file, folder}, and the file for the answers.
"""

import json
import logging
import logging.config
import os
import sys


def describe(handler):
    names = ("baseFilename", "maxBytes", "when", "interval", "backupCount")
    answer = {name: getattr(handler, name) for name in names if hasattr(handler, name)}
    answer["type"] = type(handler).__name__
    answer["level"] = logging.getLevelName(handler.level)
    answer["formatter"] = type(handler.formatter).__name__
    return answer


def load(file, folder):
    os.chdir(folder)
    logging.config.fileConfig(file)
    root = logging.getLogger()
    answer = {"level": logging.getLevelName(root.level), "handlers": [describe(it) for it in root.handlers]}
    root.critical("it's %s & more", '"quoted"')
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    return answer


def main():
    with open(sys.argv[1]) as given:
        answers = [load(**one) for one in json.load(given)]
    with open(sys.argv[2], "w") as file:
        json.dump(answers, file)


main()
