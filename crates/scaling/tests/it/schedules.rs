//! Schedules: what the rules of the API accept, the operator can parse.

use std::time::Duration;

use function_mesh_api::Function;
use function_mesh_api::validate::check_component;
use function_mesh_scaling::Schedule;
use proptest::prelude::*;
use serde_json::json;

/// Whether the rules accept a schedule.
fn is_accepted(start: &str, zone: &str) -> bool {
    let schedule = json!({ "start": start, "duration": "1h", "timeZone": zone });
    let function: Function = serde_json::from_value(json!({
        "metadata": { "name": "f" },
        "spec": {
            "className": "C", "java": { "jar": "f.jar" }, "input": { "topics": ["in"] },
            "pulsar": { "pulsarConfig": "p" }, "scaling": { "schedules": [schedule] },
        },
    }))
    .expect("a function");
    check_component(&function).violations.is_empty()
}

fn is_parsed(start: &str, zone: &str) -> bool {
    Schedule::parse(start, Duration::from_hours(1), zone).is_ok()
}

/// An item of a field, mostly a valid one.
fn item(most: u8, names: &'static [&'static str]) -> impl Strategy<Value = String> {
    let value = prop_oneof![
        8 => (0..=most).prop_map(|value| value.to_string()),
        2 => proptest::sample::select(names.to_vec()).prop_map(str::to_owned),
    ];
    let step = (1_u8..9).prop_map(|step| format!("/{step}"));
    let step = || prop_oneof![4 => Just(String::new()), 1 => step.clone()];
    prop_oneof![
        3 => Just("*".to_owned()),
        3 => value.clone(),
        2 => (value.clone(), value, step()).prop_map(|(from, to, step)| format!("{from}-{to}{step}")),
        1 => step().prop_map(|step| format!("*{step}")),
    ]
}

fn field(most: u8, names: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::collection::vec(item(most, names), 1..3).prop_map(|items| items.join(","))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn schedules_that_admission_accepts_are_parsed(
        minute in field(60, &["L"]),
        hour in field(24, &["W"]),
        day in field(32, &["L", "15W"]),
        month in field(13, &["JAN", "feb", "Dec"]),
        weekday in field(8, &["SUN", "mon", "SAT", "5L", "MON#2"]),
    ) {
        let start = [minute, hour, day, month, weekday].join(" ");
        prop_assert!(!is_accepted(&start, "UTC") || is_parsed(&start, "UTC"), "{start}");
    }
}

#[test]
fn usual_schedules_are_accepted_and_parsed() {
    for start in [
        "0 8 * * MON-FRI",
        "*/5 * * * *",
        "30 2 29 2 *",
        "0 0 1,15 */3 *",
        "0 22 * * 5-7",
        "0 22 * * Fri-Sun",
        "0 0 31 1-12 sun",
    ] {
        assert!(is_accepted(start, "UTC") && is_parsed(start, "UTC"), "{start}");
    }
    for zone in ["UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "asia/tokyo", "Etc/GMT+5"] {
        assert!(is_accepted("0 8 * * *", zone) && is_parsed("0 8 * * *", zone), "{zone}");
    }
    for zone in ["", "Berlin", "Europe/Atlantis", "UTC+1", "../UTC"] {
        assert!(!is_accepted("0 8 * * *", zone) && !is_parsed("0 8 * * *", zone), "{zone}");
    }
}
