//! The wan gets its address from real DHCP servers.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use genkan_lab::topology::Role::{Isp, Laptop, Nas, Remote, Router};
use serde_json::{Value, json};

use super::dns::folder;
use super::doctor::doctor;
use crate::cases;
use crate::fixture::{Lab, SILENCE, WEB, wait_for};
use crate::outcome::Outcome;
use crate::programs::{Logged, need};
use crate::servers::{Server, ask, connect, connect_within, exchange, greeting, udp};

cases![
    ;
    only_genkan: isc_dhcpd_gives_renews_and_changes_the_address,
    a_silent_server_loses_the_wan_its_address_when_the_lease_is_over,
    a_restart_asks_for_the_lease_of_before_and_drops_nothing,
    a_lost_link_keeps_the_address_and_asks_again,
    kea_names_a_gateway_outside_of_the_prefix_and_routes,
    kea_takes_an_address_back,
    a_lease_of_what_is_ours_is_refused_and_the_lan_keeps_working,
    an_address_that_somebody_has_is_declined,
    a_declined_address_is_followed_by_another,
    a_provider_that_wants_to_hear_who_asks_is_told,
    dhcp_comes_and_goes_with_a_reload,
    options_that_are_no_use_cost_the_lease_only_where_it_needs_them,
    another_link_address_is_another_client
];

pub(super) const DHCP: &str = "address = \"dhcp\"\n";

/// The first address that servers give here, and another one.
const FIRST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);
const SECOND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 60);

/// A lab whose router has no static address, before it runs.
fn lab() -> Lab {
    Lab::without_router(&genkan_lab::Options::default())
}

/// A server at the provider's router.
pub(super) struct Dhcp(Logged);

impl Dhcp {
    pub(super) fn start(lab: &Lab, command: &str) -> Dhcp {
        Dhcp(Logged::start(&lab.host(Isp), folder(lab).join("dhcp.log"), command))
    }

    /// ISC dhcpd with this pool; leases of 10 s that are to be renewed after 1 s.
    pub(super) fn isc(lab: &Lab, pool: &str, more: &str) -> Dhcp {
        Dhcp::isc_for(lab, "203.0.113.0", pool, more)
    }

    /// The same for another /24, on which the provider's router is the first machine.
    fn isc_for(lab: &Lab, network: &str, pool: &str, more: &str) -> Dhcp {
        Dhcp::isc_with(lab, network, &format!("range {pool};"), more)
    }

    /// The same with a pool in dhcpd's words.
    fn isc_with(lab: &Lab, network: &str, pool: &str, more: &str) -> Dhcp {
        let router = if network == "203.0.113.0" { "203.0.113.2" } else { "198.18.0.1" };
        let folder = folder(lab);
        let config = format!(
            "authoritative; ping-check false; default-lease-time 10; min-lease-time 10; max-lease-time 10;\n\
             option rfc3442 code 121 = array of unsigned integer 8;\n\
             option dhcp-renewal-time 1; option dhcp-rebinding-time 5;\n{more}\n\
             subnet {network} netmask 255.255.255.0 {{ {pool} option routers {router};\n\
             option domain-name-servers 198.51.100.53; }}\n"
        );
        let (conf, leases) = (folder.join("dhcpd.conf"), folder.join("dhcpd.leases"));
        fs::write(&conf, config).expect("/run is ours in here");
        fs::write(&leases, "").expect("/run is ours in here");
        let dhcp = Dhcp::start(
            lab,
            &format!("dhcpd -4 -f -d --no-pid -cf {} -lf {} eth0", conf.display(), leases.display()),
        );
        wait_for("dhcpd listens", || dhcp.log().contains("Sending on"));
        dhcp
    }

    /// Kea with this pool and these options (JSON), leases of so many seconds.
    pub(super) fn kea(lab: &Lab, subnet: &str, pool: &str, options: Value, lease: u32) -> Dhcp {
        let folder = folder(lab);
        let config = json!({"Dhcp4": {
            "interfaces-config": {"interfaces": ["eth0"], "re-detect": false},
            "lease-database": {"type": "memfile", "persist": false},
            "valid-lifetime": lease, "renew-timer": 1, "rebind-timer": 5, "authoritative": true,
            "subnet4": [{"id": 1, "subnet": subnet, "interface": "eth0", "pools": [{"pool": pool}], "option-data": options}],
            "loggers": [{"name": "kea-dhcp4", "severity": "DEBUG", "debuglevel": 50,
                "output_options": [{"output": "stdout", "flush": true}]}]
        }});
        let conf = folder.join("kea.json");
        fs::write(&conf, config.to_string()).expect("/run is ours in here");
        let own = folder.display();
        let dhcp = Dhcp::start(
            lab,
            &format!("env KEA_LOCKFILE_DIR={own} KEA_PIDFILE_DIR={own} kea-dhcp4 -c {}", conf.display()),
        );
        wait_for("Kea listens", || dhcp.log().contains("DHCP4_STARTED"));
        dhcp
    }

    /// dnsmasq with these options.
    fn dnsmasq(lab: &Lab, options: &str) -> Dhcp {
        let leases = folder(lab).join("dnsmasq.leases");
        let common =
            "dnsmasq --no-daemon --conf-file=/dev/null --port=0 --user=root --interface=eth0 --no-ping";
        Dhcp::start(lab, &format!("{common} --dhcp-leasefile={} {options}", leases.display()))
    }

    pub(super) fn log(&self) -> String {
        self.0.said()
    }

    pub(super) fn count(&self, what: &str) -> usize {
        self.0.count(what)
    }
}

pub(super) fn status(lab: &Lab) -> Value {
    serde_json::from_str(&lab.genkan(&["status", "--format", "json"]).stdout).expect("it is JSON")
}

pub(super) fn has(lab: &Lab, address: Ipv4Addr) -> bool {
    let prefix = format!("{address}/");
    let addresses = status(lab)["ports"][0]["addresses"].clone();
    addresses
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one.as_str().unwrap_or("").starts_with(&prefix)))
}

/// How many events of this kind there are.
pub(super) fn events(lab: &Lab, kind: &str) -> usize {
    let said = lab.genkan(&["events", "--kind", kind, "--limit", "0"]).expect_ok().stdout;
    said.lines().filter(|line| line.contains(kind)).count()
}

/// Until the lease ends later than it would have. That the server has said DHCPACK says nothing of the client.
pub(super) fn wait_for_renewal(lab: &Lab, mut meanwhile: impl FnMut()) {
    let left = || status(lab)["wan_lease"]["ends_in_seconds"].as_u64().map(Duration::from_secs);
    let end = left().expect("there is a lease") + Duration::from_secs(1);
    let since = Instant::now();
    wait_for("a renewal", || {
        meanwhile();
        let passed = since.elapsed();
        left().is_some_and(|left| passed + left > end)
    });
}

/// Takes the link away and brings it back: then the client asks at once.
pub(super) fn flap(lab: &Lab) {
    lab.run(Isp, "ip", &["link", "set", "eth0", "down"]).expect_ok();
    wait_for("the link is gone", || status(lab)["wan_lease"]["state"] == "no-link");
    lab.run(Isp, "ip", &["link", "set", "eth0", "up"]).expect_ok();
}

fn isc_dhcpd_gives_renews_and_changes_the_address() -> Outcome {
    need("dhcpd")?;
    let lab = lab();
    let dhcp =
        Dhcp::isc(&lab, &FIRST.to_string(), "option interface-mtu 1400; option dhcp-rebinding-time 2;");
    let _web = Server::tcp(&lab.host(Nas), 8080);
    let server = Server::tcp(&lab.host(Remote), 7);
    lab.start_router(&format!("{DHCP}{WEB}")).unwrap_or_else(|error| panic!("{error}"));
    wait_for("an address", || has(&lab, FIRST));
    let lease = status(&lab)["wan_lease"].clone();
    assert_eq!(
        (&lease["address"], &lease["gateway"], &lease["server"], &lease["mtu"], &lease["dns"]),
        (
            &json!("203.0.113.50/24"),
            &json!("203.0.113.2"),
            &json!("203.0.113.2"),
            &json!(1400),
            &json!(["198.51.100.53"])
        )
    );
    let shown = lab.genkan(&["status"]).expect_ok().stdout;
    assert!(shown.contains("203.0.113.50/24 from 203.0.113.2, ends in "), "{shown}");
    let mut stream = connect(&lab.host(Laptop), SocketAddrV4::new(lab.address.remote, 7)).expect("a way out");
    assert_eq!(*greeting(&mut stream).ip(), FIRST);
    assert_eq!(server.seen().len(), 1);
    // The lease's MTU holds: what is longer is told so, and TCP knows it from the start.
    let ping = lab.run(Laptop, "ping", &["-c1", "-W5", "-Mdo", "-s1380", &lab.address.remote.to_string()]);
    assert!(ping.stdout.contains("mtu = 1400") || ping.stdout.contains("mtu=1400"), "{ping:?}");

    // Renewed several times, without a lost octet or an event. dhcpd leaves the end of a lease as it is for a while.
    for _ in 0..2 {
        wait_for_renewal(&lab, || exchange(&mut stream, b"still there"));
    }
    assert!(dhcp.log().contains("reply with unaltered, existing lease"), "{}", dhcp.log());
    assert_eq!((events(&lab, "wan-address-obtained"), events(&lab, "wan-address-changed")), (1, 0));

    // The provider numbers its network anew.
    drop(dhcp);
    let second = Ipv4Addr::new(198, 18, 0, 60);
    lab.run(Isp, "ip", &["address", "flush", "dev", "eth0"]).expect_ok();
    lab.run(Isp, "ip", &["address", "add", "198.18.0.1/24", "dev", "eth0"]).expect_ok();
    let dhcp = Dhcp::isc_for(&lab, "198.18.0.0", &second.to_string(), "");
    flap(&lab);
    wait_for("the old address is refused", || dhcp.log().contains("DHCPNAK"));
    let refused = Instant::now();
    let new = SocketAddrV4::new(second, 80);
    let mut reached = None;
    wait_for("the forward on the new address", || {
        reached = connect_within(&lab.host(Remote), new, Duration::from_millis(100)).ok();
        reached.is_some()
    });
    let took = refused.elapsed();
    greeting(reached.as_mut().expect("it was reached"));
    // Nothing is left of the old address: no mapping, no answer, not even to its neighbours.
    let mappings = lab.genkan(&["mappings"]).expect_ok().stdout;
    assert!(!mappings.contains(&FIRST.to_string()), "{mappings}");
    connect_within(&lab.host(Remote), SocketAddrV4::new(FIRST, 80), SILENCE)
        .expect_err("the old address is gone");
    // Hairpin goes by the new one.
    greeting(&mut connect(&lab.host(Laptop), new).expect("hairpin"));
    assert_eq!(events(&lab, "wan-address-lost"), 1);
    assert!(took < Duration::from_secs(10), "{took:?}");
    println!("from DHCPNAK to a connection by the new address: {} ms", took.as_millis());
    Ok(())
}

fn a_silent_server_loses_the_wan_its_address_when_the_lease_is_over() -> Outcome {
    need("dhcpd")?;
    let lab = lab();
    let dhcp = Dhcp::isc(&lab, &FIRST.to_string(), "");
    lab.start_router(DHCP).unwrap_or_else(|error| panic!("{error}"));
    wait_for("an address", || has(&lab, FIRST));
    drop(dhcp);
    wait_for("any server is asked", || status(&lab)["wan_lease"]["state"] == "rebinding");
    assert!(has(&lab, FIRST), "until the lease is over");
    wait_for("the lease is over", || events(&lab, "wan-address-lost") == 1);
    wait_for("nothing is forwarded", || lab.genkan(&["status"]).code == Some(1));
    assert!(status(&lab)["ports"][0]["addresses"].as_array().is_some_and(Vec::is_empty));
    let shown = lab.genkan(&["status"]).stdout;
    assert!(shown.contains("DHCP on the wan: looks for a server, no address yet"), "{shown}");
    // The lan goes on.
    assert!(lab.run(Laptop, "ping", &["-c1", "-W5", &lab.address.lan.to_string()]).ok);
    Ok(())
}

fn a_restart_asks_for_the_lease_of_before_and_drops_nothing() -> Outcome {
    need("dhcpd")?;
    let lab = lab();
    let dhcp = Dhcp::isc(&lab, "203.0.113.50 203.0.113.59", "");
    let _server = Server::tcp(&lab.host(Remote), 7);
    lab.start_router(DHCP).unwrap_or_else(|error| panic!("{error}"));
    wait_for("an address", || events(&lab, "wan-address-obtained") == 1);
    let address = status(&lab)["wan_lease"]["address"].clone();
    let mut stream = connect(&lab.host(Laptop), SocketAddrV4::new(lab.address.remote, 7)).expect("a way out");
    greeting(&mut stream);
    let discovers = dhcp.count("DHCPDISCOVER");
    let before = dhcp.log().len();
    assert_eq!(lab.stop_router(), Some(0));
    lab.start_router_again().unwrap_or_else(|error| panic!("{error}"));
    // It is there before any server was asked.
    assert_eq!(status(&lab)["ports"][0]["addresses"][0], address);
    exchange(&mut stream, b"as before");
    wait_for("the server has confirmed it", || status(&lab)["wan_lease"]["state"] == "bound");
    assert_eq!(status(&lab)["wan_lease"]["address"], address);
    assert_eq!(dhcp.count("DHCPDISCOVER"), discovers);
    // INIT-REBOOT: a request without a server identifier, which dhcpd would put in parentheses.
    let plain = address.as_str().and_then(|address| address.split('/').next()).expect("an address");
    let asked = dhcp.log()[before..].to_owned();
    assert!(asked.contains(&format!("DHCPREQUEST for {plain} from")), "{asked}");
    // After SIGKILL as well.
    lab.kill_router();
    lab.start_router_again().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(status(&lab)["ports"][0]["addresses"][0], address);
    Ok(())
}

fn a_lost_link_keeps_the_address_and_asks_again() -> Outcome {
    need("dhcpd")?;
    let lab = lab();
    let dhcp =
        Dhcp::isc(&lab, &FIRST.to_string(), "option dhcp-renewal-time 8; option dhcp-rebinding-time 9;");
    let _server = Server::tcp(&lab.host(Remote), 7);
    lab.start_router(DHCP).unwrap_or_else(|error| panic!("{error}"));
    wait_for("an address", || has(&lab, FIRST));
    let mut stream = connect(&lab.host(Laptop), SocketAddrV4::new(lab.address.remote, 7)).expect("a way out");
    greeting(&mut stream);
    let acks = dhcp.count("DHCPACK");
    flap(&lab);
    assert!(has(&lab, FIRST));
    wait_for("the server was asked", || dhcp.count("DHCPACK") > acks);
    wait_for("bound", || status(&lab)["wan_lease"]["state"] == "bound");
    exchange(&mut stream, b"through");
    assert_eq!((events(&lab, "wan-address-lost"), events(&lab, "wan-address-changed")), (0, 0));
    Ok(())
}

fn kea_names_a_gateway_outside_of_the_prefix_and_routes() -> Outcome {
    need("kea-dhcp4")?;
    let lab = lab();
    // The provider's router is not in our network of one address; a second machine leads to 192.0.2.0/24.
    lab.run(Isp, "ip", &["address", "add", "100.64.0.1/32", "dev", "eth0"]).expect_ok();
    lab.run(Isp, "ip", &["address", "add", "192.0.2.7/32", "dev", "eth1"]).expect_ok();
    let options = json!([
        // 0.0.0.0/0 by 100.64.0.1, 192.0.2.0/24 by 203.0.113.2, 198.18.0.0/15 on the link (RFC 3442).
        {"code": 121, "space": "dhcp4", "csv-format": false, "always-send": true,
         "data": "00644000 0118C00002CB 0071020FC61200000000".replace(' ', "")}
    ]);
    let _dhcp = Dhcp::kea(&lab, "203.0.113.50/32", "203.0.113.50 - 203.0.113.50", options, 3600);
    let server = Server::tcp(&lab.host(Remote), 7);
    let near = Server::udp_at(&lab.host(Isp), SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 7));
    lab.start_router(DHCP).unwrap_or_else(|error| panic!("{error}"));
    wait_for("an address", || has(&lab, FIRST));
    let lease = status(&lab)["wan_lease"].clone();
    assert_eq!(
        (&lease["address"], &lease["gateway"]),
        (&json!("203.0.113.50/32"), &json!("100.64.0.1")),
        "{lease}"
    );
    assert_eq!(lease["routes"], json!(["192.0.2.0/24 via 203.0.113.2", "198.18.0.0/15 on the link"]));
    let mut stream = connect(&lab.host(Laptop), SocketAddrV4::new(lab.address.remote, 7)).expect("a way out");
    assert_eq!(*greeting(&mut stream).ip(), FIRST);
    assert_eq!(server.seen().len(), 1);
    let socket = udp(&lab.host(Laptop), 40_007);
    let answer =
        ask(&socket, SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 7), b"one", crate::fixture::PATIENCE);
    assert_eq!(answer, Some(SocketAddrV4::new(FIRST, 40_007)));
    assert_eq!(near.seen().len(), 1);
    Ok(())
}

fn kea_takes_an_address_back() -> Outcome {
    need("kea-dhcp4")?;
    let lab = lab();
    let routers = json!([{"name": "routers", "data": "203.0.113.2"}]);
    let dhcp = Dhcp::kea(&lab, "203.0.113.0/24", "203.0.113.50 - 203.0.113.50", routers.clone(), 3600);
    let _web = Server::tcp(&lab.host(Nas), 8080);
    lab.start_router(&format!("{DHCP}{WEB}")).unwrap_or_else(|error| panic!("{error}"));
    wait_for("an address", || has(&lab, FIRST));
    greeting(&mut connect(&lab.host(Remote), SocketAddrV4::new(FIRST, 80)).expect("the forward is open"));
    drop(dhcp);
    let _dhcp = Dhcp::kea(&lab, "203.0.113.0/24", "203.0.113.60 - 203.0.113.60", routers, 3600);
    flap(&lab);
    wait_for("the other address", || has(&lab, SECOND));
    greeting(&mut connect(&lab.host(Remote), SocketAddrV4::new(SECOND, 80)).expect("the forward has moved"));
    assert_eq!(events(&lab, "wan-address-lost"), 1);
    Ok(())
}

fn a_lease_of_what_is_ours_is_refused_and_the_lan_keeps_working() -> Outcome {
    need("dnsmasq")?;
    let lab = lab();
    lab.run(Isp, "ip", &["address", "add", "192.168.0.99/24", "dev", "eth0"]).expect_ok();
    let _dhcp = Dhcp::dnsmasq(&lab, "--dhcp-range=192.168.0.150,192.168.0.150,1h");
    lab.start_router(DHCP).unwrap_or_else(|error| panic!("{error}"));
    wait_for("a refusal", || events(&lab, "wan-lease-refused") == 1);
    let said = status(&lab);
    assert_eq!(said["forwarding"], false);
    assert_eq!(events(&lab, "wan-address-obtained"), 0, "what cannot be used is not obtained");
    let problems = said["problems"].to_string();
    assert!(problems.contains("192.168.0.150/24, which overlaps lan home (192.168.0.0/24)"), "{problems}");
    doctor(&lab, &[]).expect("wan-lease-refused");
    assert!(lab.run(Laptop, "ping", &["-c1", "-W5", &lab.address.lan.to_string()]).ok);
    // The lan gives way: the lease is used at once.
    let lan = "\n[[lan]]\nname = \"home\"\ndevice = \"DEVICE\"\naddress = \"192.168.7.1/24\"\n";
    lab.reload(&format!("{DHCP}{}", lan.replace("DEVICE", &lab.topology.lan_device)));
    wait_for("the address", || has(&lab, Ipv4Addr::new(192, 168, 0, 150)));
    wait_for("that is told", || events(&lab, "wan-address-obtained") == 1);
    // The file has the same address for the router besides.
    lab.reload(&format!(
        "{DHCP}addresses = [\"192.168.0.150\"]\n{}",
        lan.replace("DEVICE", &lab.topology.lan_device)
    ));
    wait_for("a refusal", || events(&lab, "wan-lease-refused") == 2);
    let problems = status(&lab)["problems"].to_string();
    assert!(problems.contains("192.168.0.150, which is in `wan.addresses`"), "{problems}");
    doctor(&lab, &[]).expect("wan-lease-refused");
    Ok(())
}

fn another_link_address_is_another_client() -> Outcome {
    need("dnsmasq")?;
    let lab = lab();
    let dhcp = Dhcp::dnsmasq(&lab, &format!("--dhcp-range={FIRST},{SECOND},1h"));
    lab.start_router(DHCP).unwrap_or_else(|error| panic!("{error}"));
    wait_for("an address", || status(&lab)["wan_lease"]["state"] == "bound");
    let before = status(&lab)["wan_lease"]["address"].clone();
    lab.run(Router, "ip", &["link", "set", &lab.topology.wan_device, "address", "02:00:00:00:77:01"])
        .expect_ok();
    wait_for("that is told", || events(&lab, "wan-address-lost") == 1);
    wait_for("another address", || {
        let lease = status(&lab)["wan_lease"].clone();
        lease["state"] == "bound" && lease["address"] != before
    });
    assert!(dhcp.log().contains("02:00:00:00:77:01"), "{}", dhcp.log());
    Ok(())
}

/// A server that is wrong about a router gives an address all the same; one that is wrong about the netmask does not, and the
/// status says why.
fn options_that_are_no_use_cost_the_lease_only_where_it_needs_them() -> Outcome {
    need("dnsmasq")?;
    let lab = lab();
    let range = format!("--dhcp-range={FIRST},{FIRST},1h");
    let dhcp = Dhcp::dnsmasq(&lab, &format!("{range} --dhcp-option-force=1,255.0.255.0"));
    lab.start_router(DHCP).unwrap_or_else(|error| panic!("{error}"));
    wait_for("the reason is told", || {
        let problems = status(&lab)["problems"].to_string();
        problems.contains("answers cannot be used: netmask is not contiguous")
    });
    drop(dhcp);
    let _dhcp = Dhcp::dnsmasq(&lab, &format!("{range} --dhcp-option-force=3,{FIRST}"));
    flap(&lab);
    wait_for("the address", || has(&lab, FIRST));
    let said = status(&lab);
    assert_eq!(said["problems"].as_array().map(Vec::len), Some(0), "{said:#}");
    assert!(said["wan_lease"]["gateway"].is_null(), "{said:#}");
    Ok(())
}

fn an_address_that_somebody_has_is_declined() -> Outcome {
    need("dhcpd")?;
    let lab = lab();
    // Somebody on the link has it already.
    lab.run(Isp, "ip", &["address", "add", &format!("{FIRST}/32"), "dev", "eth0"]).expect_ok();
    let dhcp = Dhcp::isc(&lab, &FIRST.to_string(), "");
    lab.start_router(DHCP).unwrap_or_else(|error| panic!("{error}"));
    wait_for("the server is told", || dhcp.log().contains(&format!("DHCPDECLINE of {FIRST}")));
    assert!(!has(&lab, FIRST));
    assert_eq!(events(&lab, "wan-address-obtained"), 0);
    // That it has none is not for want of a server.
    let said = status(&lab);
    assert_eq!(said["wan_lease"]["taken"], FIRST.to_string(), "{said:#}");
    let problem = format!("the DHCP server gives {FIRST}, which another machine there uses");
    assert!(said["problems"].to_string().contains(&problem), "{said:#}");
    doctor(&lab, &[]).expect("wan-address-taken");
    Ok(())
}

fn a_declined_address_is_followed_by_another() -> Outcome {
    need("dhcpd")?;
    let lab = lab();
    // Somebody on the link has it already, whichever of the two it is.
    let both = [FIRST, Ipv4Addr::new(203, 0, 113, 51)];
    for address in both {
        lab.run(Isp, "ip", &["address", "add", &format!("{address}/32"), "dev", "eth0"]).expect_ok();
    }
    let dhcp = Dhcp::isc(&lab, &format!("{} {}", both[0], both[1]), "");
    lab.start_router(DHCP).unwrap_or_else(|error| panic!("{error}"));
    let declined = |address: &Ipv4Addr| dhcp.log().contains(&format!("DHCPDECLINE of {address}"));
    wait_for("the server is told", || both.iter().any(declined));
    assert_eq!(events(&lab, "wan-address-obtained"), 0);
    assert!(!both.iter().any(|address| has(&lab, *address)));
    // The other one is free, and the server gives it when it is asked again, ten seconds later.
    let free = if declined(&both[0]) { both[1] } else { both[0] };
    lab.run(Isp, "ip", &["address", "del", &format!("{free}/32"), "dev", "eth0"]).expect_ok();
    wait_for("another address", || has(&lab, free));
    assert_eq!(dhcp.count("DHCPDECLINE"), 1, "{}", dhcp.log());
    let _server = Server::tcp(&lab.host(Remote), 7);
    let mut stream = connect(&lab.host(Laptop), SocketAddrV4::new(lab.address.remote, 7)).expect("a way out");
    assert_eq!(*greeting(&mut stream).ip(), free);
    Ok(())
}

/// The provider's server has addresses for one client identifier, vendor class and name alone.
fn a_provider_that_wants_to_hear_who_asks_is_told() -> Outcome {
    need("dhcpd")?;
    let lab = lab();
    let subscribers = "class \"subscribers\" { match if option dhcp-client-identifier = \"user@line|secret\"\n\
        and option vendor-class-identifier = \"dslforum.org\" and option host-name = \"genkan\"; }\n";
    let pool = format!("{FIRST}; allow members of \"subscribers\"");
    let dhcp = Dhcp::isc_with(&lab, "203.0.113.0", &format!("pool {{ range {pool}; }}"), subscribers);
    lab.start_router(DHCP).unwrap_or_else(|error| panic!("{error}"));
    wait_for("the server has nothing for a stranger", || dhcp.log().contains("no free leases"));
    assert_eq!(dhcp.count("DHCPOFFER"), 0, "{}", dhcp.log());
    // The server is asked anew at once.
    let said = "client_id = \"user@line|secret\", vendor_class = \"dslforum.org\", hostname = \"genkan\"";
    lab.reload(&format!("{DHCP}dhcp = {{ {said} }}\n"));
    wait_for("an address", || has(&lab, FIRST));
    // It renews under the same name.
    wait_for_renewal(&lab, || ());
    assert_eq!((events(&lab, "wan-address-obtained"), dhcp.count("DHCPNAK")), (1, 0));
    Ok(())
}

fn dhcp_comes_and_goes_with_a_reload() -> Outcome {
    need("dhcpd")?;
    let lab = Lab::start(WEB);
    let _dhcp = Dhcp::isc(&lab, &FIRST.to_string(), "");
    let _web = Server::tcp(&lab.host(Nas), 8080);
    assert!(status(&lab).get("wan_lease").is_none());
    lab.reload(&format!("{DHCP}{WEB}"));
    wait_for("an address by DHCP", || has(&lab, FIRST));
    greeting(&mut connect(&lab.host(Remote), SocketAddrV4::new(FIRST, 80)).expect("the forward is there"));
    // A reload that changes something else keeps it.
    lab.reload(&format!("{DHCP}{}", WEB.replace("port = 80\n", "port = 81\n")));
    greeting(&mut connect(&lab.host(Remote), SocketAddrV4::new(FIRST, 81)).expect("the other port"));
    lab.reload(WEB);
    assert!(has(&lab, lab.address.wan) && !has(&lab, FIRST));
    wait_for("no lease", || status(&lab).get("wan_lease").is_none());
    greeting(&mut connect(&lab.host(Remote), lab.wan(80)).expect("the forward is back"));
    Ok(())
}
