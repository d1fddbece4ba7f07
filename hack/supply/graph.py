"""The crates that a program is built with, from Cargo.

`cargo tree` lists them, with the features of each package; `cargo metadata` merges the features of all packages, which
adds crates that are never built, and has the fields of each crate.
"""

import functools
import json
import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = "x86_64-unknown-linux-gnu"

# Depth, name, version and, for our own crates, a folder: `2serde v1.0.228`.
LINE = re.compile(r"^(\d+)(\S+) v([^\s()]+)( \([^)]*\))*( \(\*\))?$")


def cargo(*arguments):
    """What a cargo command prints. Nothing is fetched and the lock file stays as it is, unless crates are missing."""
    return subprocess.run(["cargo", *arguments], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout


@functools.cache
def metadata():
    """All packages that cargo knows of, by name and version."""
    # Build scripts and macros have other dependencies, which depend on the build machine.
    host = subprocess.run(["rustc", "--print", "host-tuple"], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
    text = cargo("metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET, "--filter-platform", host)
    return {(package["name"], package["version"]): package for package in json.loads(text)["packages"]}


@functools.cache
def checksums():
    """The checksums of crates that come from a registry, as the lock file has them."""
    packages = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    return {(package["name"], package["version"]): package.get("checksum") for package in packages}


def tree(*arguments, edges):
    """The crates, each as name and version, with those that it needs itself; the one that is built comes first."""
    text = cargo("tree", "--quiet", "--locked", "--target", TARGET, "--edges", edges, "--prefix", "depth",
                 "--format", "{p}", *arguments)
    needs, way = {}, []
    for line in filter(None, text.splitlines()):
        found = LINE.match(line)
        if not found:
            raise SystemExit(f"cargo tree: cannot read the line {line!r}")
        depth, crate = int(found[1]), (found[2], found[3])
        del way[depth:]
        needs.setdefault(crate, set())
        if way:
            needs[way[-1]].add(crate)
        way.append(crate)
    return needs
