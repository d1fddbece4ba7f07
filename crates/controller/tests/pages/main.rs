//! What the pages say of the program, its sources and its tests is so.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says so when it fails")]

mod contributors;
mod users;
