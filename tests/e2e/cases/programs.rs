//! Everyday programs in both directions.

use std::net::{Ipv4Addr, SocketAddrV4};

use genkan_lab::Options;
use genkan_lab::topology::Role::{Laptop, Nas, Remote};

use crate::cases;
use crate::fixture::{Lab, wait_for};
use crate::outcome::Outcome;
use crate::programs::{Background, need, run};
use crate::servers::Server;

cases![
    curl_out_and_in,
    nc_tcp_and_udp,
    ping_small_and_large,
    ping_without_fragmentation_learns_the_path_mtu,
    traceroute_names_every_hop,
    dig_asks_a_name_server,
    iperf3_both_ways,
    python_serves_a_file_whole;
    only_genkan: the_router_says_that_its_own_link_is_narrow
];

const PAGE: &str = "a page from the other side of the entrance\n";

pub(super) fn curl_out_and_in() -> Outcome {
    need("curl")?;
    let lab = Lab::start(
        "[[forward]]\nname = \"web\"\nprotocol = \"tcp\"\nport = 80\nto = \"192.168.0.10:8080\"\n",
    );
    let _far = Server::http(&lab.host(Remote), 80, PAGE);
    let _near = Server::http(&lab.host(Nas), 8080, PAGE);
    let out = format!("http://{}/", lab.address.remote);
    let page = lab.run(Laptop, "curl", &["--silent", "--max-time", "5", &out]).expect_ok();
    assert_eq!(page.stdout, PAGE);
    let home = format!("http://{}/", lab.address.wan);
    for role in [Remote, Laptop, Nas] {
        let page = lab.run(role, "curl", &["--silent", "--max-time", "5", &home]).expect_ok();
        assert_eq!(page.stdout, PAGE, "from {}", role.name());
    }
    Ok(())
}

pub(super) fn nc_tcp_and_udp() -> Outcome {
    need("nc")?;
    let lab = Lab::start(
        "[[forward]]\nname = \"chat\"\nprotocol = \"tcp\"\nport = 4000\nto = \"192.168.0.10:4000\"\n",
    );
    let _servers = [
        Server::tcp(&lab.host(Remote), 7),
        Server::udp(&lab.host(Remote), 7),
        Server::tcp(&lab.host(Nas), 4000),
    ];
    let shell = |role, script: &str| lab.run(role, "sh", &["-c", script]);
    let said = shell(Laptop, "echo over tcp | nc -q 1 -w 3 198.51.100.7 7");
    assert!(said.stdout.ends_with("over tcp\n") && said.stdout.starts_with("203.0.113.1:"), "{said:?}");
    let said = shell(Laptop, "echo over udp | nc -u -w 1 198.51.100.7 7");
    assert!(said.stdout.ends_with("over udp\n") && said.stdout.starts_with("203.0.113.1:"), "{said:?}");
    let said = shell(Remote, "echo from outside | nc -q 1 -w 3 203.0.113.1 4000");
    assert!(said.stdout.ends_with("from outside\n") && said.stdout.starts_with("198.51.100.7:"), "{said:?}");
    Ok(())
}

/// Sizes beyond the MTU go as fragments, which the router has to tie together both ways.
pub(super) fn ping_small_and_large() -> Outcome {
    need("ping")?;
    let lab = Lab::start("");
    for size in ["0", "56", "1472", "1473", "4000", "20000", "65507"] {
        let said = lab.run(Laptop, "ping", &["-c", "3", "-i", "0.05", "-W", "2", "-s", size, "198.51.100.7"]);
        assert!(said.ok && said.stdout.contains(" 0% packet loss"), "size {size}: {said:#?}");
    }
    // The router itself answers on both sides.
    lab.run(Laptop, "ping", &["-c", "2", "-i", "0.05", "-W", "2", "192.168.0.1"]).expect_ok();
    lab.run(Remote, "ping", &["-c", "2", "-i", "0.05", "-W", "2", "203.0.113.1"]).expect_ok();
    Ok(())
}

fn ping_without_fragmentation_learns_the_path_mtu() -> Outcome {
    need("ping")?;
    let lab = Lab::with(&Options { remote_mtu: 1400, ..Options::default() }, "");
    let laptop = lab.host(Laptop);
    let ping = |size| {
        run(&laptop, "ping", &["-M", "do", "-c", "2", "-i", "0.1", "-W", "1", "-s", size, "198.51.100.7"])
    };
    ping("1372").expect_ok();
    let said = ping("1373");
    let all = format!("{}{}", said.stdout, said.stderr);
    assert!(!said.ok, "a packet larger than the path got through: {all}");
    // Either the error message that came back, or the kernel's memory of it.
    assert!(all.contains("1400"), "nobody named the path MTU: {all}");
    // TCP finds it as well, and a long answer comes through.
    let _server = Server::tcp(&lab.host(Remote), 7);
    let mut stream =
        crate::servers::connect(&laptop, SocketAddrV4::new(lab.address.remote, 7)).expect("open");
    crate::servers::greeting(&mut stream);
    crate::servers::exchange(&mut stream, &vec![b'x'; 200_000]);
    Ok(())
}

fn traceroute_names_every_hop() -> Outcome {
    need("traceroute")?;
    let lab = Lab::start("");
    for kind in [&["-U", "-p", "33434"][..], &["-I"], &["-T", "-p", "80"]] {
        let mut arguments = vec!["-n", "-q", "1", "-w", "2", "-m", "4"];
        arguments.extend(kind);
        arguments.push("198.51.100.7");
        let said = lab.run(Laptop, "traceroute", &arguments).expect_ok();
        let hops: Vec<_> =
            said.stdout.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(hops, ["192.168.0.1", "203.0.113.2", "198.51.100.7"], "with {kind:?}: {said:#?}");
    }
    Ok(())
}

/// Answers every question with one address: header and question of the query, and an A record.
fn name_server(query: &[u8]) -> Vec<u8> {
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
    let question_end = 12 + query[12..].iter().position(|&byte| byte == 0).unwrap_or(0) + 5;
    let mut answer = query[..question_end.min(query.len())].to_vec();
    answer[2..12].copy_from_slice(&[0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0]); // response, authoritative; 1 question, 1 answer
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]); // the name above, A, IN, 60 s, 4 octets
    answer.extend(ADDRESS.octets());
    answer
}

fn dig_asks_a_name_server() -> Outcome {
    need("dig")?;
    let lab = Lab::start("");
    let _server =
        Server::udp_with(&lab.host(Remote), SocketAddrV4::new(lab.address.remote, 53), |query, _| {
            name_server(query)
        });
    let said =
        lab.run(Laptop, "dig", &["+short", "+time=2", "+tries=2", "@198.51.100.7", "nas.example", "A"]);
    assert_eq!(said.expect_ok().stdout.trim(), "198.51.100.9");
    Ok(())
}

pub(super) fn iperf3_both_ways() -> Outcome {
    need("iperf3")?;
    let lab = Lab::start("");
    let remote = lab.host(Remote);
    for extra in [&[][..], &["--reverse"], &["--parallel", "4"], &["--udp", "--bitrate", "50M"]] {
        // A server for each client: one that serves several turns the next away while it is busy with the last.
        let _server = Background::start(&remote, "iperf3", &["--server", "--one-off"]);
        wait_for("iperf3 listens", || {
            run(&remote, "sh", &["-c", "grep -qE ':1451 [0-9A-F:]+ 0A' /proc/net/tcp /proc/net/tcp6"]).ok
        });
        let mut arguments = vec!["--client", "198.51.100.7", "--time", "1"];
        arguments.extend(extra);
        let said = run(&lab.host(Laptop), "iperf3", &arguments);
        assert!(said.ok, "iperf3 {extra:?}: {said:#?}");
    }
    Ok(())
}

/// A file over HTTP, in and out, with equal hashes.
fn python_serves_a_file_whole() -> Outcome {
    const PORT: &str = "8000";
    for program in ["python3", "curl", "sha256sum"] {
        need(program)?;
    }
    let lab = Lab::start(
        "[[forward]]\nname = \"files\"\nprotocol = \"tcp\"\nport = 8000\nto = \"192.168.0.10:8000\"\n",
    );
    let directory = format!("/run/genkan-e2e/{}-files", lab.topology.prefix());
    let make = format!("mkdir -p {directory} && head -c 40000000 /dev/urandom >{directory}/file");
    lab.run(Nas, "sh", &["-c", &make]).expect_ok();
    let hash = lab.run(Nas, "sh", &["-c", &format!("sha256sum <{directory}/file")]).expect_ok().stdout;
    let serve = ["-m", "http.server", "--directory", &directory, PORT];
    let servers = [Nas, Remote].map(|role| Background::start(&lab.host(role), "python3", &serve));
    for (role, address) in [(Remote, lab.address.wan), (Laptop, lab.address.remote)] {
        let script = format!("curl --silent --fail --max-time 20 http://{address}:{PORT}/file | sha256sum");
        // The server needs a moment to start.
        wait_for("the same file at the other side", || {
            lab.run(role, "bash", &["-o", "pipefail", "-c", &script]).stdout == hash
        });
    }
    drop(servers);
    Ok(())
}

/// A wan of a smaller MTU: who forbids fragmentation is told, who does not is fragmented.
fn the_router_says_that_its_own_link_is_narrow() -> Outcome {
    need("ping")?;
    let lab = Lab::start("mtu = 1400\n");
    let ping = |flag, size| {
        let arguments = ["-M", flag, "-c", "2", "-i", "0.1", "-W", "1", "-s", size, "198.51.100.7"];
        lab.run(Laptop, "ping", &arguments)
    };
    ping("do", "1372").expect_ok();
    let said = ping("do", "1373");
    let all = format!("{}{}", said.stdout, said.stderr);
    assert!(!said.ok && all.contains("1400"), "nobody named the MTU: {all}");
    ping("dont", "1373").expect_ok();
    ping("dont", "9000").expect_ok();
    // TCP adapts to it from the first segment on.
    let _server = Server::tcp(&lab.host(Remote), 7);
    let mut stream =
        crate::servers::connect(&lab.host(Nas), SocketAddrV4::new(lab.address.remote, 7)).expect("open");
    crate::servers::greeting(&mut stream);
    crate::servers::exchange(&mut stream, &vec![b'x'; 200_000]);
    Ok(())
}
