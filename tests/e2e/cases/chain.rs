//! What hangs on the address of the wan moves with it, all of it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use genkan_lab::Options;
use genkan_lab::topology::Role::{Laptop, Nas, Remote};
use serde_json::json;

use super::ddns::{address_at_bind, bind, dns_entry, signed};
use super::wan_dhcp::{DHCP, Dhcp, flap, has};
use crate::cases;
use crate::fixture::{Lab, WEB, wait_for};
use crate::outcome::Outcome;
use crate::programs::{need, need_tun};
use crate::servers::{Server, connect, connect_within, greeting};

cases![; only_genkan: mappings_forwards_and_names_follow_the_address_of_the_wan];

const ROUTER: &str = "[router]\ntun = \"genkan0\"\n";
const NAME: &str = "home.example.net";
const FIRST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);
const SECOND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 60);

/// From the lease of the new address to the last that follows it.
const PROMISED: Duration = Duration::from_secs(2);

fn mappings_forwards_and_names_follow_the_address_of_the_wan() -> Outcome {
    need_tun()?;
    for program in ["kea-dhcp4", "named", "dig"] {
        need(program)?;
    }
    let lab = Lab::without_router(&Options::default());
    let _bind = bind(&lab);
    let _web = Server::tcp(&lab.host(Nas), 8080);
    let _echo = Server::tcp(&lab.host(Remote), 7);
    let pool = |address: Ipv4Addr| format!("{address} - {address}");
    let routers = json!([{"name": "routers", "data": "203.0.113.2"}]);
    let dhcp = Dhcp::kea(&lab, "203.0.113.0/24", &pool(FIRST), routers.clone(), 3_600);
    let entry = dns_entry(&lab, NAME, &signed());
    lab.start_router(&format!("{DHCP}{ROUTER}{WEB}{entry}")).unwrap_or_else(|error| panic!("{error}"));
    wait_for("the first address at BIND", || address_at_bind(&lab, NAME) == FIRST.to_string());
    greeting(&mut connect(&lab.host(Remote), SocketAddrV4::new(FIRST, 80)).expect("the forward is open"));
    let mut stream = connect(&lab.host(Laptop), SocketAddrV4::new(lab.address.remote, 7)).expect("a way out");
    assert_eq!(*greeting(&mut stream).ip(), FIRST);

    drop(dhcp);
    let dhcp = Dhcp::kea(&lab, "203.0.113.0/24", &pool(SECOND), routers, 3_600);
    flap(&lab);
    wait_for("another address is leased", || {
        dhcp.log().contains(&format!("lease {SECOND} has been allocated"))
    });
    let leased = Instant::now();
    wait_for("the other address", || has(&lab, SECOND));
    let mut reached = None;
    wait_for("the forward on the other address", || {
        reached =
            connect_within(&lab.host(Remote), SocketAddrV4::new(SECOND, 80), Duration::from_millis(100)).ok();
        reached.is_some()
    });
    let forwarded = leased.elapsed();
    greeting(reached.as_mut().expect("it was reached"));
    wait_for("the other address at BIND", || address_at_bind(&lab, NAME) == SECOND.to_string());
    let published = leased.elapsed();
    let mappings = lab.genkan(&["mappings"]).expect_ok().stdout;
    assert!(!mappings.contains(&FIRST.to_string()), "{mappings}");
    println!(
        "after the lease of another address: a connection by it {} ms, the name at BIND {} ms",
        forwarded.as_millis(),
        published.as_millis()
    );
    assert!(forwarded.max(published) < PROMISED, "{forwarded:?} {published:?}");
    Ok(())
}
