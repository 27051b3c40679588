//! The resolvers that the DNS service asks: of the wan's lease, of several kinds, quick, slow and dead.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use genkan_lab::Options;
use genkan_lab::topology::Role::Remote;
use serde_json::json;

use super::dns::{RESOLVER, Unbound, asked, folder, needed, report, short};
use super::wan_dhcp::{DHCP, Dhcp, flap, status};
use crate::cases;
use crate::fixture::{Lab, wait_for};
use crate::outcome::Outcome;
use crate::programs::{Background, need};
use crate::servers::Server;

cases![
    ;
    only_genkan:
    resolvers_of_the_wans_lease_are_asked_and_follow_it,
    in_order_a_dead_resolver_is_passed_over,
    in_parallel_nobody_waits_for_the_dead_and_the_slow,
];

const ROUTER: &str = "[router]\ntun = \"genkan0\"\n";
/// Where BIND asks on.
const BEHIND_BIND: u16 = 5301;
/// What an answer takes that comes only after a resolver was waited for in vain.
const IN_VAIN: Duration = Duration::from_secs(1);

/// BIND 9 as a provider has it: it serves everybody, and asks unbound on.
fn bind(lab: &Lab) -> Background {
    let home = folder(lab).join("bind-resolver");
    fs::create_dir_all(&home).expect("/run is ours in here");
    let (path, second) = (home.display(), lab.address.remote_second);
    let config = format!(
        "options {{ directory \"{path}\"; listen-on {{ {second}; }}; listen-on-v6 {{ none; }}; pid-file \"{path}/pid\";\n\
         session-keyfile \"{path}/session.key\"; recursion yes; allow-query {{ any; }}; dnssec-validation no;\n\
         forward only; forwarders {{ {RESOLVER} port {BEHIND_BIND}; }}; }};\ncontrols {{ }};\n"
    );
    let file = home.join("named.conf");
    fs::write(&file, config).expect("it is ours");
    let arguments = ["-g", "-4", "-n", "1", "-c", &file.to_string_lossy()];
    let bind = Background::start(&lab.host(Remote), "/usr/sbin/named", &arguments);
    let at = format!("@{second}");
    wait_for("BIND answers", || {
        lab.run(Remote, "dig", &["+tries=1", "+time=1", &at, "www.example.net"]).stdout.contains("NOERROR")
    });
    bind
}

fn upstreams(lab: &Lab) -> Vec<String> {
    let report = report(lab);
    let rows = report["upstreams"].as_array().expect("it is a list");
    rows.iter().filter_map(|row| row["resolver"].as_str().map(str::to_owned)).collect()
}

/// unbound, then BIND, each with what it says about one name; dnsmasq's lease names one after the other.
fn resolvers_of_the_wans_lease_are_asked_and_follow_it() -> Outcome {
    needed()?;
    need("named")?;
    need("dnsmasq")?;
    let lab = Lab::without_router(&Options::default());
    let _unbound = Unbound::start(&lab, 53, "");
    let other =
        "\n    local-zone: \"example.net.\" static\n    local-data: \"www.example.net. 300 A 198.51.100.99\"";
    let _behind = Unbound::with(&lab, BEHIND_BIND, "", other);
    let _bind = bind(&lab);
    let leases = folder(&lab).join("dnsmasq.leases");
    let dnsmasq = |resolver: Ipv4Addr| {
        let dhcp = Dhcp::start(
            &lab,
            &format!(
                "dnsmasq --no-daemon --conf-file=/dev/null --port=0 --user=root --interface=eth0 --no-ping \
                 --dhcp-range=203.0.113.50,203.0.113.50,1h --dhcp-option=option:router,203.0.113.2 \
                 --dhcp-option=option:dns-server,{resolver} --dhcp-leasefile={}",
                leases.display()
            ),
        );
        wait_for("dnsmasq listens", || dhcp.log().contains("IP range"));
        dhcp
    };
    let dhcp = dnsmasq(lab.address.remote);
    lab.start_router(&format!("{DHCP}{ROUTER}[dns]\n")).unwrap_or_else(|error| panic!("{error}"));
    wait_for("a lease", || status(&lab)["wan_lease"]["state"] == "bound");
    wait_for("its resolver", || upstreams(&lab) == ["198.51.100.7:53"]);
    assert_eq!(short(&lab, &["www.example.net"]), "198.51.100.9");
    assert_eq!(report(&lab)["upstreams"][0]["answered"], 1);

    // The same lease with another resolver.
    drop(dhcp);
    let _dhcp = dnsmasq(lab.address.remote_second);
    flap(&lab);
    wait_for("the other resolver", || upstreams(&lab) == ["198.51.100.8:53"]);
    assert_eq!(status(&lab)["wan_lease"]["dns"], json!(["198.51.100.8"]));
    assert_eq!(short(&lab, &["www.example.net"]), "198.51.100.99", "not what the other one had said");
    // BIND's answers are taken as unbound's are: also long ones, and that there is nothing.
    let long = asked(&lab, &["long.example.net", "TXT"]);
    assert!(long.contains("ANSWER: 12") && long.contains("(TCP)"), "{long}");
    assert!(asked(&lab, &["none.example.net"]).contains("status: NXDOMAIN"));
    let row = &report(&lab)["upstreams"][0];
    assert_eq!((&row["answered"], &row["failed"]), (&3.into(), &0.into()), "{row}");
    Ok(())
}

/// Takes questions at the remote host's third address and never answers.
fn silent(lab: &Lab) -> UdpSocket {
    let address = SocketAddrV4::new(lab.address.remote_third, 53);
    lab.host(Remote).run(|| UdpSocket::bind(address)).expect("the port is free")
}

/// Asks for a name that nobody has asked for. How long that took; dig itself is part of it.
fn time_of(lab: &Lab, number: u32) -> Duration {
    let began = Instant::now();
    let said = asked(lab, &[&format!("none-{number}.example.net")]);
    assert!(said.contains("status: NXDOMAIN"), "{said}");
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn in_order_a_dead_resolver_is_passed_over() -> Outcome {
    needed()?;
    need("named")?;
    let lab = Lab::without_router(&Options::default());
    let _behind = Unbound::start(&lab, BEHIND_BIND, "");
    let (_bind, _silent) = (bind(&lab), silent(&lab));
    let upstreams = "upstreams = [\"198.51.100.9\", \"198.51.100.8\"]";
    lab.start_router(&format!("{ROUTER}[dns]\n{upstreams}\n")).unwrap_or_else(|error| panic!("{error}"));
    let mut number = 0;
    let mut next = || {
        number += 1;
        time_of(&lab, number)
    };
    let found_out = (1..=4).find(|_| {
        next();
        report(&lab)["upstreams"][0]["up"] == false
    });
    assert_eq!(found_out, Some(3), "three failures in a row");
    let times: Vec<_> = (0..9).map(|_| next()).collect();
    println!("    behind a dead resolver: median {:?} of {times:?}", median(times.clone()));
    assert!(median(times.clone()) < IN_VAIN, "{times:?}");
    let rows = &report(&lab)["upstreams"];
    assert_eq!((&rows[1]["up"], &rows[1]["answered"]), (&true.into(), &12.into()), "{rows}");
    let table = lab.genkan(&["dns"]).expect_ok().stdout;
    let line =
        |address: &str| table.lines().find(|line| line.contains(address)).unwrap_or_default().to_owned();
    assert!(line("198.51.100.9:53").contains("down") && !line("198.51.100.8:53").contains("down"), "{table}");
    Ok(())
}

fn in_parallel_nobody_waits_for_the_dead_and_the_slow() -> Outcome {
    /// What a slow resolver takes for an answer; less than after what it would count as silent.
    const SLOWNESS: Duration = Duration::from_millis(300);
    needed()?;
    need("named")?;
    let lab = Lab::without_router(&Options::default());
    let _behind = Unbound::start(&lab, BEHIND_BIND, "");
    let (_bind, _silent) = (bind(&lab), silent(&lab));
    let at = SocketAddrV4::new(lab.address.remote, 53);
    let _slow = Server::udp_after(&lab.host(Remote), at, SLOWNESS, |question, _| {
        // NXDOMAIN, and recursion is available.
        let mut answer = question.to_vec();
        answer[2] |= 0x80;
        answer[3] = 0x83;
        answer
    });
    let upstreams =
        "upstreams = [\"198.51.100.9\", \"198.51.100.7\", \"198.51.100.8\"]\nstrategy = \"parallel\"";
    lab.start_router(&format!("{ROUTER}[dns]\n{upstreams}\n")).unwrap_or_else(|error| panic!("{error}"));
    let mut times = Vec::new();
    wait_for("the dead one is known", || {
        times.push(time_of(&lab, times.len() as u32));
        report(&lab)["upstreams"][0]["up"] == false
    });
    println!("    beside a dead and a slow resolver: median {:?} of {}", median(times.clone()), times.len());
    assert!(median(times.clone()) < SLOWNESS, "{times:?}");
    wait_for("the slow one is heard", || report(&lab)["upstreams"][1]["answered"] != 0);
    let rows = &report(&lab)["upstreams"];
    assert_eq!([0, 1, 2].map(|row| rows[row]["up"] == true), [false, true, true], "{rows}");
    assert_eq!((&rows[0]["answered"], &rows[2]["answered"]), (&0.into(), &times.len().into()), "{rows}");
    let slow = rows[1]["round_trip_ms"].as_f64().expect("it has answered");
    assert!(slow >= SLOWNESS.as_secs_f64() * 1000.0, "{rows}");
    let events = lab.genkan(&["events"]).expect_ok().stdout;
    assert!(events.contains("the resolver 198.51.100.9:53 does not answer"), "{events}");
    assert!(!events.contains("198.51.100.7:53 does not answer"), "{events}");
    Ok(())
}
