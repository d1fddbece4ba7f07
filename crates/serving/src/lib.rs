//! function-mesh-serving
