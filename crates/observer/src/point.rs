//! One point of a component's window: the sums over its topics and pods at one time.

use crate::{Monotonic, Reading, UnixMillis};

/// Sums of one round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When, on the operator's monotonic clock.
    pub at: Monotonic,
    /// When, on the operator's wall clock.
    pub wall: UnixMillis,
    /// Entries not acknowledged, with delayed and delivered ones.
    pub backlog: Reading<u64>,
    /// Entries not acknowledged, without delayed ones.
    pub ready_backlog: Reading<u64>,
    /// Messages delivered and not acknowledged.
    pub unacked: Reading<u64>,
    /// Messages published to the inputs, a second.
    pub in_rate: Reading<f64>,
    /// Messages delivered to the pods, a second, redelivered ones included. Written messages of a source.
    pub out_rate: Reading<f64>,
    /// Messages acknowledged, a second. The broker renews it once a minute.
    pub ack_rate: Reading<f64>,
    /// Messages redelivered, a second. The broker renews it once a minute.
    pub redelivery_rate: Reading<f64>,
    /// Age of the oldest message of the backlog, in seconds. Asked at most once a minute.
    pub lag: Reading<u64>,
    /// Ready pods.
    pub ready: u32,
    /// Messages that the pods processed, a second.
    pub processed_rate: Reading<f64>,
    /// Share of time that a pod spends in its function. Above 1 for asynchronous functions.
    pub busy: Reading<f64>,
    /// Exceptions since the last point.
    pub exceptions: Reading<u64>,
    /// Last acknowledgement, on the operator's wall clock.
    pub last_acked: Reading<UnixMillis>,
}
