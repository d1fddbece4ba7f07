//! function-mesh-workloads
