//! Labs as TOML: what is read, and what a person is told about mistakes.

use std::time::Duration;

use genkan_config::lab_file::{self, Runs};

const SMALL: &str = r#"
[[network]]
name = "wan"
mtu  = 1400

[[network]]
name = "home"

[[gateway]]
name  = "router"
wan   = { network = "wan", address = "203.0.113.1/24", gateway = "203.0.113.2" }
lan   = [{ network = "home", address = "192.168.0.1/24", reaches = ["*"] }]
rules = '''
[dmz]
to = "192.168.0.10"
'''

[[host]]
name      = "outside"
network   = "wan"
address   = "203.0.113.2/24"
addresses = ["198.51.100.7", "203.0.113.9"]

[[host]]
name    = "nas"
network = "home"
address = "192.168.0.10/24"

[[link]]
name  = "wan"
from  = "outside"
delay = "20ms"
loss  = "0.5%"
rate  = "10mbit"
"#;

#[test]
fn a_lab_is_read_with_what_follows_from_it() {
    let lab = lab_file::parse(SMALL, "small.toml").expect("it is without mistakes");
    assert_eq!((lab.networks[0].mtu, lab.networks[1].mtu), (1400, 1500));
    let router = &lab.gateways[0];
    assert_eq!(router.runs, Runs::Genkan);
    assert_eq!(router.lans[0].device, "lan0");
    assert!(
        router.config.contains("reaches = [\"*\"]") && router.config.ends_with("to = \"192.168.0.10\"\n")
    );
    let outside: Vec<_> = lab.hosts[0].addresses.iter().map(ToString::to_string).collect();
    assert_eq!(outside, ["203.0.113.2/24", "198.51.100.7/32", "203.0.113.9/24"]);
    // Nobody else is there to be its gateway.
    assert_eq!(lab.hosts[0].gateway, Some("203.0.113.1".parse().expect("an address")));
    assert_eq!(lab.hosts[1].gateway, Some("192.168.0.1".parse().expect("an address")));
    let link = &lab.links[0];
    assert_eq!(
        (link.delay, link.loss, link.rate),
        (Some(Duration::from_millis(20)), Some(5_000), Some(10_000_000))
    );
    assert_eq!((link.jitter, link.from.as_deref()), (None, Some("outside")));
}

#[test]
fn mistakes_are_told_all_at_once_and_in_their_places() {
    let spoilt = SMALL
        .replace("mtu  = 1400", "mtu  = 14")
        .replace("name    = \"nas\"", "name    = \"my-nas\"")
        .replace("{ network = \"home\"", "{ network = \"hom\"")
        .replace("name  = \"wan\"", "name  = \"wan.outsid\"")
        .replace("delay = \"20ms\"", "latency = \"20ms\"")
        .replace("loss  = \"0.5%\"", "loss  = \"0.5\"")
        + "[[router]]\nname = \"second\"\n";
    let mistakes = lab_file::parse(&spoilt, "spoilt.toml").expect_err("they are mistakes");
    let said = genkan_config::render(&mistakes, false);
    for expected in [
        "`network.mtu` cannot be 14: it is too small",
        "--> spoilt.toml:4:8",
        "`host.name` cannot be \"my-nas\": a name in a lab has no `-`",
        "write `name = \"my_nas\"`",
        "there is no network `hom`",
        "there is no link `wan.outsid`",
        "did you mean `\"wan.outside\"`?",
        "there is no key `link.latency`",
        "did you mean `delay`?",
        "`link.loss` cannot be \"0.5\": it has no `%`",
        "there is no table `[[router]]`",
        "did you mean `[[gateway]]`?",
    ] {
        assert!(said.contains(expected), "{expected}\nis not in\n{said}");
    }
}

#[test]
fn links_of_a_lab_without_networks_are_told_so() {
    let mistakes = lab_file::parse("[[link]]\nname = \"internet\"\n", "links.toml").expect_err("no network");
    let said = genkan_config::render(&mistakes, false);
    assert!(said.contains("nothing is on any `[[network]]` of this file"), "{said}");
}

#[test]
fn contradictions_are_mistakes() {
    for (from, to, expected) in [
        ("address = \"192.168.0.10/24\"", "address = \"192.168.0.1/24\"", "two have the address 192.168.0.1"),
        ("name    = \"nas\"", "name    = \"router\"", "two are called `router`"),
        ("name = \"home\"", "name = \"wan\"", "two networks are called `wan`"),
        ("rules = '''", "runs  = \"kernel\"\nrules = '''", "only a Genkan takes rules"),
        ("from  = \"outside\"", "from  = \"nas\"", "`nas` is not on the network `wan`"),
        (
            "to = \"192.168.0.10\"\n",
            "to = \"192.168.0.10\"\nfrom = 1\n",
            "small.toml (configuration of router)",
        ),
    ] {
        let spoilt = SMALL.replacen(from, to, 1);
        assert_ne!(spoilt, SMALL, "{from}");
        let mistakes = lab_file::parse(&spoilt, "small.toml").expect_err(expected);
        let said = genkan_config::render(&mistakes, false);
        assert!(said.contains(expected), "{expected}\nis not in\n{said}");
    }
}
