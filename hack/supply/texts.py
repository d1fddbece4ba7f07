"""The licence texts of the crates that are linked into a program; most licences want them to go along with it."""

from pathlib import Path

import graph
import licences

NAMES = ("licen", "copying", "copyright", "notice", "unlicense")


def files(crate):
    """The files of a crate that hold its licences."""
    folder = Path(graph.metadata()[crate]["manifest_path"]).parent
    found = (path for path in folder.iterdir() if path.is_file() and path.name.lower().startswith(NAMES))
    return sorted(path for path in found if path.suffix not in (".rs", ".html", ".toml", ".json"))


def of(linked):
    """One text: each licence text once, below the crates that it comes with."""
    texts, without = {}, []
    for crate in sorted(linked):
        licence = licences.write(licences.parse(graph.metadata()[crate]["license"]))
        title = f"{crate[0]} {crate[1]} ({licence})"
        found = files(crate)
        for path in found:
            text = path.read_text(errors="replace").replace("\r\n", "\n").strip()
            texts.setdefault(text, []).append(title)
        if not found:
            without.append(title)
    parts = ["\n".join(titles) + "\n\n" + text for text, titles in sorted(texts.items(), key=lambda it: it[1])]
    if without:
        parts.append("These come without a text of their own; their licences are above:\n\n" + "\n".join(without))
    return f"\n\n{'=' * 80}\n\n".join(parts) + "\n"
