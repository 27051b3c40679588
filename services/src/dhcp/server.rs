//! The server of a lan.
