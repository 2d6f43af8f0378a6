//! runtime/meter
