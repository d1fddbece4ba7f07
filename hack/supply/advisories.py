#!/usr/bin/env python3
"""Look for crates of Cargo.lock in the RustSec advisory database.

Usage:
  hack/supply/advisories.py [--database FOLDER] [--require] [--max-age DAYS] [LOCKFILE...]

The database is a folder: FUNCTION_MESH_ADVISORIES, else advisory-db in the cache. Its path and age are printed. Without one
nothing is checked, which is a warning or, with --require, an error. To download it, with its date from git:

    git clone --depth 1 https://github.com/RustSec/advisory-db ~/.cache/function-mesh/advisory-db

Exit status:
  0   no vulnerable crate, or no database
  1   a vulnerable crate; with --require also a missing or old database
"""

import argparse
import datetime
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FRONT_MATTER = re.compile(r"^```toml\n(.*?)^```", re.M | re.S)
COMPARATOR = re.compile(r"^(<=|>=|<|>|=|\^|~)?\s*v?(\d+)(?:\.(\d+|\*))?(?:\.(\d+|\*))?(?:-([0-9A-Za-z.-]+))?(?:\+\S*)?$")
# What is said of a crate that is no vulnerability.
HARMLESS = {"unmaintained", "unsound", "notice"}


class Unreadable(Exception):
    """A file of the database that is not as expected."""


def order(text):
    """A version as something that compares: a pre-release comes before its release."""
    core, _, pre = text.split("+")[0].partition("-")
    parts = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split(".")] if pre else []
    return tuple(int(part) for part in core.split(".")), not pre, tuple(parts)


def bounds(comparator):
    """Tests that a version has to pass."""
    found = COMPARATOR.match(comparator.strip())
    if not found:
        raise Unreadable(f"cannot read the version requirement {comparator!r}")
    sign, *numbers, pre = found.groups()
    given = [int(number) for number in numbers if number not in (None, "*")]
    low = order(".".join(str(number) for number in (given + [0, 0])[:3]) + (f"-{pre}" if pre else ""))

    def next_after(place):
        return (tuple(given[:place] + [given[place] + 1] + [0, 0])[:3], False, ())

    if sign == "=" and len(given) == 3:
        return [lambda version: version == low]
    if sign == "<":
        return [lambda version: version < low]
    if sign == ">=":
        return [lambda version: version >= low]
    if sign == ">":
        return [lambda version: version > low]
    if sign == "<=":
        return [lambda version: version <= low]
    if sign in ("~", "="):
        place = min(len(given) - 1, 1)
    else:  # a caret, which is also meant by nothing: up to the next change of the first number that is not zero
        place = next((place for place, number in enumerate(given) if number), len(given) - 1)
    high = next_after(place)
    return [lambda version: version >= low, lambda version: version < high]


def matches(version, requirement):
    """Whether a version satisfies a requirement of Cargo: comma-separated comparators."""
    if requirement.strip() == "*":
        return True
    tests = [test for comparator in requirement.split(",") for test in bounds(comparator)]
    return all(test(order(version)) for test in tests)


def advisories(database):
    """The advisories about crates, except withdrawn ones."""
    for file in sorted((database / "crates").glob("*/RUSTSEC-*.md")):
        found = FRONT_MATTER.search(file.read_text(encoding="utf-8"))
        try:
            front = tomllib.loads(found[1]) if found else {}
            advisory, versions = front["advisory"], front.get("versions", {})
            if "withdrawn" not in advisory:
                yield advisory, versions
        except (KeyError, tomllib.TOMLDecodeError) as error:
            raise Unreadable(f"{file}: {error!r}") from error


def locked(lockfile):
    """Crates of a registry, by name and version."""
    packages = tomllib.loads(Path(lockfile).read_text(encoding="utf-8")).get("package", [])
    return [(package["name"], package["version"]) for package in packages if package.get("source")]


def findings(database, crates):
    """What the database says of crates: identifier, kind, crate, version, title and the patched versions."""
    by_name = {}
    for name, version in crates:
        by_name.setdefault(name, set()).add(version)
    for advisory, versions in advisories(database):
        safe = versions.get("patched", []) + versions.get("unaffected", [])
        for version in sorted(by_name.get(advisory["package"], ())):
            if not any(matches(version, requirement) for requirement in safe):
                kind = advisory.get("informational", "vulnerable")
                patched = ", ".join(versions.get("patched", [])) or "none"
                yield advisory["id"], kind, advisory["package"], version, advisory.get("title", ""), patched


def dated(database):
    """When a copy was made: the time of its last commit, else the date of its newest advisory."""
    if (database / ".git").exists():
        git = ["git", "-C", str(database), "log", "-1", "--format=%cs"]
        text = subprocess.run(git, text=True, capture_output=True, check=False).stdout.strip()
        if text:
            return datetime.date.fromisoformat(text)
    dates = [str(advisory["date"]) for advisory, _ in advisories(database) if "date" in advisory]
    return datetime.date.fromisoformat(max(dates)) if dates else None


def ignored():
    """Advisories that deny.toml tolerates, each with a reason."""
    rules = tomllib.loads((ROOT / "deny.toml").read_text(encoding="utf-8"))
    return {entry["id"] for entry in rules.get("advisories", {}).get("ignore", [])}


def check(database, lockfiles, require, max_age, today, say):
    """Says what was checked and found, and gives the exit status."""
    if not (database / "crates").is_dir():
        say(f"advisories: NOT CHECKED: there is no database in {database}; fetch it where there is a network: "
            f"git clone --depth 1 https://github.com/RustSec/advisory-db {database}")
        return 1 if require else 0
    try:
        date, status = dated(database), 0
        crates = {crate for lockfile in lockfiles for crate in locked(lockfile)}
        found, tolerated = list(findings(database, crates)), ignored()
    except Unreadable as error:
        say(f"advisories: NOT CHECKED: {error}")
        return 1
    age = (today - date).days if date else None
    when = f"of {date}, {age} days old" if date else "of an unknown date"
    say(f"advisories: {len(crates)} crates checked against {database}, {when}")
    if age is None or age > max_age:
        say(f"advisories: the database is older than {max_age} days: what came up since is not known; fetch it again")
        status = 1 if require else 0
    for identifier, kind, name, version, title, patched in found:
        if identifier in tolerated:
            continue
        is_harmless = kind in HARMLESS
        say(f"{'warning' if is_harmless else 'error'}: {identifier}: {name} {version} is {kind}: {title}; patched in: {patched}")
        status = status if is_harmless else 1
    return status


def main():
    cache = os.environ.get("FUNCTION_MESH_CACHE") or Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "function-mesh")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", type=Path,
                        default=os.environ.get("FUNCTION_MESH_ADVISORIES") or Path(cache, "advisory-db"))
    parser.add_argument("--require", action="store_true", help="fail without a database, or with an old one")
    parser.add_argument("--max-age", type=int, default=14, metavar="DAYS")
    parser.add_argument("lockfiles", nargs="*", default=[ROOT / "Cargo.lock", ROOT / "examples/rust/Cargo.lock"])
    given = parser.parse_args()
    return check(Path(given.database), given.lockfiles, given.require, given.max_age, datetime.date.today(),
                 lambda line: print(line, file=sys.stderr))


if __name__ == "__main__":
    sys.exit(main())
