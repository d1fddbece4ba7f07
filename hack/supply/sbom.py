"""Write the SBOM of each program as PROGRAM.cdx.json (CycloneDX 1.5), and licence texts as PROGRAM.licences.txt.

They are reproducible: they contain no time, and the serial number is a hash of the content.

Exit status:
  0   all files are written, or with --check match what Cargo builds
  1   --check found a difference, or an error
  2   wrong usage
"""

import argparse
import json
import sys
import uuid
from pathlib import Path

import graph
import licences
import texts

# Each program, and its package.
PROGRAMS = {
    "function-mesh-controller-manager": "function-mesh-controller",
    "function-mesh-webhook": "function-mesh-webhook",
    "function-mesh-console": "function-mesh-console",
    "kubectl-mesh": "kubectl-mesh",
}


def of(program):
    """The document for a program."""
    package = ("--package", PROGRAMS[program])
    needs = graph.tree(*package, edges="normal,build")
    linked = linked_into(program)
    main = next(iter(needs))
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {"type": "application", **described(main), "name": program},
            "properties": [
                {"name": "cargo:package", "value": main[0]},
                {"name": "cargo:target", "value": graph.TARGET},
            ],
        },
        "components": [
            {"type": "library", **described(crate), "scope": "required" if crate in linked else "excluded"}
            for crate in sorted(needs) if crate != main
        ],
        "dependencies": [
            {"ref": reference(crate), "dependsOn": sorted(map(reference, needs[crate]))} for crate in sorted(needs)
        ],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(document, sort_keys=True))
    return {**document, "serialNumber": f"urn:uuid:{serial}"}


def linked_into(program):
    """The crates in a program itself. Macros and build scripts run on the builder's machine only."""
    return set(graph.tree("--package", PROGRAMS[program], edges="normal,no-proc-macro"))


def reference(crate):
    """What a crate goes by within the document."""
    name, version = crate
    return f"pkg:cargo/{name}@{version.replace('+', '%2B')}" if graph.checksums()[crate] else f"{name}@{version}"


def described(crate):
    """What is known of a crate. Our own are in no registry, so they have neither an address in one nor a checksum."""
    package, checksum = graph.metadata()[crate], graph.checksums()[crate]
    about = {"bom-ref": reference(crate), "name": crate[0], "version": crate[1]}
    if package["description"]:
        about["description"] = " ".join(package["description"].split())
    about["licenses"] = [{"expression": licences.write(licences.parse(package["license"]))}]
    if checksum:
        about["purl"] = reference(crate)
        about["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        about["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return about


def faults(program, document):
    """What is wrong with a document."""
    components = document["components"]
    references = [document["metadata"]["component"]["bom-ref"], *(it["bom-ref"] for it in components)]
    if len(set(references)) != len(references):
        yield "two components have one reference"
    names = {(it["name"], it["version"]) for it in components}
    built = graph.cargo("tree", "--quiet", "--locked", "--package", PROGRAMS[program], "--edges", "normal",
                        "--target", graph.TARGET, "--prefix", "none", "--no-dedupe", "--format", "{p}")
    crates = {tuple(line.split()[:2]) for line in built.splitlines()}
    for name, version in sorted(crates):
        if name != PROGRAMS[program] and (name, version.removeprefix("v")) not in names:
            yield f"{name} {version} is missing"
    for edge in document["dependencies"]:
        for end in (edge["ref"], *edge["dependsOn"]):
            if end not in references:
                yield f"{end} is needed and is no component"
    for component in components:
        ours = component["bom-ref"] == f"{component['name']}@{component['version']}"
        if not ours and len(component["hashes"][0]["content"]) != 64:
            yield f"{component['bom-ref']} has no checksum"
        if not component["licenses"][0]["expression"]:
            yield f"{component['bom-ref']} has no licence"


def main():
    parser = argparse.ArgumentParser(prog="hack/sbom", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, default=graph.ROOT / "target/sbom", help="folder to write to (target/sbom)")
    parser.add_argument("--target", default=graph.TARGET, help=f"what the programs are built for ({graph.TARGET})")
    parser.add_argument("--check", action="store_true", help="compare each with what Cargo builds, and write nothing")
    parser.add_argument("program", nargs="*", help=f"of these: {', '.join(PROGRAMS)} (all)")
    arguments = parser.parse_args()
    graph.TARGET = arguments.target
    found = []
    for program in arguments.program or PROGRAMS:
        if program not in PROGRAMS:
            parser.error(f"there is no program {program!r}")
        document = of(program)
        if arguments.check:
            found += [f"{program}: {fault}" for fault in faults(program, document)]
            continue
        arguments.dir.mkdir(parents=True, exist_ok=True)
        path = arguments.dir / f"{program}.cdx.json"
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        print(path)
        path = arguments.dir / f"{program}.licences.txt"
        path.write_text(texts.of(linked_into(program)))
        print(path)
    for fault in found:
        print(fault, file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
