//! Updates of a BIND whose clock is another one.

use std::fs;

use genkan_lab::topology::Role::Remote;

use super::ddns::{ROUTER, address_at_bind, bind_with, dns_entry, folder, row, signed, wait_for_state};
use crate::cases;
use crate::fixture::{Lab, wait_for};
use crate::outcome::Outcome;
use crate::programs::{need, need_tun};

cases![;
    only_genkan: updates_are_signed_by_the_clock_of_the_server,
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
