//! Pages for contributors name files, symbols, tests and commands. All of them exist.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

use crate::{read, root};

/// The pages by their path from the root.
fn pages() -> BTreeMap<String, String> {
    let mut names = vec![
        "CHANGELOG.md".to_owned(),
        "CODE_OF_CONDUCT.md".to_owned(),
        "CONTRIBUTING.md".to_owned(),
        "SECURITY.md".to_owned(),
        ".github/PULL_REQUEST_TEMPLATE.md".to_owned(),
        "docs/versions.md".to_owned(),
    ];
    names.extend(records().map(|name| format!("docs/adr/{name}")));
    names.into_iter().map(|name| (name.clone(), read(&root().join(name)))).collect()
}

/// The files of docs/adr.
fn records() -> impl Iterator<Item = String> {
    let files = fs::read_dir(root().join("docs/adr")).expect("docs/adr");
    files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
}

/// All Rust files of the workspace.
fn sources() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    for folder in ["crates", "e2e"] {
        walk(&root().join(folder), &mut found);
    }
    found
}

/// Each match of the first group, with the page that it is on.
fn find<'a>(pages: &'a BTreeMap<String, String>, pattern: &str) -> Vec<(&'a str, regex::Captures<'a>)> {
    let pattern = Regex::new(pattern).expect("a pattern");
    let on = |(page, text): (&'a String, &'a String)| {
        pattern.captures_iter(text).map(|found| (page.as_str(), found)).collect::<Vec<_>>()
    };
    pages.iter().flat_map(on).collect()
}

#[test]
fn named_files_exist() {
    let pages = pages();
    let folders = "crates|e2e|charts|deploy|docs|examples|hack|\\.github";
    let named = find(&pages, &format!("`((?:{folders})(?:/[\\w.-]+)*)/?(?: [^`]*)?`"));
    assert!(named.len() > 80, "{}", named.len());
    let missing: Vec<_> = named
        .iter()
        .filter(|(_, found)| !root().join(&found[1]).exists())
        .map(|(page, found)| format!("{page}: {}", &found[1]))
        .collect();
    assert_eq!(missing, [""; 0]);
    let sources = sources();
    for (page, found) in find(&pages, r"`(\w+\.rs)`") {
        let exists = sources.iter().any(|path| path.file_name().is_some_and(|name| name == &found[1]));
        assert!(exists, "{page}: there is no {}", &found[1]);
    }
}

#[test]
fn named_symbols_are_in_the_named_files() {
    let pages = pages();
    let named = find(&pages, r"`([\w:]+)!?`\s+in\s+`([\w./-]+\.rs)`");
    assert!(named.len() > 12, "{}", named.len());
    for (page, found) in named {
        let symbol = found[1].rsplit("::").next().unwrap_or_default();
        let defined =
            Regex::new(&format!(r"(?:fn|struct|enum|trait|const|macro_rules!|mod|type) {symbol}\b"));
        let text = read(&root().join(&found[2]));
        assert!(defined.expect("a pattern").is_match(&text), "{page}: {} has no {symbol}", &found[2]);
    }
}

/// A page shows a call as code: `findings.warn(…)`, `view()`.
#[test]
fn named_functions_exist() {
    let code: String = sources().iter().map(|path| read(path)).collect();
    let pages = pages();
    let call = Regex::new(r"\b([a-z_0-9]+)!?\(").expect("a pattern");
    let mut seen = 0;
    for (page, span) in find(&pages, r"`([^`\n]+)`") {
        for found in call.captures_iter(&span[1]) {
            let defined = Regex::new(&format!(r"(?:fn|macro_rules!) {}\b", &found[1]));
            assert!(
                defined.expect("a pattern").is_match(&code),
                "{page}: there is no function {}",
                &found[1]
            );
            seen += 1;
        }
    }
    assert!(seen > 8, "{seen}");
}

#[test]
fn named_tests_exist() {
    let code: String = sources().iter().map(|path| read(path)).collect();
    let pages = pages();
    let named = find(&pages, r"`([a-z0-9]+(?:_[a-z0-9]+){4,})`");
    assert!(named.len() > 8, "{}", named.len());
    for (page, found) in named {
        assert!(code.contains(&format!("fn {}(", &found[1])), "{page}: there is no test {}", &found[1]);
    }
}

/// `--help` of a command in hack/: it must not build or download anything.
fn help(command: &Path) -> String {
    let output = Command::new(command)
        .arg("--help")
        .env("FUNCTION_MESH_CACHE", "/nonexistent/cache")
        .env("CARGO_TARGET_DIR", "/nonexistent/target")
        .env_remove("FUNCTION_MESH_CLUSTER")
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", command.display()));
    assert!(output.status.success(), "{} --help: {output:?}", command.display());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn commands_print_usage_and_exit_status() {
    let files = fs::read_dir(root().join("hack")).expect("hack").map(|file| file.expect("a file").path());
    let commands: Vec<_> = files
        .filter(|file| file.is_file() && file.extension().is_none_or(|extension| extension != "sh"))
        .collect();
    assert!(commands.len() > 20, "{commands:?}");
    let usage = Regex::new(r"(?i)(?m)^usage:(?s).*\bhack/").expect("a pattern");
    for command in commands {
        let name = command.file_name().expect("a name").to_string_lossy().into_owned();
        let text = help(&command);
        assert!(usage.is_match(&text) && text.contains(&name), "{name}: no usage: {text}");
        assert!(text.contains("\nExit status:\n"), "{name}: no exit status: {text}");
        let longest = text.lines().map(|line| line.chars().count()).max().unwrap_or_default();
        assert!(longest <= 124, "{name}: a line of {longest} characters");
    }
}

/// The longest file that a reader takes in; a longer one holds two things.
const MOST_LINES: usize = 400;

#[test]
fn files_have_at_most_400_lines() {
    let sources = sources();
    assert!(sources.len() > 300, "{}", sources.len());
    let long: Vec<_> = sources
        .iter()
        .map(|path| (read(path).lines().count(), path))
        .filter(|(lines, _)| *lines > MOST_LINES)
        .map(|(lines, path)| format!("{}: {lines} lines; split it", path.display()))
        .collect();
    assert_eq!(long, [""; 0]);
}

#[test]
fn test_commands_name_packages_and_programs() {
    let mut packages = BTreeMap::new();
    let crates = fs::read_dir(root().join("crates")).expect("crates");
    for folder in crates.map(|entry| entry.expect("a crate").path()).chain([root().join("e2e")]) {
        let manifest = read(&folder.join("Cargo.toml"));
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = ")).expect("a name");
        packages.insert(name.trim_matches('"').to_owned(), folder);
    }
    let contributing = read(&root().join("CONTRIBUTING.md"));
    let package = Regex::new(r"cargo test -p ([\w-]+)").expect("a pattern");
    let program = Regex::new(r"--test ([\w-]+)(?: (\w+)::)?").expect("a pattern");
    let unit = Regex::new(r"--lib (\w+)::").expect("a pattern");
    let mut seen = 0;
    for line in contributing.lines() {
        let Some(found) = package.captures(line) else { continue };
        let folder = packages.get(&found[1]).unwrap_or_else(|| panic!("no package {}", &found[1]));
        let is_module = |parent: &Path, name: &str| {
            parent.join(format!("{name}.rs")).is_file() || parent.join(name).join("mod.rs").is_file()
        };
        for found in program.captures_iter(line) {
            let tests = folder.join("tests");
            let file = tests.join(format!("{}.rs", &found[1]));
            assert!(file.is_file() || tests.join(&found[1]).join("main.rs").is_file(), "{line}");
            if let Some(module) = found.get(2) {
                assert!(is_module(&tests.join(&found[1]), module.as_str()), "{line}");
            }
            seen += 1;
        }
        // A filter that no test matches runs none, and succeeds.
        for found in unit.captures_iter(line) {
            assert!(is_module(&folder.join("src"), &found[1]), "{line}");
        }
    }
    assert!(seen > 10, "{seen}");
    for (package, folder) in packages {
        let name = folder.file_name().expect("a name").to_string_lossy();
        let place = if name == "e2e" { "`e2e`".to_owned() } else { format!("`crates/{name}`") };
        assert!(contributing.contains(&place), "{package} is not listed");
    }
}

/// The anchor that a heading has on the code host.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
}

#[test]
fn relative_links_lead_to_files_and_headings() {
    let pages = pages();
    let links = find(&pages, r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)");
    assert!(links.len() > 25, "{}", links.len());
    for (page, found) in links {
        let from = root().join(page);
        let target = match &found[1] {
            "" => from.clone(),
            path => from.parent().expect("a folder").join(path),
        };
        assert!(target.exists(), "{page}: there is no {}", &found[1]);
        if let Some(fragment) = found.get(2) {
            let text = read(&target);
            let mut headings = text.lines().filter(|line| line.starts_with('#'));
            let is_there = headings.any(|line| anchor(line.trim_start_matches('#')) == fragment.as_str());
            assert!(is_there, "{page}: {} has no heading #{}", &found[1], fragment.as_str());
        }
    }
}

#[test]
fn records_are_numbered_and_listed() {
    let index = read(&root().join("docs/adr/README.md"));
    let mut names: Vec<_> = records().filter(|name| name != "README.md").collect();
    names.sort();
    assert!(names.len() > 8, "{names:?}");
    for (place, name) in names.iter().enumerate() {
        let number = format!("{:04}", place + 1);
        let text = read(&root().join("docs/adr").join(name));
        let title = text.lines().next().and_then(|line| line.strip_prefix(&format!("# {number}: ")));
        let title = title.unwrap_or_else(|| panic!("{name} does not begin with # {number}: and a title"));
        assert!(name.starts_with(&number), "{name}");
        assert!(
            index.contains(&format!("| [{number}]({name}) | {title} |")),
            "the index has no row for {name}"
        );
        for part in ["Status: ", "## Context", "## Decision", "## Consequences"] {
            assert!(text.lines().any(|line| line.starts_with(part)), "{name} has no {part}");
        }
    }
}

#[test]
fn owned_paths_exist() {
    let owners = read(&root().join(".github/CODEOWNERS"));
    let paths = owners.lines().filter_map(|line| line.strip_prefix('/')?.split_whitespace().next());
    let paths: Vec<_> = paths.filter(|path| !path.contains('*')).collect();
    assert!(paths.len() > 2, "{paths:?}");
    for path in paths {
        assert!(root().join(path).exists(), "CODEOWNERS: there is no {path}");
    }
}

#[test]
fn list_of_modules_is_current() {
    let output = Command::new(root().join("hack/modules")).arg("--check").output().expect("hack/modules");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
