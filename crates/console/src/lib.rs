//! The console: a page that shows running meshes, and the server behind it. Read-only.
//!
//! Two programs have it: `kubectl mesh ui` by [`local`], for its user alone, and `function-mesh-console` by [`cli`], for
//! users of the cluster.
//!
//! The pure part: [`store`] keeps the objects of the watches, [`seen`] leaves out what a viewer may not see, [`view`] turns the
//! rest into [`state::State`]s of head and items,
//! and [`feed`] numbers the differences between two of them. The other part does the I/O: [`watch`] fills the store,
//! [`hub`] publishes at most two updates a second to all viewers, and [`web`] serves the page and its data.
//!
//! ```text
//! API server ── watch ── store ── view ── feed ── events ── page
//! ```

pub mod cli;
pub mod feed;
pub mod history;
pub mod hub;
pub mod link;
pub mod local;
pub mod seen;
pub mod state;
pub mod store;
pub mod view;
pub mod visible;
pub mod watch;
pub mod web;
