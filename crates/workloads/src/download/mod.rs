//! Packages: how the code of a component gets into its container when it is not in the image.
//!
//! Either the main container downloads it before it starts the runner, or an init container downloads it to a volume
//! that both mount.

mod init_container;
mod script;

pub(crate) use init_container::{build_init_container, build_mount, build_volumes};
pub(crate) use script::{build_script, path};
