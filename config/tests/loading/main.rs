//! What a file turns into.

use std::net::Ipv4Addr;
use std::time::Duration;

use genkan_config::{Code, Loaded};

mod keys;
mod messages;
mod schema;
mod services;

const MINIMAL: &str = r#"
[wan]
device = "eth0"
address = "203.0.113.1/24"
[[lan]]
device = "eth1"
address = "192.168.0.1/24"
"#;

#[track_caller]
fn load(text: &str) -> Loaded {
    genkan_config::parse(text, "genkan.toml")
        .unwrap_or_else(|errors| panic!("{}", genkan_config::render(&errors, false)))
}

fn minimal_and(more: &str) -> Loaded {
    load(&format!("{MINIMAL}{more}"))
}

fn address(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

/// Inline tables, dotted keys, quoted keys and Windows line ends are TOML too.
#[test]
fn other_ways_to_write_the_same() {
    let inline = load(
        "wan = { device = \"eth0\", address = '203.0.113.1/24' }\r\n\
         \"lan\" = [{ device = \"eth1\", address = \"192.168.0.1/24\" }]\r\n\
         nat.timeouts.udp = \"5m\"\r\n",
    );
    let plain = load(MINIMAL);
    assert_eq!(inline.plan, plain.plan);
    let with_mark = load(&format!("\u{feff}{MINIMAL}"));
    assert_eq!(with_mark.plan, plain.plan);
}

/// The worst for lint: every pair of forwards overlaps, and none of them settles it for good.
#[test]
fn many_overlapping_forwards() {
    let mut text = MINIMAL.to_owned();
    for index in 0..600_u32 {
        text.push_str(&format!(
            "[[forward]]\nname = \"f{index}\"\nprotocol = [\"tcp\", \"udp\"]\nport = \"{}-{}\"\nto = \"192.168.0.2\"\n\
             from = [\"10.{}.{}.0/24\"]\n",
            1 + index,
            60_000 + index,
            index / 250,
            index % 250,
        ));
    }
    text.push_str(&text.replace("name = \"f", "name = \"g").replacen(MINIMAL, "", 1));
    let start = std::time::Instant::now();
    let loaded = load(&text);
    assert_eq!(loaded.warnings.iter().filter(|warning| warning.code == Code::Shadowed).count(), 600);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

/// Ten thousand forwards load in a moment: the checks between them are no squares.
#[test]
fn many_forwards() {
    let mut text = MINIMAL.to_owned();
    for index in 0..10_000_u32 {
        let port = 1_024 + index;
        text.push_str(&format!(
            "[[forward]]\nname = \"f{index}\"\nprotocol = [\"tcp\", \"udp\"]\nport = {port}\n\
             to = \"192.168.0.{}:{port}\"\nfrom = [\"198.51.100.0/24\"]\n",
            2 + index % 200,
        ));
    }
    let start = std::time::Instant::now();
    let loaded = load(&text);
    assert_eq!(loaded.plan.forwards.len(), 10_000);
    // A debug build on a busy machine takes a good second; a square would take minutes.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

/// What passwords are in is nobody else's to read, and what is not there cannot be sent.
#[test]
fn files_of_passwords_are_looked_at() {
    use std::os::unix::fs::PermissionsExt;
    let folder = std::env::temp_dir().join(format!("genkan-secret-files-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    let (path, secret) = (folder.join("genkan.toml"), folder.join("token"));
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("it is ours");
    };
    let tun = "[router]\ntun = \"genkan0\"\n";
    let entry = "[[ddns]]\nprovider = \"duckdns\"\nnames = [\"a.duckdns.org\"]\n";
    let warnings = |key: &str| {
        std::fs::write(&path, format!("{MINIMAL}{tun}{entry}{key}\n")).expect("it is ours");
        let loaded = genkan_config::load(&path).expect("no errors");
        let shown = genkan_config::render(&loaded.warnings, false);
        assert!(!shown.contains("hunter2") && !format!("{loaded:?}").contains("Secret(\""), "{shown}");
        loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let inline = "token = \"hunter2\"";
    warnings(inline);
    mode(&path, 0o644);
    let [open] = &warnings(inline)[..] else { panic!("one warning") };
    assert!(open.contains("everybody on this machine can read the `ddns.token`"), "{open}");
    mode(&path, 0o640);
    assert!(warnings(inline).is_empty());

    let in_file = format!("token_file = \"{}\"", secret.display());
    let [missing] = &warnings(&in_file)[..] else { panic!("one warning") };
    assert!(
        missing.contains("`ddns.token_file` gives no password") && missing.contains("No such file"),
        "{missing}"
    );
    std::fs::write(&secret, "hunter2\n").expect("it is ours");
    mode(&secret, 0o644);
    let [open] = &warnings(&in_file)[..] else { panic!("one warning") };
    assert!(open.contains("everybody on this machine can read"), "{open}");
    mode(&secret, 0o600);
    assert!(warnings(&in_file).is_empty());
    let loaded = genkan_config::load(&path).expect("no errors");
    loaded.config.ddns[0].entry().expect("the password is there");
    std::fs::write(&secret, "two\nlines\n").expect("it is ours");
    assert!(loaded.config.ddns[0].entry().is_err());
    std::fs::remove_dir_all(&folder).expect("it is ours");
}

/// What the DNS service could not read is told before it is to.
#[test]
fn files_of_the_dns_service_are_looked_at() {
    let folder = std::env::temp_dir().join(format!("genkan-dns-files-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    let (path, list) = (folder.join("genkan.toml"), folder.join("blocked.txt"));
    std::fs::write(&list, "ads.example\n").expect("it is ours");
    let warnings = |keys: &str| {
        let dns = format!("[router]\ntun = \"genkan0\"\n[dns]\nupstreams = [\"9.9.9.9\"]\n{keys}\n");
        std::fs::write(&path, format!("{MINIMAL}{dns}")).expect("it is ours");
        let loaded = genkan_config::load(&path).expect("no errors");
        loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let (list, folder_shown) = (list.display(), folder.display());
    assert_eq!(warnings(&format!("block = [\"{list}\"]")), "");
    let shown =
        warnings(&format!("tls_ca = \"{folder_shown}/ca.pem\"\nblock = [\"{list}\", \"{folder_shown}\"]"));
    assert!(shown.contains(&format!("warning: `dns.tls_ca`: {folder_shown}/ca.pem is not there")), "{shown}");
    assert!(shown.contains(&format!("warning: `dns.block`: {folder_shown} is a directory")), "{shown}");
    assert_eq!(shown.lines().count(), 2, "{shown}");
    std::fs::remove_dir_all(&folder).expect("it is ours");
}
