//! A machine that gets its address from the router, and uses it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use genkan_lab::Namespace;
use genkan_lab::topology::Role;
use nix::sys::signal::Signal;

use crate::fixture::{Lab, wait_for};
use crate::leases::{forget_address, path, script};
use crate::programs::{Background, run};

/// What udhcpc runs. A line of `TOLD` is written before anything else is done about an acknowledgement.
const SCRIPT: &str = r#"#!/bin/sh
case "$1" in
deconfig) ip -4 addr flush dev "$interface" ;;
bound | renew)
    echo "$(date +%s%N) $ip dns $dns domain $domain" >>TOLD
    ip addr replace "$ip/$mask" dev "$interface"
    ip route replace default via "$router"
    ;;
esac
"#;

/// An acknowledgement.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// When it came.
    pub(crate) at: SystemTime,
    /// The address.
    pub(crate) address: Ipv4Addr,
    /// `dns ... domain ...`, as it was told.
    pub(crate) rest: String,
}

/// udhcpc at a host. Dropping it is a machine that is switched off: nothing is given back.
pub(crate) struct Leaseholder {
    host: Namespace,
    client: Background,
    told: PathBuf,
}

impl Leaseholder {
    /// Starts a client that knows nothing of before, with these further arguments.
    pub(crate) fn start(lab: &Lab, role: Role, arguments: &[&str]) -> Leaseholder {
        let host = lab.host(role);
        let told = lab.config_file().with_file_name(format!("{}-told", host.name()));
        fs::write(&told, "").expect("/run is ours in here");
        let name = format!("{}-udhcpc.sh", host.name());
        let script = script(lab, &name, &SCRIPT.replace("TOLD", path(&told)));
        forget_address(&host);
        let usual = ["-i", "eth0", "-f", "-t", "10", "-T", "1", "-A", "1", "-s", path(&script)];
        let client = Background::start(&host, "udhcpc", &[&usual[..], arguments].concat());
        Leaseholder { host, client, told }
    }

    /// The last acknowledgement that `is_wanted` of the address.
    pub(crate) fn wait_for_address(&self, is_wanted: impl Fn(Ipv4Addr) -> bool) -> Told {
        let mut found = None;
        wait_for("an address by DHCP", || {
            found = self.last().filter(|told| is_wanted(told.address));
            found.is_some()
        });
        found.expect("it was waited for")
    }

    fn last(&self) -> Option<Told> {
        let text = fs::read_to_string(&self.told).ok()?;
        let (at, rest) = text.lines().last()?.split_once(' ')?;
        let (address, rest) = rest.split_once(' ')?;
        let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(at.parse().ok()?);
        Some(Told { at, address: address.parse().ok()?, rest: rest.to_owned() })
    }

    /// Gives its address back.
    pub(crate) fn release(&self) {
        // The message is lost if the kernel has to ask for the router first: the address is gone before the answer.
        run(&self.host, "ping", &["-c1", "-W5", "192.168.0.1"]).expect_ok();
        self.client.signal(Signal::SIGUSR2);
    }

    /// Asks for an address once more, after [`Leaseholder::release`] as well.
    pub(crate) fn ask_again(&self) {
        self.client.signal(Signal::SIGUSR1);
    }
}
