//! The rules a person wrote.
