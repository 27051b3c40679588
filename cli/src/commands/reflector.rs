//! `genkan reflector`: the server that `genkan doctor --reflector` asks.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::daemon;
use crate::output::{Exit, Failure};
use crate::reflector::server::Places;
use crate::reflector::{self, service};

const AFTER_HELP: &str = "\
For a machine with a public address. Whoever runs `genkan doctor --reflector HOST` behind a NAT learns from it which ports
of the own address are open as seen from outside, and how the NAT behaves (RFC 5780). It tries ports at the address of the
asker only, who has to prove by a token that it is the own one; it never answers with more than it was asked with, and its
work and memory are bounded for each asker and in all. The protocol is in docs/reflector.md.

Listens on UDP at the port and the next one, and on TCP at the port. A second address is needed to tell all kinds of NAT
behaviour apart; --listen has to name the first one then. Started as root it becomes nobody. Logs to standard error or the
journal, as much as GENKAN_LOG says (debug: every message that is ignored, too). SIGTERM and SIGINT end it.

As a service: /etc/systemd/system/genkan-reflector.service
  [Unit]
  Description=Genkan reflector
  After=network-online.target
  Wants=network-online.target
  [Service]
  Type=notify
  ExecStart=/usr/bin/genkan reflector
  DynamicUser=yes
  Restart=on-failure
  MemoryMax=64M
  [Install]
  WantedBy=multi-user.target

Exit status: 0 ended by a signal, 1 could not start, 2 misuse.

Examples:
  genkan reflector
  genkan reflector --listen 192.0.2.10:3478 --second-address 192.0.2.11
  GENKAN_LOG=debug genkan reflector --listen 0.0.0.0:3500 --second-port 3600";

/// Be the far end for `genkan doctor --reflector`: try askers' own ports, and tell their address as seen
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Address and port to listen at
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, reflector::PORT))]
    listen: SocketAddrV4,
    /// The other port, for UDP [default: the one after the first]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    second_port: Option<u16>,
    /// Another address of this machine, for UDP
    #[arg(long, value_name = "ADDRESS")]
    second_address: Option<Ipv4Addr>,
    /// For tests and namespaces: serve askers at private, documentation and loopback addresses as well. Never on the internet
    #[arg(long)]
    lab: bool,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let places = places(arguments).map_err(|text| Failure::report(Exit::Misuse, format!("error: {text}")))?;
    daemon::start_log();
    service::run(places, arguments.lab)?;
    Ok(Exit::Done)
}

fn places(arguments: &Arguments) -> Result<Places, &'static str> {
    let first = arguments.listen;
    let other_port = arguments.second_port.or_else(|| first.port().checked_add(1));
    let other_port = other_port.filter(|port| *port != first.port() && first.port() != 0);
    let other_port =
        other_port.ok_or("accepted: two different ports from 1 to 65535 (--listen, --second-port)")?;
    if let Some(second) = arguments.second_address
        && (first.ip().is_unspecified() || second.is_unspecified() || second == *first.ip())
    {
        return Err(
            "--second-address: accepted beside another address in --listen, as --listen 192.0.2.10:3478",
        );
    }
    Ok(Places { first, other_port, other_address: arguments.second_address })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn of(line: &[&str]) -> Result<Places, &'static str> {
        let line = std::iter::once(&"reflector").chain(line);
        places(&Line::try_parse_from(line).expect("it can be typed").arguments)
    }

    #[test]
    fn two_ports_and_perhaps_two_addresses() {
        let places = of(&[]).expect("the default");
        assert_eq!((places.first.to_string().as_str(), places.other_port), ("0.0.0.0:3478", 3479));
        assert_eq!(places.all().count(), 2);
        let two =
            of(&["--listen", "192.0.2.10:5000", "--second-address", "192.0.2.11", "--second-port", "80"]);
        let two = two.expect("two addresses");
        let all: Vec<String> = two.all().map(|place| two.endpoint(place).to_string()).collect();
        assert_eq!(all, ["192.0.2.10:5000", "192.0.2.10:80", "192.0.2.11:5000", "192.0.2.11:80"]);
        for wrong in [
            &["--second-address", "192.0.2.11"][..],
            &["--listen", "192.0.2.11:1", "--second-address", "192.0.2.11"],
            &["--listen", "192.0.2.11:65535"],
            &["--listen", "192.0.2.11:0"],
            &["--listen", "192.0.2.11:80", "--second-port", "80"],
        ] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }
}
