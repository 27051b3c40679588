//! Names that get an IPv6 address as well: somebody outside tells it, over a way that is not the router's.

use std::fs;
use std::path::PathBuf;

use genkan_lab::topology::Role::{Remote, Router};
use serde_json::Value;

use super::ddns::{
    HTTPS, REMOTE_V6, ROUTER, address_at_bind, bind, cloudflare_entry, dns_entry, folder, https_entry,
    requests, rows, seconds_now, signed, update_server, wait_for_state,
};
use crate::cases;
use crate::fixture::{Lab, wait_for};
use crate::outcome::{Outcome, Skip};
use crate::programs::{Background, need, need_tun};
use crate::setup;

cases![;
    only_genkan: ipv6_addresses_that_somebody_outside_tells_are_published,
    a_source_that_does_not_answer_is_remembered,
    the_interval_of_a_service_goes_for_both_families,
];

const FIRST: &str = "2001:db8:6::1";
const SECOND: &str = "2001:db8:6::11";
/// Of services that are asked over IPv6.
const ECHO: u16 = 8446;

#[track_caller]
fn row(lab: &Lab, name: &str) -> Value {
    let rows = rows(lab);
    let found = rows.iter().find(|row| row["name"] == name && row["family"] == "v6");
    found.unwrap_or_else(|| panic!("{name} is not listed: {rows:#?}")).clone()
}

#[track_caller]
fn wait_for_address(lab: &Lab, name: &str, address: &str) {
    wait_for(&format!("{name} has {address}"), || {
        let row = row(lab, name);
        row["state"] == "good" && row["address"] == address && row["fault"].is_null()
    });
}

fn at_bind(lab: &Lab, name: &str) -> String {
    let said = lab.run(Remote, "dig", &["+short", "+time=1", "+tries=1", "@127.0.0.1", name, "AAAA"]);
    said.stdout.trim().to_owned()
}

/// A cable between router and remote host that is not the router's, with IPv6.
fn another_way(lab: &Lab) {
    let remote = lab.host(Remote);
    let ip = |host, arguments: &str| {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        lab.run(host, "ip", &arguments).expect_ok();
    };
    ip(Router, &format!("link add six0 type veth peer name six1 netns {}", remote.name()));
    for (host, device, address) in [(Router, "six0", FIRST), (Remote, "six1", REMOTE_V6)] {
        ip(host, &format!("address add {address}/64 dev {device} nodad"));
        ip(host, &format!("link set {device} up"));
    }
}

/// A page that says who asks, and a STUN server, both of IPv6 alone.
fn who_tell(lab: &Lab) -> [Background; 2] {
    let remote = lab.host(Remote);
    let script = setup::root().join("tests/e2e/update_server.py").display().to_string();
    let (home, port) = (folder(lab, "update-server").display().to_string(), ECHO.to_string());
    let echo = Background::start(&remote, "python3", &[&script, &home, &port, REMOTE_V6]);
    let home = folder(lab, "turnserver");
    let (pid, database) = (home.join("pid").display().to_string(), home.join("db").display().to_string());
    let stun = [
        "-n",
        "--stun-only",
        "--listening-ip",
        REMOTE_V6,
        "--no-tls",
        "--no-dtls",
        "--no-cli",
        "--log-file",
        "stdout",
        "--pidfile",
        &pid,
        "--userdb",
        &database,
    ];
    let stun = Background::start(&remote, "turnserver", &stun);
    for port in [ECHO, 3478] {
        wait_for(&format!("port {port} is open"), || {
            lab.run(Router, "nc", &["-6", "-z", "-w", "1", REMOTE_V6, &port.to_string()]).ok
        });
    }
    [echo, stun]
}

/// A lab without its router, whose remote host runs BIND, the update server with its folder, and those who tell addresses.
fn world() -> Result<(Lab, Background, Background, PathBuf, [Background; 2]), Skip> {
    need_tun()?;
    for program in ["named", "dig", "openssl", "python3", "turnserver", "nc"] {
        need(program)?;
    }
    let lab = Lab::without_router(&genkan_lab::Options::default());
    let bind = bind(&lab);
    let (server, folder) = update_server(&lab);
    another_way(&lab);
    let told = who_tell(&lab);
    Ok((lab, bind, server, folder, told))
}

fn ipv6_addresses_that_somebody_outside_tells_are_published() -> Outcome {
    let (lab, _bind, _server, folder, [echo, _stun]) = world()?;
    let ca = format!("ca_file = \"{}\"", folder.join("ca.pem").display());
    let by_page = format!("family = \"v6\"\nsource = \"https://[{REMOTE_V6}]:{ECHO}/ip\"");
    let by_stun = format!("family = \"v6\"\nsource = \"stun:[{REMOTE_V6}]\"");
    let home = dns_entry(&lab, "home.example.net", &format!("{}\n{by_page}\n{ca}", signed()));
    let nowhere = format!("{}\nfamily = \"v6\"\nsource = \"https://localhost:{HTTPS}/ip\"", signed());
    let rules = [
        ROUTER.to_owned(),
        dns_entry(&lab, "home.example.net", &signed()),
        home.clone(),
        dns_entry(&lab, "stun.example.net", &format!("{}\n{by_stun}", signed())),
        https_entry(&lab, &folder, "good.example.com", &by_stun),
        cloudflare_entry(&lab, &folder, "\"new.example.org\", \"kept.example.org\"", "example.org", "t0ken"),
        by_page + "\n",
        dns_entry(&lab, "blind.example.net", &nowhere),
    ];
    let rules = rules.concat();
    lab.start_router(&rules).unwrap_or_else(|error| panic!("{error}"));

    // Both addresses of a name are kept apart.
    for name in
        ["home.example.net", "stun.example.net", "good.example.com", "new.example.org", "kept.example.org"]
    {
        wait_for_address(&lab, name, FIRST);
    }
    let wan = lab.address.wan.to_string();
    wait_for_state(&lab, "home.example.net", "good");
    assert_eq!(
        (address_at_bind(&lab, "home.example.net"), at_bind(&lab, "home.example.net")),
        (wan, FIRST.to_owned())
    );
    assert_eq!(
        (address_at_bind(&lab, "stun.example.net"), at_bind(&lab, "stun.example.net")),
        (String::new(), FIRST.to_owned())
    );
    let heard = requests(&folder, "hostname=good.example.com&");
    let paths: Vec<&str> = heard.iter().filter_map(|line| line["path"].as_str()).collect();
    assert!(matches!(&paths[..], [path] if path.ends_with("myip=2001%3Adb8%3A6%3A%3A1")), "{paths:#?}");
    // An A record that is there is left alone; both names get an AAAA record of their own.
    let written = requests(&folder, "/client/v4/zones/z1/dns_records");
    let is_made = |line: &&Value| {
        line["method"] == "POST" && line["body"].as_str().is_some_and(|body| body.contains("\"AAAA\""))
    };
    let changes: Vec<&Value> = written.iter().filter(|line| line["method"] != "GET").collect();
    assert!(changes.len() == 2 && changes.iter().all(is_made), "{changes:#?}");
    let table = lab.genkan(&["ddns"]).stdout;
    let of_home = table.lines().filter(|line| line.starts_with("home.example.net")).collect::<Vec<_>>();
    assert!(of_home.len() == 2 && of_home[1].contains(" v6 ") && of_home[1].contains(FIRST), "{table}");
    let said = lab.genkan(&["events", "--kind", "ddns-updated", "--format", "json"]).expect_ok().stdout;
    let rows: Vec<Value> = serde_json::from_str(&said).unwrap_or_default();
    let mut told: Vec<String> = rows
        .iter()
        .filter(|event| event["message"].as_str().is_some_and(|said| said.contains("home.example.net")))
        .map(|event| event["address"].as_str().unwrap_or("-").to_owned())
        .collect();
    told.sort();
    assert_eq!(told, [FIRST.to_owned(), lab.address.wan.to_string()], "both families have a field");
    wait_for("nobody who tells is told of", || {
        row(&lab, "blind.example.net")["reason"].as_str().is_some_and(|said| said.contains("is not known"))
    });

    // Another address is told as soon as somebody asks for it.
    let ip = |arguments: &[&str]| lab.run(Router, "ip", arguments).expect_ok();
    ip(&["address", "add", &format!("{SECOND}/64"), "dev", "six0", "nodad"]);
    ip(&["address", "delete", &format!("{FIRST}/64"), "dev", "six0"]);
    lab.genkan(&["ddns", "update", "home.example.net"]).expect_ok();
    wait_for_address(&lab, "home.example.net", SECOND);
    assert_eq!(at_bind(&lab, "home.example.net"), SECOND);
    assert_eq!(address_at_bind(&lab, "home.example.net"), lab.address.wan.to_string());

    // Nobody tells it any more: it stays, with a remark.
    drop(echo);
    lab.genkan(&["ddns", "update", "home.example.net"]).expect_ok();
    wait_for("a remark", || row(&lab, "home.example.net")["fault"] == "address");
    assert_eq!(row(&lab, "home.example.net")["state"], "good");
    let status = lab.genkan(&["status"]).stdout;
    assert!(status.contains("home.example.net (IPv6) may have an old address"), "{status}");

    // All that is known after a restart, and nothing is sent again.
    assert_eq!(lab.stop_router(), Some(0));
    lab.start_router_again().unwrap_or_else(|error| panic!("{error}"));
    wait_for("it is good", || row(&lab, "home.example.net")["state"] == "good");
    let again = row(&lab, "home.example.net");
    assert_eq!((&again["address"], &again["updates"]), (&SECOND.into(), &0.into()), "{again:#}");
    assert_eq!(again["fault"], "address", "nobody has told it since: {again:#}");
    assert_eq!(requests(&folder, "hostname=good.example.com&").len(), 1);

    // The IPv6 address alone leaves the configuration; its IPv4 sister stays.
    fs::write(lab.config_file(), lab.config(&rules.replace(&home, ""))).expect("it is ours");
    let diff = lab.genkan(&["reload", "--dry-run"]).expect_ok().stdout;
    assert!(diff.contains("ddns home.example.net (IPv6): removed"), "{diff}");
    lab.genkan(&["reload"]).expect_ok();
    wait_for("it is gone from the list", || {
        let table = lab.genkan(&["ddns"]).stdout;
        table.lines().filter(|line| line.starts_with("home.example.net")).count() == 1
    });
    assert!(!lab.genkan(&["status"]).stdout.contains("(IPv6) may have"), "the remark is still there");
    Ok(())
}

/// What the page tells is of no use for a name outside: a private address.
fn a_source_that_does_not_answer_is_remembered() -> Outcome {
    let (lab, _bind, _server, folder, _told) = world()?;
    let private = "fd00:6::1";
    for (host, device, address) in [(Router, "six0", private), (Remote, "six1", "fd00:6::2")] {
        lab.run(host, "ip", &["address", "add", &format!("{address}/64"), "dev", device, "nodad"])
            .expect_ok();
    }
    lab.run(Router, "ip", &["route", "replace", REMOTE_V6, "dev", "six0", "src", private]).expect_ok();
    let ca = format!("ca_file = \"{}\"", folder.join("ca.pem").display());
    let by_page =
        format!("{}\nfamily = \"v6\"\nsource = \"https://[{REMOTE_V6}]:{ECHO}/ip\"\n{ca}", signed());
    let rules = ROUTER.to_owned()
        + &dns_entry(&lab, "public.example.net", &by_page)
        + &dns_entry(&lab, "inside.example.net", &format!("{by_page}\nallow_private = true"));
    lab.start_router(&rules).unwrap_or_else(|error| panic!("{error}"));
    wait_for_address(&lab, "inside.example.net", private);
    assert_eq!(at_bind(&lab, "inside.example.net"), private);
    let is_told = |row: &Value| {
        let reason = row["reason"].as_str().unwrap_or_default();
        row["state"] == "failed"
            && reason.contains(&format!("no public address in the answer, but {private}"))
    };
    wait_for("the reason is told", || is_told(&row(&lab, "public.example.net")));
    let before = row(&lab, "public.example.net");
    let next = before["next_attempt"].as_i64().expect("it is asked again");

    // A restart neither makes the page be asked sooner nor the reason be forgotten.
    let asked = requests(&folder, "/ip").len();
    assert_eq!(lab.stop_router(), Some(0));
    lab.start_router_again().unwrap_or_else(|error| panic!("{error}"));
    wait_for("the reason is still told", || is_told(&row(&lab, "public.example.net")));
    let after = row(&lab, "public.example.net")["next_attempt"].as_i64().expect("it is asked again");
    assert!(after.abs_diff(next) <= 2, "{next} before, {after} after the restart");
    assert_eq!(requests(&folder, "/ip").len(), asked, "it was asked again");
    assert_eq!(at_bind(&lab, "public.example.net"), "");
    Ok(())
}

fn the_interval_of_a_service_goes_for_both_families() -> Outcome {
    let (lab, _bind, _server, folder, _told) = world()?;
    let by_stun = format!("family = \"v6\"\nsource = \"stun:[{REMOTE_V6}]\"");
    let rules = ROUTER.to_owned()
        + &https_entry(&lab, &folder, "good.example.com", "")
        + &https_entry(&lab, &folder, "good.example.com", &by_stun);
    lab.start_router(&rules).unwrap_or_else(|error| panic!("{error}"));
    let of_both =
        || rows(&lab).into_iter().filter(|row| row["name"] == "good.example.com").collect::<Vec<_>>();
    wait_for("one is good", || of_both().iter().any(|row| row["state"] == "good"));
    wait_for("the other waits for the interval of five minutes", || {
        let later = seconds_now() + 200;
        of_both().iter().any(|row| row["next_attempt"].as_i64().is_some_and(|at| at > later))
    });
    assert_eq!(requests(&folder, "hostname=good.example.com&").len(), 1);
    Ok(())
}
