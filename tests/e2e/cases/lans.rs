//! Two lans, and the Linux box itself behind its TUN.

use std::net::SocketAddrV4;

use genkan_lab::Options;
use genkan_lab::topology::Role::{Guest, Isp, Laptop, Nas, Remote, Router};

use crate::cases;
use crate::fixture::{Lab, PATIENCE, SILENCE, wait_for};
use crate::outcome::Outcome;
use crate::programs::{need_tun, run};
use crate::servers::{Server, ask, connect, connect_within, exchange, greeting, udp};

cases![
    ;
    only_genkan:
    a_guest_network_reaches_the_internet_only,
    the_box_answers_each_request_once,
    the_box_goes_out_like_an_inside_host,
    the_kernel_hears_nothing_from_outside,
];

fn two_lans(reaches_of_home: &str) -> Lab {
    let rules = format!(
        r#"
[[lan]]
name = "home"
device = "lan0"
address = "192.168.0.1/24"
reaches = [{reaches_of_home}]

[[lan]]
name = "guests"
device = "lan1"
address = "192.168.1.1/24"
reaches = []

[[forward]]
name = "web"
protocol = "tcp"
port = 80
to = "192.168.0.10:8080"
"#
    );
    Lab::with(&Options { lans: 2, ..Options::default() }, &rules)
}

fn a_guest_network_reaches_the_internet_only() -> Outcome {
    let lab = two_lans("\"guests\"");
    let _far = Server::tcp(&lab.host(Remote), 7);
    let (_nas, _guest) = (Server::tcp(&lab.host(Nas), 8080), Server::tcp(&lab.host(Guest), 8080));
    let mut stream = connect(&lab.host(Guest), SocketAddrV4::new(lab.address.remote, 7))
        .expect("guests reach the internet");
    assert_eq!(*greeting(&mut stream).ip(), lab.address.wan);
    let nas = SocketAddrV4::new(lab.address.nas, 8080);
    assert!(connect_within(&lab.host(Guest), nas, SILENCE).is_err(), "a guest reached the home network");
    assert!(connect_within(&lab.host(Guest), lab.wan(80), SILENCE).is_err(), "also not by hairpin");
    // The home network may open sessions to the guests, and gets its answers; addresses stay as they are.
    let mut stream = connect(&lab.host(Laptop), SocketAddrV4::new(lab.address.guest, 8080)).expect("it may");
    assert_eq!(*greeting(&mut stream).ip(), lab.address.laptop);
    exchange(&mut stream, b"hello guest");
    Ok(())
}

const TUN: &str = "[router]\ntun = \"genkan0\"\n";

/// With a second stack on the same wire, some requests would be answered twice, others not at all.
fn the_box_answers_each_request_once() -> Outcome {
    const REQUESTS: usize = 200;
    need_tun()?;
    let lab = Lab::start(TUN);
    let server = Server::udp(&lab.host(Router), 7777);
    let socket = udp(&lab.host(Laptop), 0);
    let to = SocketAddrV4::new(lab.address.lan, 7777);
    for number in 0..REQUESTS {
        let text = format!("request {number}");
        assert!(ask(&socket, to, text.as_bytes(), PATIENCE).is_some(), "{text} was lost");
    }
    assert_eq!(server.seen().len(), REQUESTS);
    // `ask` skips what it did not ask for; so look whether anything is left over.
    assert_eq!(crate::servers::receive(&socket, SILENCE, |text, _| Some(text.to_vec())), None);
    let web = Server::http(&lab.host(Router), 80, "the box");
    let mut stream =
        connect(&lab.host(Laptop), SocketAddrV4::new(lab.address.lan, 80)).expect("the box listens");
    std::io::Write::write_all(&mut stream, b"GET / HTTP/1.0\r\n\r\n").expect("it is open");
    wait_for("the box saw the laptop", || {
        web.seen().first().is_some_and(|peer| *peer.ip() == lab.address.laptop)
    });
    Ok(())
}

fn the_box_goes_out_like_an_inside_host() -> Outcome {
    need_tun()?;
    let lab = Lab::start(TUN);
    let _server = Server::tcp(&lab.host(Remote), 7);
    let mut stream =
        connect(&lab.host(Router), SocketAddrV4::new(lab.address.remote, 7)).expect("the box has a way out");
    assert_eq!(*greeting(&mut stream).ip(), lab.address.wan);
    exchange(&mut stream, &vec![b'x'; 100_000]);
    // And it reaches the hosts of the lan from its lan address.
    let _near = Server::tcp(&lab.host(Nas), 7);
    let mut stream =
        connect(&lab.host(Router), SocketAddrV4::new(lab.address.nas, 7)).expect("it is on the lan");
    assert_eq!(*greeting(&mut stream).ip(), lab.address.lan);
    Ok(())
}

/// Linux takes packets for any of its addresses at any of its devices. Behind Genkan it must not.
fn the_kernel_hears_nothing_from_outside() -> Outcome {
    need_tun()?;
    let lab = Lab::start(TUN);
    let servers = [Server::udp(&lab.host(Router), 7777), Server::tcp(&lab.host(Router), 7778)];
    let isp = lab.host(Isp);
    run(&isp, "ip", &["route", "add", "192.168.0.0/24", "via", "203.0.113.1"]).expect_ok();
    let udp_socket = udp(&isp, 0);
    assert_eq!(ask(&udp_socket, SocketAddrV4::new(lab.address.lan, 7777), b"?", SILENCE), None);
    assert_eq!(ask(&udp_socket, lab.wan(7777), b"?", SILENCE), None);
    assert!(connect_within(&isp, SocketAddrV4::new(lab.address.lan, 7778), SILENCE).is_err());
    assert!(connect_within(&isp, lab.wan(7778), SILENCE).is_err());
    for server in servers {
        assert_eq!(server.seen(), [], "a kernel socket heard the outside");
    }
    // Nor does it say on the wan that it has the lan address.
    run(&isp, "ip", &["route", "add", "192.168.0.1", "dev", "eth0"]).expect_ok();
    assert_eq!(ask(&udp_socket, SocketAddrV4::new(lab.address.lan, 7777), b"?", SILENCE), None);
    let neighbor = run(&isp, "ip", &["neighbor", "show", "192.168.0.1"]).expect_ok().stdout;
    assert!(!neighbor.contains("lladdr"), "somebody answered: {neighbor}");
    assert!(lab.dropped("not_ours") >= 2, "the drops have a name");
    Ok(())
}
