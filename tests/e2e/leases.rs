//! A lan with the DHCP service, and what its clients have to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use genkan_lab::Namespace;

use crate::fixture::Lab;
use crate::programs::run;

/// The lan with a service, its keys and further rules.
pub(crate) fn served(keys: &str, rules: &str) -> String {
    let tun = "device = \"lan0\"\naddress = \"192.168.0.1/24\"\n";
    format!(
        "[[lan]]\nname = \"home\"\n{tun}[lan.dhcp]\npool = \"192.168.0.100-192.168.0.119\"\n{keys}\n{rules}"
    )
}

/// All that is listed.
pub(crate) fn leases(lab: &Lab) -> Vec<serde_json::Value> {
    let said = lab.genkan(&["leases", "--format", "json"]).expect_ok();
    serde_json::from_str(&said.stdout).expect("it is JSON")
}

/// The lease of a MAC address.
pub(crate) fn lease_of(lab: &Lab, mac: &str) -> Option<serde_json::Value> {
    leases(lab).into_iter().find(|row| row["mac"] == mac && row["state"] == "leased")
}

/// Of the device that every host has.
pub(crate) fn mac(host: &Namespace) -> String {
    mac_of(host, "eth0")
}

/// Of one of its devices.
pub(crate) fn mac_of(host: &Namespace, device: &str) -> String {
    let said = run(host, "ip", &["-o", "link", "show", device]).expect_ok().stdout;
    let (_, rest) = said.split_once("link/ether ").expect("it is Ethernet");
    rest.split_whitespace().next().expect("a MAC address").to_owned()
}

/// Takes its address from a host: it is to ask for one.
pub(crate) fn forget_address(host: &Namespace) {
    run(host, "ip", &["addr", "flush", "dev", "eth0"]).expect_ok();
}

/// A program in a folder of this test.
pub(crate) fn script(lab: &Lab, name: &str, text: &str) -> PathBuf {
    let path = lab.config_file().with_file_name(name);
    fs::write(&path, text).expect("there is room");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    path
}

/// Takes the address, and says what it was told.
pub(crate) const UDHCPC: &str = r#"#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/$mask" dev "$interface"
ip route add default via "$router"
echo "bound $ip router $router dns $dns domain $domain lease $lease mtu $mtu"
"#;

/// The same for dhclient.
pub(crate) const DHCLIENT: &str = r#"#!/bin/sh
[ "$reason" = BOUND ] || exit 0
ip addr add "$new_ip_address/$new_subnet_mask" dev "$interface"
ip route add default via "$new_routers"
echo "bound $new_ip_address router $new_routers dns $new_domain_name_servers domain $new_domain_name"
"#;

/// As an argument.
pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("it is UTF-8")
}

/// A line for a shell: dhcpcd that has this folder for its own, in place of the one place where it keeps its leases.
pub(crate) fn dhcpcd(folder: &Path, arguments: &str) -> String {
    let folder = folder.display();
    format!(
        "unshare --mount sh -c 'mount --make-rprivate / && mount --bind {folder} /var/lib/dhcpcd && \
         mkdir -p /run/dhcpcd && mount -t tmpfs tmpfs /run/dhcpcd && exec dhcpcd {arguments}'"
    )
}
