//! `genkan status`: can packets flow?

use genkan_control::api::{PortStatus, Status, WanLease, WanLeaseState};

use super::{Target, answer, ask};
use crate::output::{self, Exit, Failure, Format, Listing};

const AFTER_HELP: &str = "\
Exit status: 0 only when packets can flow: the router answers, the wan is up and has an address, and at least
one inside port is up.

Examples:
  genkan status
  genkan status --format json | jq .forwarding
  genkan status --socket /tmp/test/control.sock || echo no internet";

/// Look at the running router: ports, sizes of the tables, problems
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: Target,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let status = ask(&arguments.target.socket, async |client| client.status().await)?;
    match arguments.target.format {
        Format::Json => output::print_json(&status)?,
        Format::Table => output::print(&text(&status))?,
    }
    Ok(answer(status.forwarding))
}

fn text(status: &Status) -> String {
    let state = if status.forwarding { "forwarding packets" } else { "NOT forwarding packets" };
    let mut text = format!(
        "genkan {}, process {}, up {}: {state}\n",
        status.version,
        status.pid,
        output::duration(status.uptime_seconds)
    );
    let reloads = match status.reloads {
        0 => "as at the start".to_owned(),
        1 => "reloaded once".to_owned(),
        times => format!("reloaded {times} times"),
    };
    text.push_str(&format!("configuration {}, revision {}, {reloads}\n", status.config, status.revision));
    let workers = if status.workers > 1 { format!(", {} workers", status.workers) } else { String::new() };
    text.push_str(&format!(
        "{} of {} sessions, {} mappings{workers}\n\n",
        output::grouped(status.sessions.into()),
        output::grouped(status.max_sessions.into()),
        output::grouped(status.mappings.into())
    ));
    if let Some(sandbox) = &status.sandbox {
        let capabilities = match sandbox.capabilities.as_slice() {
            [] => "none".to_owned(),
            some => some.join(" "),
        };
        text.pop();
        text.push_str(&format!(
            "sandbox: capabilities {capabilities}; files: {}; system calls: {}\n\n",
            sandbox.files, sandbox.system_calls
        ));
    }
    let mut ports = Listing::new(&["port", "device", "link", "mac", "mtu", "addresses", "backend"])
        .numbers(&[4])
        .shrinks(&[("port", 8), ("addresses", 18)])
        .drops(&["mtu", "backend", "mac", "device"]);
    for port in &status.ports {
        ports.row(row(port));
    }
    text.push_str(&ports.text());
    let reasons = status.ports.iter().filter_map(|port| Some((port, port.backend_reason.as_ref()?)));
    for (number, (port, reason)) in reasons.enumerate() {
        text.push_str(if number == 0 { "\nBack ends:\n" } else { "" });
        text.push_str(&format!("  {}: {}: {reason}\n", port.name, port.backend));
    }
    if let Some(lease) = &status.wan_lease {
        text.push_str(&format!("\nDHCP on the wan: {}\n", lease_line(lease)));
        for route in &lease.routes {
            text.push_str(&format!("  route {route}\n"));
        }
    }
    if !status.problems.is_empty() {
        text.push_str("\nProblems:\n");
        for problem in &status.problems {
            text.push_str(&format!("  {problem}\n"));
        }
    }
    text
}

/// `bound, 203.0.113.7/24 from 203.0.113.2, ends in 59m unless renewed, gateway 203.0.113.1`.
fn lease_line(lease: &WanLease) -> String {
    let state = match lease.state {
        WanLeaseState::NoLink => "waits for the link",
        WanLeaseState::Selecting => "looks for a server",
        WanLeaseState::Requesting => "has asked for an offer",
        WanLeaseState::Rebooting => "asks whether the lease of before still holds",
        WanLeaseState::Probing => "looks whether another machine has the address",
        WanLeaseState::Bound => "bound",
        WanLeaseState::Renewing => "asks the server for more time",
        WanLeaseState::Rebinding => "asks any server for more time",
    };
    let mut parts = vec![state.to_owned()];
    match (&lease.address, lease.server) {
        (Some(address), Some(server)) => parts.push(format!("{address} from {server}")),
        (Some(address), None) => parts.push(address.clone()),
        (None, _) => parts.push("no address yet".to_owned()),
    }
    if lease.address.is_some() {
        parts.push(match lease.ends_in_seconds {
            Some(left) => format!("ends in {} unless renewed", output::duration(left)),
            None => "for ever".to_owned(),
        });
        parts.push(lease.gateway.map_or("no gateway".to_owned(), |gateway| format!("gateway {gateway}")));
    }
    parts.extend(lease.mtu.map(|mtu| format!("MTU {mtu}")));
    if !lease.dns.is_empty() {
        let dns: Vec<String> = lease.dns.iter().map(ToString::to_string).collect();
        parts.push(format!("name servers {}", dns.join(" ")));
    }
    if lease.refused.is_some() {
        parts.push("NOT used".to_owned());
    }
    parts.join(", ")
}

fn row(port: &PortStatus) -> [String; 7] {
    let known = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    [
        port.name.clone(),
        port.device.clone(),
        if port.up { "up" } else { "down" }.to_owned(),
        known(port.mac.clone()),
        known(port.mtu.map(|mtu| mtu.to_string())),
        port.addresses.join(", "),
        port.backend.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use genkan_control::api::{PortRole, Sandbox};

    use super::*;

    #[test]
    fn status_says_whether_packets_flow() {
        let port = |name: &str, up| PortStatus {
            name: name.to_owned(),
            role: PortRole::Wan,
            device: "eth0".to_owned(),
            backend: "af-packet".to_owned(),
            backend_reason: Some("the driver (veth) has no zero-copy AF_XDP".to_owned()),
            up,
            mac: None,
            mtu: Some(1500),
            addresses: vec!["203.0.113.1/24".to_owned(), "203.0.113.5".to_owned()],
        };
        let mut status = Status {
            version: "0.1.0".to_owned(),
            pid: 7,
            config: "home.toml".to_owned(),
            uptime_seconds: 61,
            forwarding: false,
            problems: vec!["wan: eth0 is down or absent".to_owned()],
            conflicts: Vec::new(),
            ports: vec![port("wan", false)],
            wan_lease: None,
            sessions: 1_234,
            max_sessions: 1_000_000,
            mappings: 5,
            reloads: 0,
            workers: 1,
            revision: 3,
            upgrades: 0,
            sandbox: None,
        };
        let shown = text(&status);
        assert!(shown.contains("NOT forwarding") && shown.contains("Problems:"), "{shown}");
        assert!(shown.contains("1,234 of 1,000,000 sessions"), "{shown}");
        assert!(shown.contains("203.0.113.1/24, 203.0.113.5"), "{shown}");
        assert!(shown.contains("Back ends:\n  wan: af-packet: the driver (veth)"), "{shown}");
        assert!(!shown.contains("workers"), "{shown}");
        status.workers = 2;
        assert!(text(&status).contains("5 mappings, 2 workers"), "{}", text(&status));
        assert!(!shown.contains("sandbox"), "{shown}");
        status.sandbox = Some(Sandbox {
            capabilities: vec!["NET_ADMIN".to_owned(), "NET_RAW".to_owned()],
            files: "only its own (landlock 7)".to_owned(),
            system_calls: "only those of a router".to_owned(),
        });
        let sandbox =
            "2 workers\nsandbox: capabilities NET_ADMIN NET_RAW; files: only its own (landlock 7); system";
        assert!(text(&status).contains(sandbox), "{}", text(&status));
        assert!(!shown.contains("DHCP"), "{shown}");
        let mut lease = WanLease {
            state: WanLeaseState::Selecting,
            address: None,
            gateway: None,
            routes: Vec::new(),
            mtu: None,
            dns: Vec::new(),
            domain: None,
            server: None,
            ends_in_seconds: None,
            taken: None,
            refused: None,
        };
        status.wan_lease = Some(lease.clone());
        let looks = "DHCP on the wan: looks for a server, no address yet\n";
        assert!(text(&status).contains(looks), "{}", text(&status));
        lease.state = WanLeaseState::Bound;
        lease.address = Some("203.0.113.7/24".to_owned());
        lease.server = Some([203, 0, 113, 2].into());
        lease.gateway = Some([203, 0, 113, 1].into());
        lease.ends_in_seconds = Some(3_540);
        lease.routes = vec!["198.18.0.0/15 via 203.0.113.3".to_owned()];
        status.wan_lease = Some(lease);
        let bound = "DHCP on the wan: bound, 203.0.113.7/24 from 203.0.113.2, ends in 59m unless renewed, \
                     gateway 203.0.113.1\n  route 198.18.0.0/15 via 203.0.113.3\n";
        assert!(text(&status).contains(bound), "{}", text(&status));
        status.forwarding = true;
        status.problems.clear();
        let shown = text(&status);
        assert!(!shown.contains("NOT") && !shown.contains("Problems"), "{shown}");
    }
}
