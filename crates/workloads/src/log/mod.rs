//! Log configuration of the runners: the text, and the commands that put it in its place.

pub(crate) mod java;
pub(crate) mod python;
mod rotation;
#[cfg(test)]
mod tests;
