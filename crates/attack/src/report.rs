//! The results table and the goals.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::attacks::Attack;
use crate::measure::Delays;
use crate::program::Usage;

/// Goal: longest time without a successful probe, in seconds.
const MAX_SILENCE: f64 = 1.0;
/// Goal: longest time until the bystander's StatefulSet exists, in seconds.
const MAX_RECONCILE: f64 = 3.0;
/// Goal: longest time until the bystander's Function is admitted, in seconds.
const MAX_ADMISSION: f64 = 1.0;

/// Goal of one attack: the number of Events. It edits two objects, and client-go allows a burst of 25 Events per
/// object.
const MAX_EVENTS: (&str, usize) = ("broken-specs", 70);

/// Results of one attack.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    weakness: &'static str,
    description: &'static str,
    controller: Program,
    webhook: Program,
    #[serde(flatten)]
    delays: Delays,
    events: usize,
    /// Outcomes of the attackers' requests, and their counts.
    attackers: BTreeMap<String, usize>,
    /// The missed goals.
    pub(crate) missed: Vec<String>,
}

#[derive(Clone, Debug, serde::Serialize)]
struct Program {
    peak_bytes: u64,
    restarts: u64,
    oom_kills: u64,
}

impl Program {
    /// Table cell: "OOM" after an OOM kill, since the peak is unknown then.
    fn peak(&self) -> String {
        if self.oom_kills > 0 { "OOM".to_owned() } else { mib(self.peak_bytes).to_string() }
    }
}

impl Row {
    pub(crate) fn new(
        attack: &Attack,
        delays: Delays,
        usage: [Usage; 2],
        events: usize,
        attackers: BTreeMap<String, usize>,
    ) -> Self {
        let [controller, webhook] = usage.map(|usage| Program {
            peak_bytes: usage.peak,
            restarts: usage.restarts,
            oom_kills: usage.oom_kills,
        });
        Self {
            name: attack.name,
            weakness: attack.weakness,
            description: attack.description,
            controller,
            webhook,
            delays,
            events,
            attackers,
            missed: Vec::new(),
        }
    }

    fn silence(&self, program: &str) -> f64 {
        let probes = self.delays.silence.iter().filter(|(name, _)| name.starts_with(program));
        probes.map(|(_, silence)| *silence).fold(0.0, f64::max)
    }

    /// Records the missed goals. The delays of the API server and of this process's timer are added to the time limits:
    /// the programs cannot compensate for them.
    pub(crate) fn check_goals(&mut self, limits: [u64; 2], factor: f64) {
        let late = self.delays.timer;
        let server = self.delays.api_server;
        let mut missed = Vec::new();
        for (name, program, limit) in
            [("controller", &self.controller, limits[0]), ("webhook", &self.webhook, limits[1])]
        {
            if program.peak_bytes >= limit / 2 {
                missed.push(format!("{name}: peak {} of {} MiB", mib(program.peak_bytes), mib(limit)));
            }
            if program.restarts > 0 {
                missed.push(format!("{name}: {} restarts", program.restarts));
            }
            let silence = self.silence(name);
            if silence >= MAX_SILENCE * factor + late {
                missed.push(format!("{name}: no successful probe for {silence:.1} s"));
            }
        }
        // Creating a StatefulSet takes several sequential requests.
        if self.delays.reconcile >= MAX_RECONCILE * factor + 3.0 * server {
            missed.push(format!("bystander's StatefulSet after {:.1} s", self.delays.reconcile));
        }
        if self.delays.missing > 0 {
            missed.push(format!("{} StatefulSets of the bystander missing", self.delays.missing));
        }
        if self.delays.admission >= MAX_ADMISSION * factor + server {
            missed.push(format!("bystander's admission after {:.1} s", self.delays.admission));
        }
        if self.name == MAX_EVENTS.0 && self.events > MAX_EVENTS.1 {
            missed.push(format!("{} Events, limit is {}", self.events, MAX_EVENTS.1));
        }
        self.missed = missed;
    }

    fn line(&self) -> String {
        let late = if self.delays.missing > 0 { "> " } else { "" };
        let verdict = if self.missed.is_empty() { "met" } else { "**missed**" };
        format!(
            "| {} | {} | {} | {} | {:.1} s | {:.1} s | {late}{:.1} s | {:.1} s | {:.1} s | {} | {} | {verdict} |",
            self.name,
            self.weakness,
            self.controller.peak(),
            self.webhook.peak(),
            self.silence("controller"),
            self.silence("webhook"),
            self.delays.reconcile,
            self.delays.admission,
            self.delays.api_server,
            restarts(&self.controller, &self.webhook),
            self.events,
        )
    }

    /// The row, with request outcomes and missed goals.
    pub(crate) fn notes(&self) -> String {
        let mut text = format!("    {}\n", self.line());
        let attackers: Vec<_> =
            self.attackers.iter().map(|(what, count)| format!("{count} × {what}")).collect();
        _ = writeln!(text, "    attackers: {}", attackers.join(", "));
        for (failure, count) in &self.delays.failed {
            _ = writeln!(text, "    bystander: {count} × {failure}");
        }
        for missed in &self.missed {
            _ = writeln!(text, "    missed: {missed}");
        }
        text
    }
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

fn restarts(controller: &Program, webhook: &Program) -> String {
    let of = |name: &str, program: &Program| match (program.restarts, program.oom_kills) {
        (0, _) => None,
        (restarts, 0) => Some(format!("{name} {restarts}")),
        (restarts, kills) => Some(format!("{name} {restarts} ({kills} OOM)")),
    };
    let both: Vec<_> = [of("controller", controller), of("webhook", webhook)].into_iter().flatten().collect();
    if both.is_empty() { "0".to_owned() } else { both.join(", ") }
}

/// The table of all attacks.
pub(crate) fn table(rows: &[Row], limits: [u64; 2]) -> String {
    let [controller, webhook] = limits.map(mib);
    let mut text = format!(
        "| attack | weakness | controller, MiB of {controller} | webhook, MiB of {webhook} | controller silent | webhook silent | bystander's StatefulSet | bystander's admission | API server alone | restarts | Events | goals |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|---|---:|---|\n"
    );
    for row in rows {
        _ = writeln!(text, "{}", row.line());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attacks::ATTACKS;

    fn row(peak: u64, restarts: u64, delays: Delays) -> Row {
        let usage = Usage { peak, restarts, ..Usage::default() };
        let mut row = Row::new(&ATTACKS[0], delays, [usage.clone(), usage], 0, BTreeMap::new());
        row.check_goals([256 << 20, 128 << 20], 1.0);
        row
    }

    #[test]
    fn reports_each_missed_goal() {
        assert_eq!(row(60 << 20, 0, Delays::default()).missed, Vec::<String>::new());
        assert_eq!(row(64 << 20, 0, Delays::default()).missed, ["webhook: peak 64 of 128 MiB"]);
        assert_eq!(row(128 << 20, 0, Delays::default()).missed.len(), 2);
        assert_eq!(row(0, 1, Delays::default()).missed.len(), 2);
        let silent = Delays { silence: [("webhook /healthz".to_owned(), 1.5)].into(), ..Delays::default() };
        assert_eq!(row(0, 0, silent.clone()).missed, ["webhook: no successful probe for 1.5 s"]);
        // The timer was late by the same time: the machine is slow, not the program.
        assert_eq!(row(0, 0, Delays { timer: 0.6, ..silent }).missed, Vec::<String>::new());
        let slow = Delays { reconcile: 3.5, admission: 1.2, missing: 1, ..Delays::default() };
        assert_eq!(row(0, 0, slow.clone()).missed.len(), 3);
        assert_eq!(row(0, 0, Delays { api_server: 0.5, missing: 0, ..slow }).missed, Vec::<String>::new());
    }

    #[test]
    fn rows_have_as_many_cells_as_the_header() {
        let table = table(&[row(0, 2, Delays::default())], [256 << 20, 128 << 20]);
        let cells: Vec<_> = table.lines().map(|line| line.matches('|').count()).collect();
        assert_eq!(cells, [13, 13, 13]);
    }
}
