//! The documents keep up with the program: what it can say is explained.

use function_mesh_api::types::Phase;

const TROUBLESHOOTING: &str = include_str!("../../../docs/troubleshooting.md");
const STEERING: &str = include_str!("../../../docs/steering.md");

const PHASES: [Phase; 8] = [
    Phase::Pending,
    Phase::Progressing,
    Phase::Ready,
    Phase::Degraded,
    Phase::Paused,
    Phase::Suspended,
    Phase::Deleting,
    Phase::Invalid,
];

/// Texts between double quotes in these sources that stand in the place of a reason.
fn reasons(source: &str) -> Vec<&str> {
    let capitalised = |text: &&str| {
        text.starts_with(|first: char| first.is_ascii_uppercase())
            && text.chars().all(|c| c.is_ascii_alphanumeric())
    };
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let calls = code
        .split(['\n', ';'])
        .filter(|line| line.contains("fact(") || line.contains("publish(") || line.contains("tell("));
    calls.flat_map(|line| line.split('"').skip(1).step_by(2)).filter(capitalised).collect()
}

#[test]
fn phases_and_failure_reasons_are_documented() {
    for phase in PHASES {
        assert!(TROUBLESHOOTING.contains(&format!("\n### {phase}\n")), "{phase}");
    }
    let sources = [
        include_str!("../src/mesh/status.rs"),
        include_str!("../src/mesh/mod.rs"),
        include_str!("../src/component/mod.rs"),
        include_str!("../src/component/report.rs"),
        include_str!("../src/component/cleanup_step.rs"),
        include_str!("../../kube/src/events.rs"),
    ];
    // Conditions themselves, actions of events, and states in which all is well.
    let unsaid = [
        "Ready",
        "Progressing",
        "Degraded",
        "Paused",
        "Valid",
        "Apply",
        "Report",
        "CleanUp",
        "Release",
        "Read",
    ];
    let well = ["Settled", "NoTrouble", "NothingHeldBack", "RulesKept", "ComponentsChanging"];
    let found: Vec<_> = sources
        .into_iter()
        .flat_map(reasons)
        .filter(|it| !unsaid.contains(it) && !well.contains(it))
        .collect();
    assert!(found.len() > 8, "{found:?}");
    for reason in found {
        assert!(TROUBLESHOOTING.contains(&format!("`{reason}`")), "{reason}");
    }
}

#[test]
fn annotations_are_documented() {
    let labels = include_str!("../../api/src/labels.rs");
    let steering = ["MANAGED", "PAUSE_ROLLOUT", "NEED_CLEANUP", "SUSPEND", "RESTARTED_AT"];
    for name in steering {
        let line = labels.lines().find(|line| line.contains(&format!("const {name}:"))).expect(name);
        let value = line.split('"').nth(1).expect("a value");
        assert!(STEERING.contains(&format!("`{value}`")), "{value}");
    }
}

/// Each weakness has a row in docs/security.md, and each test that is named there is a test in the file that is named.
#[test]
fn security_rows_name_existing_tests() {
    let security = include_str!("../../../docs/security.md");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let row = |number: u32| security.lines().find(|line| line.starts_with(&format!("| S{number} |")));
    for number in 1..=23 {
        let row = row(number).unwrap_or_else(|| panic!("no row for S{number}"));
        let cell = row.split(" | ").nth(2).unwrap_or_default();
        let tests: Vec<_> = cell.split("<br>").filter_map(|test| test.split_once(" in ")).collect();
        assert!(!tests.is_empty() || cell == "none yet", "S{number} names no test: {cell}");
        for (name, file) in tests {
            let source =
                std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            let name = name.trim_matches('`');
            let before =
                source.split(&format!("fn {name}(")).next().filter(|before| before.len() < source.len());
            let before = before.unwrap_or_else(|| panic!("S{number}: {file} has no fn {name}"));
            // Its attribute, or the macro of properties, stands above it.
            let above: Vec<_> = before.lines().rev().take(6).collect();
            assert!(above.iter().any(|line| line.contains("test")), "S{number}: {name} in {file} is no test");
        }
    }
}
