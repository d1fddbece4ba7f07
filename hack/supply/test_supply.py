"""Tests of the checks: what they accept and what they reject."""

import datetime
import tempfile
import tomllib
import unittest
from pathlib import Path

import advisories
import deny
import graph
import licences


def package(name, version, licence="MIT", source=deny.REGISTRY, dependencies=()):
    return {"name": name, "version": version, "license": licence, "source": source, "dependencies": dependencies}


class Licences(unittest.TestCase):
    def test_expressions_are_read(self):
        for text, wanted in [
            ("MIT", "MIT"),
            ("MIT/Apache-2.0", "MIT OR Apache-2.0"),
            ("Apache-2.0 / MIT", "Apache-2.0 OR MIT"),
            ("ISC AND (Apache-2.0 OR ISC)", "ISC AND (Apache-2.0 OR ISC)"),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", "(MIT OR Apache-2.0) AND Unicode-3.0"),
            ("Apache-2.0 WITH LLVM-exception OR MIT", "Apache-2.0 WITH LLVM-exception OR MIT"),
            ("((MIT))", "MIT"),
        ]:
            self.assertEqual(licences.write(licences.parse(text)), wanted)

    def test_other_texts_are_not(self):
        for text in ["", "MIT OR", "(MIT", "MIT)", "MIT Apache-2.0", "OR", "MIT WITH", "see LICENSE!"]:
            with self.assertRaises(licences.Unreadable, msg=text):
                licences.parse(text)

    def test_one_of_a_choice_is_enough_and_all_of_a_sum_are_needed(self):
        of = lambda text, *allowed: licences.used(licences.parse(text), allowed)
        self.assertEqual(of("GPL-3.0 OR MIT", "MIT"), {"MIT"})
        self.assertIsNone(of("GPL-3.0 AND MIT", "MIT"))
        self.assertEqual(of("MIT AND (ISC OR GPL-3.0)", "MIT", "ISC"), {"MIT", "ISC"})
        self.assertIsNone(of("Apache-2.0 WITH LLVM-exception", "Apache-2.0"))


class Deny(unittest.TestCase):
    def test_licences_that_are_not_allowed_or_not_met(self):
        faults = lambda *all_of_it: list(deny.check_licences(all_of_it, ["MIT"]))
        self.assertEqual(faults(package("a", "1.0.0")), [])
        self.assertIn("GPL-3.0 is not allowed", faults(package("a", "1.0.0"), package("b", "1.0.0", "GPL-3.0"))[0])
        self.assertIn("no licence expression", faults(package("a", "1.0.0", None))[0])
        self.assertIn("no crate has", faults()[0])

    def test_duplicates(self):
        faults = lambda *versions, skip=(): list(
            deny.check_duplicates([package("a", version) for version in versions], [{"crate": it} for it in skip]))
        self.assertEqual(faults("1.0.0"), [])
        self.assertIn("1.0.0, 2.0.0", faults("1.0.0", "2.0.0")[0])
        self.assertEqual(faults("1.0.0", "2.0.0", skip=["a@1"]), [])
        self.assertEqual(len(faults("1.0.0", "2.0.0", "3.0.0", skip=["a@1"])), 1)
        self.assertIn("no second version", faults("2.0.0", skip=["a@1"])[0])
        self.assertIn("no second version", faults("0.22.0", "1.0.0", skip=["a@1", "a@0.2"])[0])

    def test_sources(self):
        faults = lambda one: list(deny.check_sources([one]))
        self.assertEqual(faults(package("a", "1.0.0")), [])
        self.assertIn("comes from", faults(package("a", "1.0.0", source="git+https://example.com/a"))[0])
        any_version = {"name": "b", "req": "*"}
        self.assertIn("no version", faults(package("a", "1.0.0", source=None, dependencies=[any_version]))[0])
        self.assertEqual(faults(package("a", "1.0.0", source=None, dependencies=[{**any_version, "path": "b"}])), [])

    def test_a_setting_that_is_not_known_is_said(self):
        self.assertEqual(list(deny.unknown({"bans": {"multiple-versions": "deny"}})), [])
        self.assertEqual(len(list(deny.unknown({"bans": {"multiple-versions": "warn", "deny": []}}))), 2)


class Advisories(unittest.TestCase):
    def database(self, **files):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        for name, (front, versions) in files.items():
            crate = Path(folder.name, "crates", "time")
            crate.mkdir(parents=True, exist_ok=True)
            text = f"```toml\n[advisory]\nid = \"{name}\"\npackage = \"time\"\n{front}\n[versions]\n{versions}\n```\n\n# Title\n"
            (crate / f"RUSTSEC-{name}.md").write_text(text)
        return Path(folder.name)

    def run_on(self, database, version="0.1.42", require=False, today="2026-01-10"):
        lock = database / "Cargo.lock"
        lock.write_text(f'[[package]]\nname = "time"\nversion = "{version}"\nsource = "{deny.REGISTRY}"\n')
        said = []
        status = advisories.check(database, [lock], require, 14, datetime.date.fromisoformat(today), said.append)
        return status, said

    def test_a_known_bad_version_is_found_and_a_mended_one_is_not(self):
        database = self.database(one=('date = "2026-01-01"\ntitle = "Segfault"', 'patched = [">= 0.2.23"]\nunaffected = ["=0.2.0", "< 0.1"]'))
        status, said = self.run_on(database)
        self.assertEqual(status, 1)
        self.assertIn("error: one: time 0.1.42 is vulnerable", said[-1])
        self.assertIn("of 2026-01-01, 9 days old", said[0])
        for fine in ["0.2.23", "0.3.0", "0.2.0", "0.0.9"]:
            self.assertEqual(self.run_on(database, fine)[0], 0, fine)
        self.assertEqual(self.run_on(database, "0.2.23-alpha")[0], 1)

    def test_unmaintained_is_a_warning_and_withdrawn_is_nothing(self):
        database = self.database(one=('date = "2026-01-01"\ninformational = "unmaintained"', "patched = []"))
        status, said = self.run_on(database)
        self.assertEqual((status, said[-1].split(":")[0]), (0, "warning"))
        database = self.database(one=('date = "2026-01-01"\nwithdrawn = "2026-01-02"', "patched = []"))
        status, said = self.run_on(database)
        self.assertEqual((status, [line for line in said if "time 0.1.42" in line]), (0, []))

    def test_without_a_database_nothing_counts_as_checked(self):
        status, said = self.run_on(self.database())
        self.assertEqual(status, 0)
        self.assertIn("NOT CHECKED", said[0])
        self.assertIn("git clone", said[0])
        self.assertEqual(self.run_on(self.database(), require=True)[0], 1)

    def test_an_old_database_is_told(self):
        database = self.database(one=('date = "2026-01-01"', 'patched = [">= 0.1"]'))
        status, said = self.run_on(database, today="2026-03-01")
        self.assertEqual(status, 0)
        self.assertIn("older than 14 days", said[1])
        self.assertEqual(self.run_on(database, today="2026-03-01", require=True)[0], 1)

    def test_requirements_match_as_cargo_does(self):
        for requirement, good, bad in [
            ("^1.2", ["1.2.0", "1.9.3"], ["1.1.9", "2.0.0"]), ("^0.2.3", ["0.2.3", "0.2.9"], ["0.3.0", "0.2.2"]),
            ("1", ["1.0.0", "1.9.9"], ["0.9.9", "2.0.0"]), ("~1.2.3", ["1.2.9"], ["1.3.0"]),
            (">= 1.0, < 1.5", ["1.4.9"], ["1.5.0", "0.9.0"]), ("=1.2.3", ["1.2.3"], ["1.2.4"]),
            (">1.2.3", ["1.2.4"], ["1.2.3"]), ("<= 1.2.3", ["1.2.3", "1.2.3-rc.1"], ["1.2.4"]), ("*", ["9.9.9"], []),
            ("^0.0.3", ["0.0.3"], ["0.0.4"]), ("~1", ["1.9.0"], ["2.0.0"]),
        ]:
            for version in good:
                self.assertTrue(advisories.matches(version, requirement), (version, requirement))
            for version in bad:
                self.assertFalse(advisories.matches(version, requirement), (version, requirement))

    def test_an_unreadable_database_is_an_error(self):
        database = self.database(one=('date = "2026-01-01"', 'patched = ["> what"]'))
        status, said = self.run_on(database)
        self.assertEqual(status, 1)
        self.assertIn("NOT CHECKED", said[-1])


class Pinned(unittest.TestCase):
    def test_requirements_have_hashes(self):
        lines = (graph.ROOT / "hack/runner-image/requirements.txt").read_text().splitlines()
        for line in filter(lambda line: line and not line.startswith("#"), lines):
            self.assertRegex(line, r"^[\w.-]+==\S+( --hash=sha256:[0-9a-f]{64})+$")

    def test_images_that_the_dockerfile_pulls_are_pinned_by_digest(self):
        stages = set()
        for line in (graph.ROOT / "Dockerfile").read_text().splitlines():
            words = line.split()
            if words[:1] == ["FROM"]:
                image = words[1]
                is_local = image == "scratch" or image in stages or image.startswith("${")
                self.assertTrue(is_local, f"{line}: name images by an argument that holds a digest")
                stages |= {words[3]} if len(words) > 3 else set()
            if words[:1] == ["ARG"] and "/" in words[1]:
                self.assertRegex(words[1], r"@sha256:[0-9a-f]{64}$")


class Example(unittest.TestCase):
    def test_the_example_is_locked_to_the_versions_of_the_workspace(self):
        of = lambda path: {(it["name"], it["version"]) for it in tomllib.loads(path.read_text())["package"]}
        extra = of(graph.ROOT / "examples/rust/Cargo.lock") - of(graph.ROOT / "Cargo.lock")
        self.assertEqual({name for name, _ in extra}, {"mesh-of-words"})


if __name__ == "__main__":
    unittest.main()
