//! Set-ups in which the configuration keeps a forward from working.

use std::fs;
use std::time::SystemTime;

use genkan_lab::Options;
use genkan_lab::topology::Role::{Isp, Laptop, Nas, Remote};

use super::doctor::{doctor, ip};
use crate::cases;
use crate::fixture::{Lab, SILENCE, WEB, wait_for};
use crate::outcome::Outcome;
use crate::servers::{Server, connect, connect_within, greeting};

cases![
    ;
    only_genkan:
    rules_that_keep_it_closed,
    targets_that_cannot_be,
    addresses_that_nobody_leads_to,
    who_was_turned_away,
    limits_that_are_reached,
    a_guest_that_may_not,
    a_clock_that_cannot_be_right,
];

/// A forward with further keys.
fn web(keys: &str) -> String {
    format!("{WEB}{keys}\n")
}

/// Has another file take effect.
fn load(lab: &Lab, config: &str) {
    fs::write(lab.config_file(), config).expect("the file can be written");
    lab.genkan(&["reload"]).expect_ok();
}

fn rules_that_keep_it_closed() -> Outcome {
    let lab = Lab::start(WEB);
    let _server = Server::tcp(&lab.host(Nas), 8080);
    let before = "[[forward]]\nname = \"old\"\nprotocol = \"tcp\"\nport = \"1-100\"\nto = \"192.168.0.20\"\n";
    for (rules, cause) in [
        (web("enabled = false"), "forward-disabled"),
        (web("expires = 2026-01-01T00:00:00Z"), "forward-expired"),
        // A day that is none of the next ones, whatever day it is.
        (web(&format!("schedule = \"{}\"", far_day())), "out-of-hours"),
        (format!("{before}{WEB}"), "shadowed"),
    ] {
        lab.reload(&rules);
        let told = doctor(&lab, &["web"]);
        told.expect(cause);
        let place = told.json["findings"][0]["place"].as_str().expect("the rule has a place");
        assert!(place.contains("genkan.toml:"), "{place}");
    }
    // The file was edited, and nobody told the router.
    lab.reload("");
    lab.write_rules(WEB);
    doctor(&lab, &["web"]).expect("forward-not-loaded");
    lab.reload(WEB);
    lab.write_rules(&WEB.replace("8080", "8081"));
    doctor(&lab, &["web"]).expect("forward-not-loaded");
    lab.reload(WEB);
    doctor(&lab, &[]).expect_nothing();
    Ok(())
}

/// An hour of a day half a week away.
fn far_day() -> String {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
    // 1970-01-01 was a Thursday.
    let days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    format!("{} 01:00-02:00", days[((since_1970.as_secs() / 86_400 + 3) % 7) as usize])
}

fn targets_that_cannot_be() -> Outcome {
    let lab = Lab::start(WEB);
    let route = "[[route]]\nto = \"10.20.0.0/16\"\nvia = \"192.168.0.254\"\n";
    for (rules, cause) in [
        (WEB.replace("192.168.0.10", "192.168.5.10"), "target-outside"),
        (WEB.replace("192.168.0.10", "192.168.0.77"), "target-silent"),
        (format!("{route}{}", WEB.replace("192.168.0.10", "10.20.0.5")), "via-silent"),
    ] {
        lab.reload(&rules);
        doctor(&lab, &["web"]).expect(cause);
    }
    Ok(())
}

fn addresses_that_nobody_leads_to() -> Outcome {
    let lab = Lab::start(WEB);
    let _server = Server::tcp(&lab.host(Nas), 8080);
    let good = lab.config(WEB);
    for (wan, isp, cause) in [
        ("192.168.77.1", "192.168.77.2", "wan-private"),
        ("100.64.7.1", "100.64.7.2", "wan-cgnat"),
        ("192.0.0.2", "192.0.0.3", "wan-ds-lite"),
        ("169.254.7.1", "169.254.7.2", "wan-link-local"),
    ] {
        let length = if cause == "wan-ds-lite" { 29 } else { 24 };
        ip(&lab.host(Isp), &format!("address add {isp}/{length} dev eth0"));
        let config = good.replace("203.0.113.1/24", &format!("{wan}/{length}"));
        load(&lab, &config.replace("gateway = \"203.0.113.2\"", &format!("gateway = \"{isp}\"")));
        doctor(&lab, &["web"]).expect(cause);
    }
    load(&lab, &good.replace("gateway = \"203.0.113.2\"", ""));
    doctor(&lab, &["web"]).expect("gateway-missing");
    load(&lab, &good.replace("gateway = \"203.0.113.2\"", "gateway = \"203.0.113.3\""));
    doctor(&lab, &["web"]).expect("gateway-silent");
    // The name that people use leads elsewhere.
    load(&lab, &good);
    doctor(&lab, &["web", "--to", "203.0.113.9"]).expect("address-not-ours");
    let spare = good.replace("gateway =", "addresses = [\"203.0.113.5\"]\ngateway =");
    load(&lab, &format!("{spare}address = \"203.0.113.5\"\n"));
    doctor(&lab, &["web", "--to", "203.0.113.1"]).expect("other-address");
    doctor(&lab, &["web"]).expect_nothing();
    Ok(())
}

fn who_was_turned_away() -> Outcome {
    let lab = Lab::start(&web("from = [\"198.51.100.8/32\"]"));
    let _server = Server::tcp(&lab.host(Nas), 8080);
    doctor(&lab, &["web"]).expect_nothing();
    // Asked about, then seen.
    doctor(&lab, &["web", "--from", "198.51.100.7"]).expect("source-not-admitted");
    assert!(connect_within(&lab.host(Remote), lab.wan(80), SILENCE).is_err());
    let told = doctor(&lab, &["web"]);
    told.expect("source-not-admitted");
    let command = told.json["findings"][0]["commands"][0].as_str().expect("there is a command");
    lab.genkan(&command.split(' ').skip(1).collect::<Vec<_>>()).expect_ok();
    connect(&lab.host(Remote), lab.wan(80)).expect("the remedy helps");

    lab.reload(&format!("{WEB}[nat]\nhairpin = false\n"));
    doctor(&lab, &["web", "--from", "192.168.0.20"]).expect("hairpin-off");
    assert!(connect_within(&lab.host(Laptop), lab.wan(80), SILENCE).is_err());
    doctor(&lab, &["web"]).expect("hairpin-off");
    Ok(())
}

fn limits_that_are_reached() -> Outcome {
    let lab = Lab::start(&web("max_sessions = 1"));
    let _server = Server::tcp(&lab.host(Nas), 8080);
    let mut first = connect(&lab.host(Remote), lab.wan(80)).expect("there is place for one");
    greeting(&mut first);
    doctor(&lab, &["web"]).expect("max-sessions");
    lab.reload(&web("max_new_per_source = \"1/h\""));
    greeting(&mut connect(&lab.host(Remote), lab.wan(80)).expect("one an hour"));
    assert!(connect_within(&lab.host(Remote), lab.wan(80), SILENCE).is_err());
    wait_for("the router has told of it", || {
        lab.genkan(&["events", "--format", "json"]).stdout.contains("opens sessions too fast")
    });
    doctor(&lab, &["web"]).expect("source-braked");
    lab.reload(&format!("{WEB}[nat]\nmax_sessions = 1\nmax_sessions_per_host = 1\n"));
    doctor(&lab, &["web"]).expect("sessions-full");
    Ok(())
}

fn a_guest_that_may_not() -> Outcome {
    let rules = format!(
        "[[lan]]\nname = \"guests\"\ndevice = \"lan1\"\naddress = \"192.168.1.1/24\"\nreaches = []\n{WEB}"
    );
    let lab = Lab::with(&Options { lans: 2, ..Options::default() }, &rules);
    let _server = Server::tcp(&lab.host(Nas), 8080);
    doctor(&lab, &["web", "--from", "192.168.1.10"]).expect("lan-not-reaching");
    doctor(&lab, &["web", "--from", "192.168.0.20"]).expect_nothing();
    Ok(())
}

fn a_clock_that_cannot_be_right() -> Outcome {
    let lab = Lab::without_router(&Options::default());
    let state = lab.config_file().with_file_name("state");
    fs::create_dir_all(&state).expect("/run is ours in here");
    // The year 2100 was seen: what the clock shows now is like 1970 to a box without a battery.
    fs::write(state.join("clock"), "{\"seen\": 4102444800}\n").expect("written");
    lab.start_router(&web("schedule = \"daily 00:00-24:00\"")).expect("it starts");
    let _server = Server::tcp(&lab.host(Nas), 8080);
    doctor(&lab, &["web"]).expect("clock-implausible");
    Ok(())
}
