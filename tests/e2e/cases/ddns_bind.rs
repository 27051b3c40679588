//! Updates of a BIND whose clock is another one, and of one that can only be asked by TCP.

use std::fs;

use genkan_lab::topology::Role::Remote;

use super::ddns::{ROUTER, address_at_bind, bind_with, dns_entry, folder, row, signed, wait_for_state};
use crate::cases;
use crate::fixture::{Lab, wait_for};
use crate::outcome::Outcome;
use crate::programs::{need, need_tun};

cases![;
    only_genkan: updates_are_signed_by_the_clock_of_the_server,
    what_udp_does_not_carry_goes_by_tcp,
];

/// Sets the clock of the program that loads it two hours and five minutes ahead.
const AHEAD: &str = r"
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += 7500;
    return failed;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
";

fn updates_are_signed_by_the_clock_of_the_server() -> Outcome {
    need_tun()?;
    need("named")?;
    need("dig")?;
    need("cc")?;
    let lab = Lab::without_router(&genkan_lab::Options::default());
    let clock = folder(&lab, "clock");
    let (source, library) = (clock.join("ahead.c"), clock.join("ahead.so").display().to_string());
    fs::write(&source, AHEAD).expect("it is ours");
    let source = source.display().to_string();
    lab.run(Remote, "cc", &["-shared", "-fPIC", "-o", &library, &source]).expect_ok();
    let bind = bind_with(&lab, &[&format!("LD_PRELOAD={library}")], "", "");
    let rules = ROUTER.to_owned() + &dns_entry(&lab, "home.example.net", &signed());
    lab.start_router(&rules).unwrap_or_else(|error| panic!("{error}"));
    let told = wait_for_state(&lab, "home.example.net", "good");
    assert_eq!((&told["updates"], &told["failures"]), (&1.into(), &0.into()), "{told:#}");
    assert_eq!(address_at_bind(&lab, "home.example.net"), lab.address.wan.to_string());
    // A person is told, though it works.
    let off = "the router's clock is 2h5m behind the server's";
    assert!(told["reason"].as_str().is_some_and(|said| said.contains(off)), "{told:#}");
    let log = lab.router(|router| router.log());
    assert!(log.contains(off) && log.contains("BADTIME"), "{log}");
    // A server whose clock is right again is taken at its word as well.
    drop(bind);
    let _bind = bind_with(&lab, &[], "", "");
    let config = lab.config(&rules).replace("address = \"203.0.113.1/24\"", "address = \"203.0.113.77/24\"");
    fs::write(lab.config_file(), config).expect("the file can be written");
    lab.genkan(&["reload"]).expect_ok();
    wait_for("the other address", || address_at_bind(&lab, "home.example.net") == "203.0.113.77");
    wait_for("nothing is off", || row(&lab, "home.example.net")["reason"].is_null());
    assert_eq!(row(&lab, "home.example.net")["state"], "good");
    Ok(())
}

fn what_udp_does_not_carry_goes_by_tcp() -> Outcome {
    need_tun()?;
    need("named")?;
    need("dig")?;
    need("nft")?;
    let lab = Lab::without_router(&genkan_lab::Options::default());
    let asked = folder(&lab, "bind").join("asked");
    let log = format!(
        "logging {{ channel asked {{ file \"{}\"; print-category yes; }};\n\
         category queries {{ asked; }}; category update {{ asked; }}; }};\n",
        asked.display()
    );
    // More addresses than 512 octets hold, and one of IPv6, which is another matter.
    let many: String = (0..40).map(|number| format!("many IN A 192.0.2.{number}\n")).collect();
    let records = format!("{many}many IN AAAA 2001:db8::1\n");
    let _bind = bind_with(&lab, &[], &log, &records);
    let asked_for = |what: &str| fs::read_to_string(&asked).unwrap_or_default().matches(what).count();
    let rules = ROUTER.to_owned() + &dns_entry(&lab, "many.example.net", &signed());
    lab.start_router(&rules).unwrap_or_else(|error| panic!("{error}"));
    wait_for_state(&lab, "many.example.net", "good");
    assert_eq!(address_at_bind(&lab, "many.example.net"), "203.0.113.1", "the only one now");
    let by = |protocol: &str| asked_for(&format!("query: many.example.net IN A {protocol} "));
    assert_eq!(
        (by("-"), by("-T")),
        (1, 1),
        "cut, then whole: {}",
        fs::read_to_string(&asked).unwrap_or_default()
    );
    let other = lab.run(Remote, "dig", &["+short", "@127.0.0.1", "many.example.net", "AAAA"]).expect_ok();
    assert_eq!(other.stdout.trim(), "2001:db8::1");

    // Somebody on the way lets no datagrams through any more.
    let table = "table ip filter { chain in { type filter hook input priority filter; iifname eth0 udp dport 53 counter drop; }; }";
    lab.run(Remote, "nft", &[table]).expect_ok();
    let config = lab.config(&rules).replace("address = \"203.0.113.1/24\"", "address = \"203.0.113.77/24\"");
    fs::write(lab.config_file(), config).expect("the file can be written");
    lab.genkan(&["reload"]).expect_ok();
    wait_for("the other address", || address_at_bind(&lab, "many.example.net") == "203.0.113.77");
    let row = wait_for_state(&lab, "many.example.net", "good");
    assert_eq!((&row["updates"], &row["failures"]), (&2.into(), &0.into()), "{row:#}");
    let dropped = lab.run(Remote, "nft", &["list", "chain", "ip", "filter", "in"]).expect_ok().stdout;
    assert!(!dropped.contains("packets 0 "), "datagrams were tried: {dropped}");
    Ok(())
}
