"""Writes its input into the file /data/journal and answers it with the number of lines there: shows disks that outlive
the pod."""
from pulsar import Function

FILE = "/data/journal"


class Journal(Function):
    def process(self, input, context):
        with open(FILE, "a") as journal:
            journal.write(f"{input}\n")
        with open(FILE) as journal:
            return f"{len(journal.readlines())}: {input}"
