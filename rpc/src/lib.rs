//! The HTTP control plane
