//! function-mesh-controller
