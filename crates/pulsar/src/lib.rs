//! Asks Pulsar over HTTP: the admin REST API, and the metrics of brokers and pods. Read-only.
//!
//! URLs come from objects of users, so nothing here trusts them: an answer has a deadline and a largest size, a redirect
//! stays among the brokers of the cluster, loopback and link-local addresses are never asked, and credentials go only to the
//! servers that the administrator named in the access file ([`AccessFile`]).

mod access;
mod address;
mod body;
mod client;
mod tls;
mod web_url;

pub use access::{Access, AccessError, AccessFile, ClusterAccess, Token};
pub use address::is_allowed_address;
pub use body::{Keep, KeptLines};
pub use client::{Answer, Client, FetchError, Limits};
pub use web_url::{WebUrl, WebUrlError};
