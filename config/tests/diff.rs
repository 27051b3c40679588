//! Differences between configurations, in words.

use genkan_config::{Loaded, diff};

const OLD: &str = r#"
[wan]
device = "eth0"
address = "203.0.113.1/24"
gateway = "203.0.113.2"
addresses = ["203.0.113.5"]
[[lan]]
name = "home"
device = "eth1"
address = "192.168.0.1/24"
[[lan]]
name = "guest"
device = "eth2"
address = "192.168.1.1/24"
reaches = []
[[route]]
to = "10.20.0.0/16"
via = "192.168.0.254"
[nat]
max_sessions = 1000
[[host]]
name = "nas"
address = "192.168.0.10"
[[forward]]
name = "web"
protocol = "tcp"
port = 80
to = "nas:8080"
[[forward]]
name = "game"
protocol = ["tcp", "udp"]
port = "10000-10010"
to = "192.168.0.20"
"#;

#[track_caller]
fn load(text: &str) -> Loaded {
    genkan_config::parse(text, "genkan.toml")
        .unwrap_or_else(|errors| panic!("{}", genkan_config::render(&errors, false)))
}

/// The differences after some replacements in the old file.
#[track_caller]
fn changed(replacements: &[(&str, &str)]) -> String {
    let mut text = OLD.to_owned();
    for (old, new) in replacements {
        assert!(text.contains(old), "{old}");
        text = text.replace(old, new);
    }
    diff(&load(OLD), &load(&text)).to_string()
}

#[test]
fn nothing() {
    assert_eq!(changed(&[("[nat]", "# A comment\n[nat]\nhairpin = true")]), "");
    assert!(diff(&load(OLD), &load(OLD)).is_empty());
}

#[test]
fn values() {
    assert_eq!(
        changed(&[
            ("gateway = \"203.0.113.2\"\n", "ping = false\n"),
            ("[\"203.0.113.5\"]", "[\"203.0.113.5\", \"203.0.113.6\"]"),
            ("reaches = []", "reaches = [\"home\"]"),
            ("via = \"192.168.0.254\"", "via = \"192.168.0.253\""),
            ("max_sessions = 1000", "max_sessions = 900\nports = \"2000-3999\"\ntimeouts.udp = \"2m\""),
            ("name = \"nas\"\n", "name = \"nas\"\nfiltering = \"endpoint-independent\"\n"),
        ]),
        "wan: gateway 203.0.113.2 -> none\n\
         wan: addresses [203.0.113.5] -> [203.0.113.5, 203.0.113.6]\n\
         wan: ping true -> false\n\
         lan guest: reaches none -> every lan\n\
         route 10.20.0.0/16: via 192.168.0.254 -> 192.168.0.253\n\
         nat: ports 1024-65535 -> 2000-3999\n\
         nat: max_sessions 1000 -> 900\n\
         nat: timeouts.udp 5m -> 2m\n\
         host nas: filtering none -> endpoint-independent\n"
    );
}

#[test]
fn forwards() {
    assert_eq!(
        changed(&[
            (
                "port = 80\nto = \"nas:8080\"",
                "port = [80, 443]\nto = \"nas\"\nfrom = [\"198.51.100.0/24\"]\n\
                 max_sessions = 5000\nmax_new_per_source = \"5/s\""
            ),
            ("name = \"game\"", "name = \"play\""),
            (
                "to = \"192.168.0.20\"",
                "to = \"192.168.0.20:20000\"\nexpires = 2030-01-01T00:00:00Z\nenabled = false\n\
                 schedule = \"sat,sun 9:00-24:00\""
            ),
        ]),
        "forward game: removed\n\
         forward web: port 80 -> 80,443\n\
         forward web: to 192.168.0.10:8080 -> 192.168.0.10\n\
         forward web: from everybody -> [198.51.100.0/24]\n\
         forward web: max_sessions none -> 5000\n\
         forward web: max_new_per_source none -> 5/s\n\
         forward play: added: protocol tcp+udp, port 10000-10010, to 192.168.0.20:20000-20010, from everybody, \
         enabled false, expires 2030-01-01T00:00:00Z, schedule Sat-Sun 09:00-24:00, log false\n"
    );
    // A host's new address is a new target.
    assert_eq!(
        changed(&[("address = \"192.168.0.10\"", "address = \"192.168.0.11\"")]),
        "host nas: address 192.168.0.10 -> 192.168.0.11\n\
         forward web: to 192.168.0.10:8080 -> 192.168.0.11:8080\n"
    );
}

#[test]
fn the_order_of_forwards_matters() {
    let at = OLD.find("[[forward]]").expect("a forward");
    let second = OLD.rfind("[[forward]]").expect("a forward");
    let swapped = format!("{}{}{}", &OLD[..at], &OLD[second..], &OLD[at..second]);
    assert_eq!(diff(&load(OLD), &load(&swapped)).to_string(), "forward: the order is different\n");
}

#[test]
fn dmz() {
    let more = format!("{OLD}[dmz]\nto = \"nas\"\n");
    assert_eq!(diff(&load(OLD), &load(&more)).to_string(), "dmz: to none -> 192.168.0.10\n");
}

#[test]
fn what_needs_a_restart() {
    for (replacement, line) in [
        (("device = \"eth0\"", "device = \"eth9\""), "wan: device eth0 -> eth9"),
        (("device = \"eth1\"", "device = \"eth9\""), "lan home: device eth1 -> eth9"),
        (("device = \"eth2\"", "device = \"eth2\"\nbackend = \"tap\""), "lan guest: backend auto -> tap"),
        (("[nat]", "[router]\ntun = \"genkan0\"\n[nat]"), "router: tun none -> genkan0"),
        (
            ("[nat]", "[services]\nsocket = \"/run/g.sock\"\n[nat]"),
            "services: socket /run/genkan/control.sock -> /run/g.sock",
        ),
        (
            ("[nat]", "[services]\nstate = \"/var/lib/g\"\n[nat]"),
            "services: state /var/lib/genkan -> /var/lib/g",
        ),
    ] {
        assert_eq!(changed(&[replacement]), format!("{line} (needs a restart)\n"));
    }
    assert_eq!(
        changed(&[("[nat]", "[log]\nlevel = \"debug\"\nformat = \"json\"\n[nat]")]),
        "log: level info -> debug\nlog: format auto -> json\n"
    );
    // The record of translations begins, moves and ends while the router runs.
    assert_eq!(
        changed(&[(
            "[nat]",
            "[log]\nnat_events = \"/var/log/genkan/nat.jsonl\"\nnat_destinations = true\n[nat]"
        )]),
        "log: nat_events none -> /var/log/genkan/nat.jsonl\nlog: nat_destinations false -> true\n"
    );
    let tun = OLD.replace("[nat]", "[router]\ntun = \"genkan0\"\n[nat]");
    let metrics = format!("{tun}[metrics]\nlisten = \"192.168.0.1:9090\"\n");
    assert_eq!(
        diff(&load(&tun), &load(&metrics)).to_string(),
        "metrics: listen none -> [192.168.0.1:9090]\n"
    );
    // The session table grows while the router runs.
    let larger = changed(&[("max_sessions = 1000", "max_sessions = 10_000")]);
    assert_eq!(larger, "nat: max_sessions 1000 -> 10_000\n");
    assert_eq!(
        changed(&[("name = \"guest\"", "name = \"visitors\"")]),
        "lan guest: removed (needs a restart)\n\
         lan visitors: added: device eth2, backend auto, address 192.168.1.1/24, mtu 1500 (needs a restart)\n"
    );
    let new = load(&OLD.replace("device = \"eth0\"", "device = \"eth9\""));
    assert!(diff(&load(OLD), &new).needs_restart());
    let new = load(&OLD.replace("port = 80", "port = 81"));
    assert!(!diff(&load(OLD), &new).needs_restart());
}

/// That a password is another one is told, and neither of them.
#[test]
fn passwords_stay_untold() {
    let with = |token: &str, url: &str, name: &str| {
        let base = "[wan]\ndevice = \"eth0\"\naddress = \"203.0.113.1/24\"\n[[lan]]\ndevice = \"eth1\"\n\
                    address = \"192.168.0.1/24\"\n[router]\ntun = \"genkan0\"\n";
        let text = format!(
            "{base}[[ddns]]\nprovider = \"dyndns2\"\nnames = [\"{name}\"]\ntoken = \"{token}\"\nurl = \"{url}\"\n"
        );
        genkan_config::parse(&text, "genkan.toml").expect("no errors")
    };
    let (one, two) = ("https://one.example.com/", "https://two.example.com/?token=hunter4");
    let changes = |new| genkan_config::diff(&with("hunter2", one, "a.example.com"), &new).to_string();
    assert_eq!(changes(with("hunter2", one, "a.example.com")), "");
    assert_eq!(
        changes(with("hunter3", two, "a.example.com")),
        "ddns a.example.com: url changed\nddns a.example.com: password changed\n"
    );
    assert_eq!(
        changes(with("hunter3", two, "b.example.com")),
        "ddns a.example.com: removed\nddns b.example.com: added: provider dyndns2, names [b.example.com], \
         source wan, allow_private false\n"
    );
}
