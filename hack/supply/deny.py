#!/usr/bin/env python3
"""Checks licences, bans and sources of crates with deny.toml where cargo-deny is not installed.

It implements the settings that the file uses, and rejects others.
"""

import sys
import tomllib

import graph
import licences

REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"

# Supported settings. A list holds the only supported values.
KNOWN = {
    "graph": {"targets": [[graph.TARGET]], "all-features": [True]},
    "licenses": {"allow": None},
    "bans": {
        "wildcards": ["deny"],
        "allow-wildcard-paths": [True],
        "multiple-versions": ["deny"],
        "multiple-versions-include-dev": [True],
        "skip": None,
    },
    # Read by advisories.py.
    "advisories": {"ignore": None},
    "sources": {"unknown-registry": ["deny"], "unknown-git": ["deny"]},
}


def unknown(rules):
    """Settings that only cargo-deny would understand."""
    for part, settings in rules.items():
        for name, value in settings.items():
            values = KNOWN.get(part, {}).get(name, [])
            if values is not None and value not in values:
                yield f"deny.toml: {part}.{name} = {value!r} is unknown to hack/supply/deny.py"


def check_licences(packages, allowed):
    """Licences that are not allowed, and allowed ones that no crate has."""
    met = set()
    for package in packages:
        title = f"{package['name']} {package['version']}"
        try:
            expression = licences.parse(package["license"] or "")
        except licences.Unreadable:
            yield f"{title}: {package['license']!r} is no licence expression"
            continue
        by = licences.used(expression, allowed)
        if by is None:
            yield f"{title}: {package['license']} is not allowed by deny.toml"
        else:
            met |= by
    for licence in sorted(set(allowed) - met):
        yield f"deny.toml: no crate has the licence {licence}; remove it"


def matches(version, wanted):
    """Whether a version is one of 0.22 or of 2, say."""
    return (version + ".").startswith(wanted + ".")


def check_duplicates(packages, skip):
    """Crates in several versions that are not tolerated, and tolerated ones that are gone."""
    skip = [tuple(entry["crate"].split("@")) for entry in skip]
    versions = {}
    for package in packages:
        versions.setdefault(package["name"], []).append(package["version"])
    for name, all_of_it in sorted(versions.items()):
        left = [it for it in all_of_it if not any(crate == name and matches(it, old) for crate, old in skip)]
        if len(left) > 1:
            yield f"{name} is there in the versions {', '.join(sorted(left))}: see `cargo tree --invert {name}@…`"
    for name, old in skip:
        there = versions.get(name, [])
        if len(there) < 2 or not any(matches(version, old) for version in there):
            yield f"deny.toml: {name}@{old} is no second version any more; remove it"


def check_sources(packages):
    """Crates that come from elsewhere than the registry or this folder, and requirements of any version."""
    for package in packages:
        title = f"{package['name']} {package['version']}"
        if package["source"] not in (None, REGISTRY):
            yield f"{title}: comes from {package['source']}"
        if package["source"] is None:
            for needed in package["dependencies"]:
                if needed["req"] == "*" and not needed.get("path"):
                    yield f"{title}: says of {needed['name']} no version"


def main():
    rules = tomllib.loads((graph.ROOT / "deny.toml").read_text())
    crates = graph.tree("--workspace", "--all-features", edges="normal,build,dev")
    packages = [graph.metadata()[crate] for crate in sorted(crates)]
    faults = [
        *unknown(rules),
        *check_licences(packages, rules["licenses"]["allow"]),
        *check_duplicates(packages, rules["bans"]["skip"]),
        *check_sources(packages),
    ]
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
