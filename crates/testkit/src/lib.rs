//! function-mesh-testkit
