//! kubectl-mesh
