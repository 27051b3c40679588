//! The DHCP service with clients and relay agents as other systems have them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use genkan_lab::topology::Role::{Console, Laptop, Nas, Remote};
use nix::sys::signal::Signal;

use crate::cases;
use crate::dhcp_client::{ACK, Client, RELEASE, REQUEST, SERVER, socket};
use crate::fixture::{Lab, PATIENCE, wait_for};
use crate::leases::{DHCLIENT, UDHCPC, dhcpcd, forget_address, lease_of, mac, mac_of, path, script, served};
use crate::outcome::{Outcome, Skip};
use crate::programs::{Logged, need, need_tun, run};
use crate::servers::{Server, connect, greeting};

cases![
    ;
    only_genkan:
    systemd_networkd_gets_an_address_renews_it_and_gives_it_back,
    a_client_behind_dhcrelay_gets_an_address_of_its_own_network,
    who_comes_from_another_network_is_told_so,
    names_come_into_the_dns_and_who_boots_is_promised_nothing,
];

const NETWORKD: &str = "/lib/systemd/systemd-networkd";

/// A file of this test.
fn file(lab: &Lab, name: &str) -> PathBuf {
    lab.config_file().with_file_name(name)
}

/// Messages of kind `lease` or `lease-refused` with these words.
fn events(lab: &Lab, words: &str) -> usize {
    let said = lab.genkan(&["events", "--format", "json", "--limit", "0"]).expect_ok().stdout;
    said.matches(words).count()
}

fn leased(lab: &Lab, mac: &str) -> String {
    wait_for("a lease", || lease_of(lab, mac).is_some());
    lease_of(lab, mac).expect("it has one")["address"].as_str().expect("it is text").to_owned()
}

/// Only who may become somebody else can run a service that gives up root.
fn need_root() -> Result<(), Skip> {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    match map.split_whitespace().last().and_then(|count| count.parse::<u32>().ok()) {
        Some(2..) => Ok(()),
        _ => Err(Skip("this wants root, not only a user namespace".to_owned())),
    }
}

/// Runs networkd with files of its own. It waits for udev where /sys can be written.
const IN_A_CORNER: &str = r#"#!/bin/sh
set -e
mount --make-rprivate /
mount -t sysfs -o ro sysfs /sys
mkdir -p "$1/run/netif" "$1/etc" /run/systemd
chown systemd-network: "$1/run/netif"
mount --bind "$1/run" /run/systemd
mount --bind "$1/etc" /etc/systemd/network
SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console exec /lib/systemd/systemd-networkd
"#;

const NETWORK: &str = "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n\
                       [DHCPv4]\nUseMTU=yes\n";

fn systemd_networkd_gets_an_address_renews_it_and_gives_it_back() -> Outcome {
    need(NETWORKD)?;
    need_root()?;
    let told = "lease = \"6s\"\ndns = [\"192.168.0.53\"]\ndomain = \"home.arpa\"\nntp = [\"192.168.0.54\"]\nmtu = 1400\n\
                routes = [{ to = \"10.20.0.0/16\", via = \"192.168.0.254\" }]";
    let lab = Lab::start(&served(told, ""));
    let host = lab.host(Laptop);
    let mac = mac(&host);
    forget_address(&host);
    let corner = file(&lab, "networkd");
    fs::create_dir_all(corner.join("etc")).expect("/run is ours in here");
    fs::write(corner.join("etc/eth0.network"), NETWORK).expect("/run is ours in here");
    let start = script(&lab, "networkd.sh", IN_A_CORNER);
    let line = format!("unshare --mount --uts {} {}", path(&start), corner.display());
    let networkd = Logged::start(&host, file(&lab, "networkd.log"), &line);
    let address = leased(&lab, &mac);
    // All that it was told it has: address, routes, and what it keeps for those who ask for it.
    let shows = |arguments: &[&str], wanted: &str| {
        let said = || run(&host, "ip", arguments).expect_ok().stdout;
        wait_for(&format!("{wanted} in {arguments:?}"), || said().contains(wanted));
    };
    shows(&["-4", "addr", "show", "dev", "eth0"], &format!("{address}/24"));
    shows(&["link", "show", "dev", "eth0"], "mtu 1400");
    shows(&["route"], "default via 192.168.0.1 dev eth0");
    shows(&["route"], "10.20.0.0/16 via 192.168.0.254 dev eth0");
    let kept = fs::read_dir(corner.join("run/netif/leases")).expect("it keeps leases");
    let kept: Vec<_> = kept.map(|entry| entry.expect("it is there").path()).collect();
    let kept = fs::read_to_string(&kept[0]).expect("it is text");
    for line in ["SERVER_ADDRESS=192.168.0.1", "DNS=192.168.0.53", "DOMAINNAME=home.arpa", "NTP=192.168.0.54"]
    {
        assert!(kept.lines().any(|kept| kept == line), "{line}: {kept}");
    }
    let given = lease_of(&lab, &mac).expect("it has one");
    assert!(given["client_id"].as_str().is_some_and(|id| id.starts_with("ff")), "RFC 4361: {given}");
    let _far = Server::tcp(&lab.host(Remote), 7);
    let online = || {
        let mut stream = connect(&host, SocketAddrV4::new(lab.address.remote, 7)).expect("it is online");
        assert_eq!(*greeting(&mut stream).ip(), lab.address.wan);
    };
    online();

    // It renews with the server that it knows, also after that has restarted.
    let renewed = |more: usize| {
        let (asked, answered) = (networkd.count("REQUEST (renewing)"), networkd.count("DHCPv4 client: ACK"));
        wait_for("a renewal", || {
            networkd.count("REQUEST (renewing)") >= asked + more
                && networkd.count("DHCPv4 client: ACK") >= answered + more
        });
    };
    renewed(1);
    lab.stop_router();
    lab.start_router_again().expect("it starts");
    renewed(1);
    assert_eq!(leased(&lab, &mac), address);
    online();

    // It gives the address back when it ends, and gets it again.
    networkd.signal(Signal::SIGTERM);
    wait_for("the address is given back", || {
        events(&lab, &format!("the lease of {address} was given back")) == 1
    });
    assert!(lease_of(&lab, &mac).is_none());
    let again = Logged::start(&host, file(&lab, "networkd-again.log"), &line);
    assert_eq!(leased(&lab, &mac), address);
    assert_eq!(again.count("NAK"), 0, "{}", again.said());
    Ok(())
}

/// Writes down all that a client is told, and takes the address.
const TALKATIVE: &str = r#"#!/bin/sh
case "$1" in
    bound) ip addr add "$ip/$mask" dev "$interface"; ip route add default via "$router" ;;
    deconfig) ip addr flush dev "$interface" ;;
esac
echo "event $1"
set
"#;

fn a_client_behind_dhcrelay_gets_an_address_of_its_own_network() -> Outcome {
    need("dhcrelay")?;
    need("udhcpc")?;
    need("tcpdump")?;
    let route = "[[route]]\nto = \"10.20.0.0/24\"\nvia = \"192.168.0.20\"\n\n";
    let relayed = format!(
        "{route}[[relayed]]\nnetwork = \"10.20.0.0/24\"\npool = \"10.20.0.100-10.20.0.109\"\n\
         router = \"10.20.0.1\"\ndns = [\"192.168.0.53\"]\n"
    );
    let lab = Lab::start(&relayed);
    // The laptop leads to a network on which the console is; the console's own link is down.
    let (agent, host) = (lab.host(Laptop), lab.host(Console));
    let link = ["link", "add", "far0", "type", "veth", "peer", "name", "far0", "netns", host.name()];
    run(&agent, "ip", &link).expect_ok();
    for arguments in [&["addr", "add", "10.20.0.1/24", "dev", "far0"][..], &["link", "set", "far0", "up"]] {
        run(&agent, "ip", arguments).expect_ok();
    }
    agent.run(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1")).expect("it is a namespace of ours");
    run(&host, "ip", &["link", "set", "eth0", "down"]).expect_ok();
    run(&host, "ip", &["link", "set", "far0", "up"]).expect_ok();
    let mac = mac_of(&host, "far0");
    let line = "dhcrelay -4 -d --no-pid -a -id far0 -iu eth0 192.168.0.1";
    let relay = Logged::start(&agent, file(&lab, "dhcrelay.log"), line);
    wait_for("dhcrelay listens", || relay.said().contains("Sending on   Socket"));

    let line = "tcpdump -l -n -vv -i eth0 src host 192.168.0.1 and udp src port 67";
    let seen = Logged::start(&agent, file(&lab, "tcpdump.log"), line);
    wait_for("tcpdump listens", || seen.said().contains("listening on eth0"));

    let tell = script(&lab, "udhcpc.sh", TALKATIVE);
    let line = format!("udhcpc -i far0 -f -t 20 -T 1 -x hostname:plant -s {}", path(&tell));
    let client = Logged::start(&host, file(&lab, "udhcpc.log"), &line);
    let address = leased(&lab, &mac);
    wait_for("the client has it", || client.said().contains("event bound"));
    let said = client.said();
    for told in [format!("ip='{address}'"), "router='10.20.0.1'".into(), "serverid='192.168.0.1'".into()] {
        assert!(said.contains(&told), "{told}: {said}");
    }
    assert!(address.starts_with("10.20.0.1"), "{address}");
    assert!(said.contains("dns='192.168.0.53'") && !said.contains("opt82"), "{said}");
    // All that the server sent went to the agent, and carried what that had added; the agent itself does not look.
    wait_for("offer and acknowledgement were seen", || {
        let said = seen.said();
        let replies = said.matches("192.168.0.1.67 > 10.20.0.1.67").count();
        replies >= 2 && said.matches("Circuit-ID SubOption 1, length 4: far0").count() == replies
    });
    let _far = Server::tcp(&lab.host(Remote), 7);
    let mut stream = connect(&host, SocketAddrV4::new(lab.address.remote, 7)).expect("it is online");
    assert_eq!(*greeting(&mut stream).ip(), lab.address.wan);

    // It renews by unicast; this agent picks that up on its way, and passes on a copy.
    client.signal(Signal::SIGUSR1);
    wait_for("it is renewed", || client.count("event renew") > 0);
    // Without an agent there is the unicast alone. An answer that comes before udhcpc has closed the socket that it has
    // asked by is lost in there: somebody with one socket goes on for it.
    drop((relay, client));
    let mut client = Client::of_device(&socket(&host, 68), &mac);
    let own: Ipv4Addr = address.parse().expect("an address");
    let mut renew = || {
        client.send(REQUEST, own, SERVER, &[]);
        let reply = client.hear(PATIENCE).expect("it is answered");
        assert_eq!((reply.kind, reply.address), (ACK, own));
    };
    renew();
    assert_eq!(leased(&lab, &mac), address);
    // The network is taken out, and its leases with it; they come back with it as well.
    lab.reload(route);
    wait_for("the lease is not listed", || lease_of(&lab, &mac).is_none());
    lab.reload(&relayed);
    wait_for("the lease is back", || lease_of(&lab, &mac).is_some());
    renew();
    assert_eq!(leased(&lab, &mac), address);
    // It gives it back the same way.
    client.send(RELEASE, own, SERVER, &[(54, &SERVER.octets())]);
    wait_for("it is given back", || events(&lab, &format!("the lease of {address} was given back")) == 1);
    assert!(lease_of(&lab, &mac).is_none());
    Ok(())
}

fn who_comes_from_another_network_is_told_so() -> Outcome {
    need("dhclient")?;
    need("dhcpcd")?;
    let here = served("", "");
    let elsewhere = here.replace("192.168.0.", "172.16.5.");
    let lab = Lab::start(&elsewhere);
    let hosts = [Laptop, Console].map(|role| lab.host(role));
    let macs = hosts.each_ref().map(mac);
    let script = script(&lab, "dhclient.sh", DHCLIENT);
    let state = file(&lab, "clients");
    fs::create_dir_all(&state).expect("/run is ours in here");
    fs::write(state.join("dhcpcd.conf"), "duid\nnohook resolv.conf\nnoipv6rs\nnoarp\n").expect("it is ours");
    let folder = state.display();
    let lines = [
        format!("dhclient -d -sf {} -lf {folder}/dhclient.leases -pf {folder}/pid eth0", path(&script)),
        dhcpcd(&state, &format!("-4 -B -p -f {folder}/dhcpcd.conf eth0")),
    ];
    let start = |round: &str| {
        let clients = hosts.iter().zip(&lines).zip(["dhclient", "dhcpcd"]);
        let clients = clients.map(|((host, line), name)| {
            forget_address(host);
            Logged::start(host, file(&lab, &format!("{name}-{round}.log")), line)
        });
        clients.collect::<Vec<_>>()
    };
    let mut clients = start("elsewhere");
    let before = macs.each_ref().map(|mac| leased(&lab, mac));
    assert!(before.iter().all(|address| address.starts_with("172.16.5.")), "{before:?}");
    wait_for("dhclient has written it down", || {
        fs::read_to_string(file(&lab, "clients/dhclient.leases")).unwrap_or_default().contains(&before[0])
    });
    wait_for("dhcpcd has written it down", || file(&lab, "clients/eth0.lease").exists());
    // They are switched off, carried to another house, and ask for the address that they remember.
    clients[1].signal(Signal::SIGTERM);
    wait_for("dhcpcd and its helpers end", || !clients[1].is_running());
    drop(clients);
    lab.stop_router();
    fs::remove_dir_all(file(&lab, "state")).expect("it is another router");
    lab.start_router(&here).expect("it starts");
    let clients = start("here");
    for ((mac, before), client) in macs.iter().zip(&before).zip(&clients) {
        let address = leased(&lab, mac);
        assert!(address.starts_with("192.168.0.1"), "{address}");
        assert_eq!(events(&lab, &format!("{mac} is refused {before}")), 1, "{}", client.said());
    }
    Ok(())
}

fn names_come_into_the_dns_and_who_boots_is_promised_nothing() -> Outcome {
    need_tun()?;
    need("udhcpc")?;
    need("dhclient")?;
    need("dig")?;
    let dns = "[router]\ntun = \"genkan0\"\n\n[dns]\nupstreams = [\"198.51.100.7\"]\n";
    let lab = Lab::start(&served("", dns));
    let hosts = [Nas, Laptop, Console].map(|role| lab.host(role));
    let macs = hosts.each_ref().map(mac);
    hosts.iter().for_each(forget_address);

    // As Windows: no broadcast flag, the full name in option 81 as plain text.
    let bound = script(&lab, "udhcpc.sh", UDHCPC);
    let arguments = [
        "-i",
        "eth0",
        "-f",
        "-q",
        "-n",
        "-V",
        "MSFT 5.0",
        "-F",
        "DESKTOP-7A3B.corp.example",
        "-s",
        path(&bound),
    ];
    let said = run(&hosts[0], "udhcpc", &arguments).expect_ok();
    assert!(said.stdout.contains("router 192.168.0.1 dns 192.168.0.1 domain home.arpa"), "{said:?}");
    // dhclient writes it as the DNS does, and wants to be the one who updates it.
    let bound = script(&lab, "dhclient.sh", DHCLIENT);
    let config = file(&lab, "dhclient.conf");
    let wants =
        "send fqdn.fqdn \"printer.corp.example.\"; send fqdn.encoded on; send fqdn.server-update off;\n";
    fs::write(&config, wants).expect("/run is ours in here");
    let state = file(&lab, "dhclient");
    let line = format!(
        "dhclient -d -cf {} -sf {} -lf {} -pf {}.pid eth0",
        config.display(),
        path(&bound),
        state.display(),
        state.display()
    );
    let _dhclient = Logged::start(&hosts[1], file(&lab, "dhclient.log"), &line);
    for (mac, name) in [(&macs[0], "desktop-7a3b"), (&macs[1], "printer")] {
        let address = leased(&lab, mac);
        assert_eq!(lease_of(&lab, mac).expect("it has one")["name"], name);
        let resolve = |arguments: &[&str]| {
            let arguments = [&["+short", "+tries=1", "+time=1", "@192.168.0.1"], arguments].concat();
            run(&hosts[0], "dig", &arguments).stdout.trim().to_owned()
        };
        let name = format!("{name}.home.arpa");
        wait_for("the name is in the DNS", || resolve(&[&name, "A"]) == address);
        wait_for("and the address", || resolve(&["-x", &address]) == format!("{name}."));
    }

    // A boot loader: it gets an address, and nothing that would make it look for a boot server here.
    let tell = script(&lab, "talkative.sh", TALKATIVE);
    let asked = ["-O", "43", "-O", "60", "-O", "66", "-O", "67", "-O", "150", "-O", "tftp", "-O", "bootfile"];
    let loader = ["-V", "PXEClient:Arch:00007:UNDI:003016", "-x", "0x5d:0007", "-x", "0x5e:010310", "-s"];
    let once = ["-i", "eth0", "-f", "-q", "-n"];
    let said = run(&hosts[2], "udhcpc", &[&once[..], &asked, &loader, &[path(&tell)]].concat()).expect_ok();
    let of_boot =
        ["siaddr=", "sname=", "boot_file=", "bootfile=", "tftp=", "opt43=", "opt60=", "opt66=", "opt150="];
    for told in of_boot {
        assert!(!said.stdout.lines().any(|line| line.starts_with(told)), "{told}: {said:?}");
    }
    let address = leased(&lab, &macs[2]);
    // The same machine as a telephone that tells no name: it keeps its address, and nobody gives it a name.
    run(&hosts[2], "ip", &["addr", "flush", "dev", "eth0"]).expect_ok();
    let telephone = ["-V", "android-dhcp-14", "-O", "108", "-O", "114", "-s"];
    let said = run(&hosts[2], "udhcpc", &[&once[..], &telephone, &[path(&tell)]].concat()).expect_ok();
    assert!(!said.stdout.contains("opt108=") && !said.stdout.contains("opt114="), "{said:?}");
    let row = lease_of(&lab, &macs[2]).expect("it has one");
    assert_eq!((row["address"].as_str(), row["name"].as_str()), (Some(&address[..]), None), "{row}");
    let table = lab.genkan(&["hosts"]).expect_ok().stdout;
    assert!(table.contains(&address), "{table}");
    Ok(())
}
