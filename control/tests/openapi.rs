//! docs/openapi.json says what the code says.

use std::path::Path;

use genkan_control::server::openapi;

#[test]
fn the_document_says_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    if std::env::var_os("GENKAN_BLESS").is_some() {
        std::fs::write(&path, openapi()).expect("written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let remedy = "`GENKAN_BLESS=1 cargo test -p genkan-control --test openapi` writes what the code says";
    serde_json::from_str::<serde_json::Value>(&written).expect("JSON");
    assert!(written == openapi(), "docs/openapi.json is not what the code says; {remedy}");
}
