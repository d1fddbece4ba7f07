//! The attacks: the kinds of docs/security.md, each with inputs of several depths, widths and sizes.

mod connections;
mod crowds;
mod managed_fields;
mod memory;
mod meshes;

use futures::future::BoxFuture;

use crate::target::Target;

/// An attack on the programs.
#[derive(Debug)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// The weakness of docs/security.md that it is about.
    pub(crate) weakness: &'static str,
    pub(crate) description: &'static str,
    /// Whether it is one of the few that a commit must pass.
    pub(crate) is_quick: bool,
    pub(crate) run: fn(Target) -> BoxFuture<'static, ()>,
}

macro_rules! attacks {
    ($($name:literal $weakness:literal $is_quick:literal $run:path: $description:literal,)*) => {
        [$(Attack {
            name: $name,
            weakness: $weakness,
            description: $description,
            is_quick: $is_quick,
            run: |target| Box::pin($run(target)),
        },)*]
    };
}

/// All of them, in the order of the table. Those that leave much behind come last.
pub(crate) const ATTACKS: [Attack; 19] = attacks![
    "managed-fields-live" "S1" true managed_fields::live:
        "deep managedFields in six kinds while the controller runs, and a loop of annotations",
    "managed-fields-start" "S1" true managed_fields::start:
        "the same objects, and the controller starts anew",
    "unadmitted" "S1" false managed_fields::unadmitted:
        "stored Functions that no webhook saw: 64 to 2000 levels, 1.3 MB of small values; edits, and a start",
    "slow-patterns" "S2" true meshes::patterns:
        "meshes of 3 × 100, 20 × 100 and 20 × 1000 patterns and topics, from clients that leave after 5 s",
    "stored-patterns" "S2" false meshes::stored:
        "30 stored meshes of 4 × 100 patterns and topics, and one of 20 × 1000",
    "near-misses" "S2" false meshes::near_misses:
        "1000 × 1000 topics of 690 letters that are nearly the same, and 1000 × 1000 on one topic",
    "body" "S3" true memory::body:
        "bodies of 7 MiB of small values, without login, 4 at a time",
    "dry-run" "S3" false memory::dry_run:
        "Functions of 2.9 MB of small values that are not kept, 2 at a time",
    "one-function" "S3" true memory::one_function:
        "one Function of 1.3 MB of small values, sent and stored, and the controller starts anew",
    "forty-functions" "S3" false memory::forty:
        "40 Functions of 100 KB of small values, and the controller starts anew",
    "plain-texts" "S3" false memory::plain_texts:
        "50 Functions of 1.4 MB of plain text, and the controller starts anew",
    "empty-items" "S3" false memory::empty_items:
        "lists of 1 MB of {} in functions, sinks, volumes and env: many violations",
    "slow-bodies" "S14" true connections::slow_bodies:
        "300 connections that send a byte of the body a second",
    "large-bodies" "S14" false connections::large_bodies:
        "40 connections with bodies of 7 MiB of plain text, over and over",
    "http2-streams" "S14" false connections::streams:
        "60 connections of HTTP/2 with 200 unfinished bodies each",
    "metrics" "S18" false crowds::metrics:
        "both /metrics asked by 8 connections without a pause, beside 12 dear Functions",
    "broken-specs" "S16" false crowds::broken:
        "2 stored Functions whose specification is broken in other ways all the time",
    "annotations" "S16" false crowds::annotations:
        "300 Functions that are annotated without a pause",
    "large-mesh" "S16" false crowds::large_mesh:
        "a mesh of 2000 components",
];
