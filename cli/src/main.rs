//! genkan
fn main() {}
