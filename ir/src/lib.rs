//! Fusion IR.
