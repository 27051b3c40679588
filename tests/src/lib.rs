//! The simulated lab that every test of this crate runs in; the tests themselves are the `[[test]]`
//! entries of the manifest.

#[path = "../lab/mod.rs"]
pub mod lab;
