//! The machine on which figures were measured.

use std::fmt;
use std::fs::read_to_string;

use anyhow::Context;
use serde::Serialize;

/// The machine. Figures of different machines say little about operators.
#[derive(Debug, Serialize)]
pub(crate) struct Rig {
    /// Processors that this process may use.
    processors: usize,
    /// Name of the processor, as the kernel has it.
    processor: String,
    /// Memory, in KiB.
    memory: u64,
    /// Version of the kernel.
    kernel: String,
    /// Processes that ran or waited to run during the last minute: above zero the machine was not quiet.
    load: f64,
}

impl Rig {
    /// Looks at this machine.
    pub(crate) fn look() -> anyhow::Result<Self> {
        let after = |file: &str, name: &str| {
            let text = read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned())
        };
        let memory = after("/proc/meminfo", "MemTotal");
        let memory = memory.and_then(|text| text.trim_end_matches(" kB").parse().ok());
        let load = read_to_string("/proc/loadavg")?;
        Ok(Self {
            processors: std::thread::available_parallelism()?.get(),
            processor: after("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            memory: memory.context("no MemTotal in /proc/meminfo")?,
            kernel: read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load: load.split(' ').next().and_then(|text| text.parse().ok()).context("no load")?,
        })
    }
}

impl fmt::Display for Rig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processors, processor, memory, kernel, load } = self;
        let gib = memory >> 20;
        write!(
            f,
            "{processors} processors ({processor}), {gib} GiB, Linux {kernel}, load {load} at the start"
        )
    }
}
