//! loader/mapping
