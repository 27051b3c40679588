//! Where a forward leads: an address or the name of a host, with or without ports.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::address::{plain, single};
use super::name::HostName;
use super::ports::PortSpan;
use super::{Bad, Text, quoted};

/// The machine a rule leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    /// By address.
    Address(Ipv4Addr),
    /// By the name of its `[[host]]`.
    Name(String),
}

/// `to` of a forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The machine.
    pub(crate) machine: Machine,
    /// Its ports; `None`: the external ones.
    pub(crate) ports: Option<PortSpan>,
}

const ACCEPTED: &str = "an inside address or the name of a [[host]] is accepted, with or without :PORT";
const MACHINE: &str = "an inside address or the name of a [[host]] is accepted";

impl Machine {
    /// Reads it; `accepted` is said beside what is none.
    pub(crate) fn parse(text: &str, accepted: &'static str) -> Result<Machine, Bad> {
        // Host names begin with a letter, addresses with a digit.
        if text.starts_with(char::is_alphabetic) {
            if text.parse::<std::net::Ipv6Addr>().is_ok() {
                return Err(Bad::new("it is an IPv6 address, this version forwards IPv4", accepted));
            }
            let HostName(name) = HostName::parse(text).map_err(|bad| Bad::new(bad.what, accepted))?;
            return Ok(Machine::Name(name));
        }
        let address = plain(text, accepted)?;
        single(address)?;
        Ok(Machine::Address(address))
    }
}

impl Text for Target {
    const TAKES: &'static str = "an address or host name, with or without a port";
    const MANY: &'static str = "addresses or host names";

    fn parse(text: &str) -> Result<Target, Bad> {
        if text.parse::<std::net::Ipv6Addr>().is_ok() || text.starts_with('[') {
            return Err(Bad::new("it is an IPv6 address, this version forwards IPv4", ACCEPTED));
        }
        for scheme in ["http://", "https://", "tcp://", "udp://"] {
            if let Some(rest) = text.strip_prefix(scheme) {
                let bad = Bad::new("it is a URL, not a machine", ACCEPTED);
                let rest = rest.trim_end_matches('/');
                return Err(if Target::parse(rest).is_ok() { bad.fix(quoted(rest)) } else { bad });
            }
        }
        let Some((machine, ports)) = text.split_once(':') else {
            return Ok(Target { machine: Machine::parse(text, ACCEPTED)?, ports: None });
        };
        let machine = Machine::parse(machine, ACCEPTED)?;
        let ports = PortSpan::parse(ports).map_err(|bad| {
            // The fix of a port is no fix of the whole target.
            Bad {
                fix: None,
                label: "a port from 1 to 65535 or a run FROM-TO is accepted behind the `:`".into(),
                ..bad
            }
        })?;
        Ok(Target { machine, ports: Some(ports) })
    }
}

/// `to` of the DMZ: a machine, all ports of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DmzTarget(pub(crate) Machine);

impl Text for DmzTarget {
    const TAKES: &'static str = "an address or host name";
    const MANY: &'static str = "addresses or host names";

    fn parse(text: &str) -> Result<DmzTarget, Bad> {
        match Target::parse(text) {
            Ok(Target { machine, ports: None }) => Ok(DmzTarget(machine)),
            Ok(Target { ports: Some(ports), .. }) => {
                let machine = text.split(':').next().unwrap_or_default();
                Err(Bad::new("the DMZ host gets all ports", MACHINE)
                    .fix(quoted(machine))
                    .help(format!("or, for port {ports} alone, write a `[[forward]]`")))
            }
            Err(bad) => Err(Bad { label: MACHINE.into(), ..bad }),
        }
    }
}

impl JsonSchema for Target {
    fn schema_name() -> Cow<'static, str> {
        "Target".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An inside address or the name of a [[host]], with or without a port or a run of ports.",
            "type": "string",
            "pattern": "^[^:]+(: *[0-9]{1,5} *(- *[0-9]{1,5} *)?)?$",
            "examples": ["192.168.0.10", "192.168.0.10:8080", "nas:8080", "nas:10000-10010"],
        })
    }
}

impl JsonSchema for DmzTarget {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "DmzTarget".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[^:]+$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_machines_with_and_without_ports() {
        let address = Machine::Address(Ipv4Addr::new(192, 168, 0, 10));
        let run = |first, last| Some(PortSpan { first, last });
        for (text, machine, ports) in [
            ("192.168.0.10", address.clone(), None),
            ("192.168.0.10:8080", address.clone(), run(8080, 8080)),
            ("192.168.0.10:10-20", address, run(10, 20)),
            ("nas", Machine::Name("nas".into()), None),
            ("nas.lan:80", Machine::Name("nas.lan".into()), run(80, 80)),
            ("cafe", Machine::Name("cafe".into()), None),
        ] {
            assert_eq!(Target::parse(text), Ok(Target { machine, ports }), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            ":",
            ":80",
            "192.168.0.10:",
            "192.168.0.10:0",
            "192.168.0.10:http",
            "192.168.0.10:20-10",
            "192.168.0.256",
            "2001:db8::1",
            "[2001:db8::1]:80",
            "fe80::1",
            "my nas",
            "127.0.0.1:80",
            "224.0.0.1",
            "192.168.0.10/24",
        ] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            Target::parse("http://192.168.0.10:80/").expect_err("a URL").fix.as_deref(),
            Some("\"192.168.0.10:80\"")
        );
    }

    #[test]
    fn the_dmz_has_no_port() {
        assert!(DmzTarget::parse("192.168.0.50").is_ok());
        assert_eq!(
            DmzTarget::parse("192.168.0.50:80").expect_err("a port").fix.as_deref(),
            Some("\"192.168.0.50\"")
        );
    }
}
