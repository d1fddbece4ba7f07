//! Log configuration of the runners: its text, and the commands that write it.

pub(crate) mod java;
pub(crate) mod python;
mod rotation;
#[cfg(test)]
mod tests;
