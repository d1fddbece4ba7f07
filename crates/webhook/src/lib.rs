//! function-mesh-webhook
