//! The JSON Schema, and the example of every key in it.

use std::path::Path;

use genkan_config::Code;

use crate::{MINIMAL, address, load};

/// The keys of a table in the JSON Schema, which spells the wan out where it is used.
fn properties<'a>(
    schema: &'a serde_json::Value,
    table: &str,
) -> &'a serde_json::Map<String, serde_json::Value> {
    let table = if table == "Wan" { &schema["properties"]["wan"] } else { &schema["$defs"][table] };
    table["properties"].as_object().expect("a table of the schema")
}

fn example() -> (std::path::PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/home.toml");
    let text = std::fs::read_to_string(&path).expect("the example is in the tree");
    (path, text)
}

/// The `default`s of the JSON Schema, written out one by one, change nothing.
#[test]
fn schema_defaults_are_the_defaults() {
    let schema = genkan_config::schema_json();
    let mut checked = 0;
    for (table, header, required) in [
        ("Wan", "[wan]", "device = \"eth0\"\naddress = \"203.0.113.1/24\"\n"),
        ("Lan", "[[lan]]", "device = \"eth1\"\naddress = \"192.168.0.1/24\"\n"),
        ("Dhcp", "[lan.dhcp]", "pool = \"192.168.0.100-192.168.0.199\"\n"),
        ("RouterTable", "[router]", ""),
        ("Nat", "[nat]", ""),
        ("Timeouts", "[nat.timeouts]", ""),
        ("Forward", "[[forward]]", "name = \"a\"\nprotocol = \"tcp\"\nport = 80\nto = \"192.168.0.2\"\n"),
        (
            "Ddns",
            "[[ddns]]",
            "provider = \"rfc2136\"\nserver = \"192.0.2.53\"\nnames = [\"home.example.net\"]\n",
        ),
        ("Services", "[services]", ""),
        ("Log", "[log]", ""),
        ("Dns", "[router]\ntun = \"genkan0\"\n[dns]", "upstreams = [\"192.0.2.53\"]\n"),
    ] {
        let part = format!("{header}\n{required}");
        let rest = MINIMAL.replace(&part, "");
        let rest = if table == "Ddns" { format!("{rest}[router]\ntun = \"genkan0\"\n") } else { rest };
        let base = load(&format!("{rest}{part}"));
        for (key, property) in properties(&schema, table) {
            let Some(default) = property.get("default") else { continue };
            // JSON and TOML write these values alike.
            let with = load(&format!("{rest}{part}{key} = {default}\n"));
            assert_eq!(with.plan, base.plan, "{header} {key} = {default}");
            assert_eq!(with.config, base.config, "{header} {key} = {default}");
            checked += 1;
        }
    }
    assert_eq!(checked, 51, "a default is missing in the schema, or one is new: count it here");
}

#[test]
fn the_schema_has_no_null_and_knows_what_is_required() {
    let schema = genkan_config::schema_json();
    assert!(!schema.to_string().contains("null"));
    assert_eq!(schema["required"], serde_json::json!(["wan", "lan"]));
    assert_eq!(schema["$defs"]["Forward"]["required"], serde_json::json!(["name", "protocol", "port", "to"]));
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn the_example_has_no_warnings() {
    let (path, _) = example();
    let loaded = genkan_config::load(&path)
        .unwrap_or_else(|errors| panic!("{}", genkan_config::render(&errors, false)));
    assert_eq!(genkan_config::render(&loaded.warnings, false), "");
    assert_eq!(loaded.plan.lans.len(), 2);
    assert_eq!(loaded.plan.lans[0].reaches, [1]);
    assert!(loaded.plan.lans[1].reaches.is_empty());
    assert_eq!(loaded.plan.forwards.len(), 3);
    assert_eq!(
        loaded
            .places
            .file
            .line(loaded.places.position(&loaded.places.key("forward", 2, "").expect("it is there")).line),
        "[[forward]]"
    );
}

/// The DMZ of the example is a comment, because it is documented to warn.
#[test]
fn the_example_with_its_dmz_has_one_warning() {
    let (_, text) = example();
    let loaded = load(&text.replace("# [dmz]", "[dmz]").replace("# to = ", "to = "));
    assert_eq!(loaded.plan.dmz, Some(address("192.168.0.50")));
    let codes: Vec<Code> = loaded.warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, [Code::DmzOpen]);
}

/// Every key of the schema is in the example, so that the example shows all that works.
#[test]
fn the_example_shows_every_key() {
    let (_, text) = example();
    let text = text.replace("# [dmz]", "[dmz]").replace("# to = ", "to = ");
    let text = ["[wan.dhcp]", "hostname = ", "client_id = ", "vendor_class = ", "tls_ca = ", "block = "]
        .iter()
        .fold(text, |text, shown| text.replace(&format!("# {shown}"), shown));
    let schema = genkan_config::schema_json();
    for (table, header) in [
        ("Wan", "[wan]"),
        ("WanDhcp", "[wan.dhcp]"),
        ("Lan", "[[lan]]"),
        ("Dhcp", "[lan.dhcp]"),
        ("Route", "[[route]]"),
        ("Relayed", "[[relayed]]"),
        ("RouterTable", "[router]"),
        ("Nat", "[nat]"),
        ("Timeouts", "[nat.timeouts]"),
        ("Host", "[[host]]"),
        ("Forward", "[[forward]]"),
        ("Dmz", "[dmz]"),
        ("Services", "[services]"),
        ("Log", "[log]"),
        ("Metrics", "[metrics]"),
        ("Dns", "[dns]"),
    ] {
        let sections = text.split("\n[").filter(|section| format!("[{section}").starts_with(header));
        let lines: Vec<&str> = sections.flat_map(str::lines).collect();
        for key in
            properties(&schema, table).keys().filter(|key| !["timeouts", "dhcp"].contains(&key.as_str()))
        {
            let shown =
                lines.iter().any(|line| line.split('=').next().is_some_and(|name| name.trim() == *key));
            assert!(shown, "{header} {key} is not in examples/home.toml");
        }
    }
}

/// Comments, blanks and the order of keys carry no meaning.
#[test]
fn the_example_survives_without_its_comments() {
    let (_, text) = example();
    let bare: String = text
        .lines()
        .map(|line| line.split(" #").next().unwrap_or(line).trim())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    let (written, stripped) = (load(&text), load(&bare));
    assert_eq!(written.plan, stripped.plan);
    assert_eq!(written.config, stripped.config);
    assert!(genkan_config::diff(&written, &stripped).is_empty());
}
