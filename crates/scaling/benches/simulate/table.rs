//! The table of all runs, as text and for the documentation.

use std::fmt::Write as _;

use crate::world::Outcome;

/// The runs of one trace, ours first.
pub(crate) struct Rows {
    pub(crate) trace: &'static str,
    pub(crate) about: &'static str,
    pub(crate) runs: Vec<(&'static str, Outcome)>,
}

#[allow(clippy::cast_precision_loss)]
fn minutes(outcome: &Outcome) -> f64 {
    outcome.late_seconds as f64 / 60.0
}

#[allow(clippy::cast_precision_loss)]
fn hours(outcome: &Outcome) -> f64 {
    outcome.replica_seconds as f64 / 3600.0
}

/// A table in Markdown, which is readable as text too.
pub(crate) fn table(all: &[Rows]) -> String {
    let mut text = String::from(
        "| trace | autoscaler | minutes above 60 s | replica-hours | scale actions | expired | oldest |\n|---|---|--:|--:|--:|--:|--:|\n",
    );
    for rows in all {
        for (index, (name, outcome)) in rows.runs.iter().enumerate() {
            let trace = if index == 0 { rows.trace } else { "" };
            let _ = writeln!(
                text,
                "| {trace} | {name} | {:.1} | {:.1} | {} | {} | {} s |",
                minutes(outcome),
                hours(outcome),
                outcome.actions,
                outcome.expired,
                outcome.longest_lag
            );
        }
    }
    text
}

/// In how many traces each of our rows beats each rival: fewer minutes late, at no more replica-hours.
pub(crate) fn summary(all: &[Rows]) -> String {
    let mut text = String::from(
        "| | against | later less and not dearer | later less, dearer | not later less |\n|---|---|--:|---|---|\n",
    );
    let Some(first) = all.first() else { return text };
    let is_ours = |name: &str| name.starts_with("Function Mesh");
    for (own, (name, _)) in first.runs.iter().enumerate().filter(|(_, (name, _))| is_ours(name)) {
        for (rival, (other, _)) in first.runs.iter().enumerate().filter(|(_, (name, _))| !is_ours(name)) {
            let (mut better, mut dearer, mut later) = (0, Vec::new(), Vec::new());
            for rows in all {
                let (ours, theirs) = (&rows.runs[own].1, &rows.runs[rival].1);
                if ours.late_seconds >= theirs.late_seconds {
                    later.push(rows.trace.to_owned());
                } else if ours.replica_seconds > theirs.replica_seconds {
                    let more = (hours(ours) / hours(theirs) - 1.0) * 100.0;
                    dearer.push(format!("{} (+{more:.0} %)", rows.trace));
                } else {
                    better += 1;
                }
            }
            let list =
                |names: Vec<String>| if names.is_empty() { "–".to_owned() } else { names.join(", ") };
            let _ = writeln!(
                text,
                "| {name} | {other} | {better} of {} | {} | {} |",
                all.len(),
                list(dearer),
                list(later)
            );
        }
    }
    text
}

/// What each trace is.
pub(crate) fn traces(all: &[Rows]) -> String {
    let mut text = String::from("| trace | |\n|---|---|\n");
    for rows in all {
        let _ = writeln!(text, "| {} | {} |", rows.trace, rows.about);
    }
    text
}
