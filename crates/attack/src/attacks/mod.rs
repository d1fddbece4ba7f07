//! The attacks on the weaknesses of docs/security.md, each with inputs of several depths, widths and sizes.

mod connections;
mod load;
mod managed_fields;
mod memory;
mod meshes;

use futures::future::BoxFuture;

use crate::target::Target;

/// An attack on the programs.
#[derive(Debug)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// Number of the weakness in docs/security.md.
    pub(crate) weakness: &'static str,
    pub(crate) description: &'static str,
    /// Whether it is part of the commit check (`--quick`).
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

/// All attacks, in table order. Those that leave many objects behind come last.
pub(crate) const ATTACKS: [Attack; 19] = attacks![
    "managed-fields-live" "S1" true managed_fields::live:
        "deep managedFields in six kinds while the controller runs, and repeated annotation patches",
    "managed-fields-start" "S1" true managed_fields::start:
        "the same objects, then a controller restart",
    "unadmitted" "S1" false managed_fields::unadmitted:
        "stored Functions that bypassed the webhook: 64 to 2000 levels, 1.3 MB of small values; patches and a restart",
    "slow-patterns" "S2" true meshes::patterns:
        "meshes of 3 × 100, 20 × 100 and 20 × 1000 patterns and topics, from clients with a timeout of 5 s",
    "stored-patterns" "S2" false meshes::stored:
        "30 stored meshes of 4 × 100 patterns and topics, and one of 20 × 1000",
    "near-misses" "S2" false meshes::near_misses:
        "1000 × 1000 topics of 690 letters with a common prefix, and 1000 × 1000 on one topic",
    "body" "S3" true memory::body:
        "unauthenticated bodies of 7 MiB of small values, 4 at a time",
    "dry-run" "S3" false memory::dry_run:
        "Functions of 2.9 MB of small values with dry-run, 2 at a time",
    "one-function" "S3" true memory::one_function:
        "one stored Function of 1.3 MB of small values, then a controller restart",
    "forty-functions" "S3" false memory::forty:
        "40 stored Functions of 100 KB of small values, then a controller restart",
    "plain-texts" "S3" false memory::plain_texts:
        "50 stored Functions of 1.4 MB of plain text, then a controller restart",
    "empty-items" "S3" false memory::empty_items:
        "lists of 1 MB of {} in functions, sinks, volumes and env: many violations",
    "slow-bodies" "S14" true connections::slow_bodies:
        "300 connections that send one byte of the body per second",
    "large-bodies" "S14" false connections::large_bodies:
        "40 connections that repeatedly send bodies of 7 MiB of plain text",
    "http2-streams" "S14" false connections::streams:
        "60 HTTP/2 connections with 200 unfinished bodies each",
    "metrics" "S18" false load::metrics:
        "8 clients that scrape /metrics of both programs without a pause, with 12 large Functions stored",
    "broken-specs" "S16" false load::broken:
        "2 stored Functions whose spec becomes invalid in a different way with each patch",
    "annotations" "S16" false load::annotations:
        "annotation patches of 300 Functions without a pause",
    "large-mesh" "S16" false load::large_mesh:
        "a mesh of 2000 components",
];
