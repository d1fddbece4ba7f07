"""The checks themselves: what they let pass and what they do not."""

import tomllib
import unittest

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


class Example(unittest.TestCase):
    def test_the_example_is_locked_to_the_versions_of_the_workspace(self):
        of = lambda path: {(it["name"], it["version"]) for it in tomllib.loads(path.read_text())["package"]}
        extra = of(graph.ROOT / "examples/rust/Cargo.lock") - of(graph.ROOT / "Cargo.lock")
        self.assertEqual({name for name, _ in extra}, {"mesh-of-words"})


if __name__ == "__main__":
    unittest.main()
