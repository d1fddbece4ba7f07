//! The binary `kubectl-mesh`; see the library.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use kubectl_mesh::{Cli, Streams};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let terminal = io::stdout().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let mut out = BufWriter::new(io::stdout().lock());
    let mut err = BufWriter::new(io::stderr().lock());
    let outcome = kubectl_mesh::run(&cli, &mut Streams { out: &mut out, err: &mut err, colour, terminal });
    // A failure to flush has no stream left to report it on.
    let _ = out.flush();
    let _ = err.flush();
    outcome.exit_code()
}
