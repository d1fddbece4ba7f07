//! The documents keep up with the program: what it can say is explained.

use function_mesh_api::conditions::Reason;
use function_mesh_api::types::Phase;

use crate::{read, root};

const TROUBLESHOOTING: &str = include_str!("../../../../docs/troubleshooting.md");
const ANNOTATIONS: &str = include_str!("../../../../docs/annotations.md");

#[test]
fn phases_and_failure_reasons_are_documented() {
    for phase in Phase::ALL {
        assert!(TROUBLESHOOTING.contains(&format!("\n### {phase}\n")), "{phase}");
    }
    let fine = [
        Reason::Pending,
        Reason::Degraded,
        Reason::PodsReady,
        Reason::Suspended,
        Reason::ComponentsReady,
        Reason::RolloutInProgress,
        Reason::Stable,
        Reason::AsExpected,
        Reason::NotPaused,
        Reason::ValidationSucceeded,
        Reason::Deleting,
    ];
    for reason in Reason::ALL.iter().filter(|reason| !fine.contains(reason)) {
        assert!(TROUBLESHOOTING.contains(&format!("`{reason}`")), "{reason}");
    }
}

#[test]
fn annotations_are_documented() {
    let labels = include_str!("../../../api/src/labels.rs");
    let documented = ["MANAGED", "PAUSE_ROLLOUT", "NEED_CLEANUP", "SUSPEND", "RESTARTED_AT"];
    for name in documented {
        let line = labels.lines().find(|line| line.contains(&format!("const {name}:"))).expect(name);
        let value = line.split('"').nth(1).expect("a value");
        assert!(ANNOTATIONS.contains(&format!("`{value}`")), "{value}");
    }
}

/// Each weakness has a row in docs/security.md, and each test that is named there is a test in the file that is named.
#[test]
fn security_rows_name_existing_tests() {
    let security = include_str!("../../../../docs/security.md");
    let row = |number: u32| security.lines().find(|line| line.starts_with(&format!("| S{number} |")));
    for number in 1..=23 {
        let row = row(number).unwrap_or_else(|| panic!("no row for S{number}"));
        let cell = row.split(" | ").nth(2).unwrap_or_default();
        let tests: Vec<_> = cell.split("<br>").filter_map(|test| test.split_once(" in ")).collect();
        assert!(!tests.is_empty() || cell == "none yet", "S{number} names no test: {cell}");
        for (name, file) in tests {
            let source = read(&root().join(file));
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
