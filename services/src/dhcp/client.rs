//! The client on the wan.
