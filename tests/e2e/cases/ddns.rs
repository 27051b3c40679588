//! Names outside follow the wan address: BIND takes signed updates, a server over HTTPS has all the moods of update
//! services, and a reflector tells the address behind another NAT.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use genkan_lab::topology::Role::{Isp, Remote};
use serde_json::Value;

use crate::cases;
use crate::fixture::{Lab, wait_for};
use crate::outcome::Outcome;
use crate::programs::{Background, need, need_tun};
use crate::servers::connect;
use crate::setup;

cases![;
    only_genkan: bind_takes_signed_updates,
    every_answer_of_an_update_service_is_understood,
    a_restart_sends_nothing_again,
    behind_another_nat_somebody_outside_is_asked,
];

pub(super) const ROUTER: &str = "[router]\ntun = \"genkan0\"\n";
const SECRET: &str = "Z2Vua2FuLWdlbmthbi1nZW5rYW4tZ2Vua2FuLWdlbmth";
pub(super) const HTTPS: u16 = 8443;
/// Of the remote host, where a test gives it one.
pub(super) const REMOTE_V6: &str = "2001:db8:6::2";

/// A folder of the test's own, where servers keep what is theirs.
pub(super) fn folder(lab: &Lab, name: &str) -> PathBuf {
    let folder = lab.config_file().with_file_name(name);
    fs::create_dir_all(&folder).expect("/run is ours in here");
    folder
}

pub(super) fn rows(lab: &Lab) -> Vec<Value> {
    let said = lab.genkan(&["ddns", "--format", "json"]);
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"))
}

#[track_caller]
pub(super) fn row(lab: &Lab, name: &str) -> Value {
    let rows = rows(lab);
    let found = rows.iter().find(|row| row["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not listed: {rows:#?}")).clone()
}

#[track_caller]
pub(super) fn wait_for_state(lab: &Lab, name: &str, state: &str) -> Value {
    wait_for(&format!("{name} is {state}"), || row(lab, name)["state"] == state);
    row(lab, name)
}

pub(super) fn seconds_now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    now.expect("it is after 1970").as_secs() as i64
}

/// BIND 9 at the remote host, with two keys for example.net.
pub(super) fn bind(lab: &Lab) -> Background {
    bind_with(lab, &[], "", "")
}

/// The same with further variables of its environment, lines of its configuration and records.
pub(super) fn bind_with(lab: &Lab, environment: &[&str], config: &str, records: &str) -> Background {
    let folder = folder(lab, "bind");
    let path = folder.display();
    let config = format!(
        "options {{ directory \"{path}\"; listen-on {{ any; }}; listen-on-v6 {{ none; }}; recursion no;\n\
         pid-file \"{path}/pid\"; session-keyfile \"{path}/session.key\"; dnssec-validation no; }};\n\
         controls {{ }};\n\
         key genkan {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
         key strong {{ algorithm hmac-sha512; secret \"{SECRET}\"; }};\n\
         zone example.net {{ type primary; file \"zone\"; allow-update {{ key genkan; key strong; }}; }};\n{config}"
    );
    let zone = "$TTL 60\n@ IN SOA ns.example.net. admin.example.net. 1 3600 600 86400 60\n@ IN NS ns\n\
                ns IN A 198.51.100.2\nkept IN A 203.0.113.1\n";
    let zone = zone.to_owned() + records;
    fs::write(folder.join("named.conf"), config).expect("it is ours");
    fs::write(folder.join("zone"), zone).expect("it is ours");
    let conf = folder.join("named.conf").display().to_string();
    let named = ["/usr/sbin/named", "-f", "-4", "-n", "1", "-c", &conf];
    let bind = Background::start(&lab.host(Remote), "env", &[environment, &named].concat());
    wait_for("BIND answers", || address_at_bind(lab, "ns.example.net") == "198.51.100.2");
    bind
}

/// What a host outside is told by BIND.
pub(super) fn address_at_bind(lab: &Lab, name: &str) -> String {
    let said = lab.run(Remote, "dig", &["+short", "+time=1", "+tries=1", "@127.0.0.1", name, "A"]);
    said.stdout.trim().to_owned()
}

pub(super) fn dns_entry(lab: &Lab, name: &str, rest: &str) -> String {
    let server = lab.address.remote;
    format!("[[ddns]]\nprovider = \"rfc2136\"\nserver = \"{server}\"\nnames = [\"{name}\"]\n{rest}\n")
}

/// What signs updates that [`bind`] takes.
pub(super) fn signed() -> String {
    format!("key = \"genkan\"\nsecret = \"{SECRET}\"")
}

fn bind_takes_signed_updates() -> Outcome {
    need_tun()?;
    need("named")?;
    need("dig")?;
    let lab = Lab::without_router(&genkan_lab::Options::default());
    let _bind = bind(&lab);
    let secret = folder(&lab, "secrets").join("key");
    fs::write(&secret, format!("{SECRET}\n")).expect("it is ours");
    let entries = [
        dns_entry(
            &lab,
            "home.example.net",
            &format!("key = \"genkan\"\nsecret_file = \"{}\"", secret.display()),
        ),
        dns_entry(
            &lab,
            "strong.example.net",
            &format!(
                "key = \"strong\"\nsecret = \"{SECRET}\"\nalgorithm = \"hmac-sha512\"\nzone = \"example.net\"\nttl = \"2m\""
            ),
        ),
        dns_entry(&lab, "kept.example.net", &signed()),
        dns_entry(&lab, "wrong.example.net", "key = \"genkan\"\nsecret = \"d3Jvbmc=\""),
        dns_entry(&lab, "stranger.example.net", &format!("key = \"stranger\"\nsecret = \"{SECRET}\"")),
        dns_entry(&lab, "unsigned.example.net", ""),
    ];
    let rules = ROUTER.to_owned() + &entries.concat();
    lab.start_router(&rules).unwrap_or_else(|error| panic!("{error}"));
    let wan = lab.address.wan.to_string();
    for name in ["home.example.net", "strong.example.net"] {
        let row = wait_for_state(&lab, name, "good");
        assert_eq!((&row["address"], &row["updates"]), (&wan.as_str().into(), &1.into()), "{row:#}");
        assert_eq!(address_at_bind(&lab, name), wan);
    }
    // BIND had it already, and was not sent it: its serial shows two updates.
    assert_eq!(wait_for_state(&lab, "kept.example.net", "good")["address"], wan.as_str());
    for (name, reason) in [("wrong", "BADSIG"), ("stranger", "BADKEY"), ("unsigned", "REFUSED")] {
        let name = format!("{name}.example.net");
        let row = wait_for_state(&lab, &name, "failed");
        assert!(row["reason"].as_str().is_some_and(|said| said.contains(reason)), "{row:#}");
        assert!(row["next_attempt"].as_i64().is_some_and(|at| at > seconds_now() + 20), "{row:#}");
        assert_eq!(address_at_bind(&lab, &name), "");
    }
    let soa = lab.run(Remote, "dig", &["+short", "@127.0.0.1", "example.net", "SOA"]).expect_ok().stdout;
    assert!(soa.contains(" 3 3600 "), "two updates, no more: {soa}");

    // What is wrong is said wherever somebody looks, and no secret is.
    let status = lab.genkan(&["status"]).stdout;
    assert!(status.contains("wrong.example.net is not updated") && status.contains("BADSIG"), "{status}");
    let events = lab.genkan(&["events", "--format", "json"]).expect_ok().stdout;
    assert!(
        events.contains("home.example.net has 203.0.113.1 now") && events.contains("ddns-failed"),
        "{events}"
    );
    let table = lab.genkan(&["ddns"]);
    assert!(table.code == Some(1) && !table.stdout.contains("stopped"), "{table:#?}");
    let log = lab.router(|router| router.log());
    for said in [&status, &events, &table.stdout, &log] {
        assert!(!said.contains(SECRET) && !said.contains("d3Jvbmc"), "a secret is shown: {said}");
    }

    // The wan gets another address, and so do the names.
    let other = "203.0.113.77";
    let config =
        lab.config(&rules).replace(&format!("address = \"{wan}/24\""), &format!("address = \"{other}/24\""));
    fs::write(lab.config_file(), config).expect("the file can be written");
    let began = Instant::now();
    lab.genkan(&["reload"]).expect_ok();
    wait_for("BIND has the other address", || address_at_bind(&lab, "home.example.net") == other);
    let took = began.elapsed();
    wait_for("BIND has the other address", || address_at_bind(&lab, "strong.example.net") == other);
    eprintln!("another address of the wan was at BIND after {} ms", took.as_millis());
    assert_eq!(wait_for_state(&lab, "home.example.net", "good")["address"], other);

    // The right key in the file of the secret, and a reload: it is tried again, without a restart.
    let mended = rules.replace("d3Jvbmc=", SECRET);
    let config =
        lab.config(&mended).replace(&format!("address = \"{wan}/24\""), &format!("address = \"{other}/24\""));
    fs::write(lab.config_file(), config).expect("the file can be written");
    let diff = lab.genkan(&["reload", "--dry-run"]).expect_ok().stdout;
    assert!(diff.contains("ddns wrong.example.net: password changed") && !diff.contains(SECRET), "{diff}");
    lab.genkan(&["reload"]).expect_ok();
    wait_for("the failure is forgotten", || row(&lab, "wrong.example.net")["state"] != "failed");
    lab.reload("[router]\ntun = \"genkan0\"\n");
    let said = lab.genkan(&["ddns"]).expect_ok();
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", "none: there is no [[ddns]]\n"));
    Ok(())
}

/// The server with all moods, and the file with its certificate.
pub(super) fn update_server(lab: &Lab) -> (Background, PathBuf) {
    let folder = folder(lab, "update-server");
    let cert = folder.join("cert.pem");
    let path = cert.display().to_string();
    let name = format!("subjectAltName=IP:{},IP:{REMOTE_V6}", lab.address.remote);
    let arguments = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=updates",
        "-addext",
        &name,
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-keyout",
        &path,
        "-out",
    ];
    let public = folder.join("ca.pem").display().to_string();
    lab.run(Remote, "openssl", &[&arguments[..], &[&public]].concat()).expect_ok();
    // The server wants both in one file.
    let both =
        fs::read_to_string(&cert).expect("openssl wrote it") + &fs::read_to_string(&public).expect("it did");
    fs::write(&cert, both).expect("it is ours");
    let script = setup::root().join("tests/e2e/update_server.py").display().to_string();
    let (home, port) = (folder.display().to_string(), HTTPS.to_string());
    let server = Background::start(&lab.host(Remote), "python3", &[&script, &home, &port]);
    let at = std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, HTTPS);
    wait_for("the update server listens", || connect(&lab.host(Remote), at).is_ok());
    (server, folder)
}

/// The requests that it has heard for a name or path.
pub(super) fn requests(folder: &Path, about: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("requests")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["path"].as_str().is_some_and(|path| path.contains(about))).collect()
}

pub(super) fn https_entry(lab: &Lab, folder: &Path, name: &str, rest: &str) -> String {
    let (server, ca) = (lab.address.remote, folder.join("ca.pem"));
    format!(
        "[[ddns]]\nprovider = \"dyndns2\"\nnames = [\"{name}\"]\nusername = \"user\"\npassword = \"hunter2\"\n\
         url = \"https://{server}:{HTTPS}/nic/update?hostname={{names}}&myip={{address}}\"\nca_file = \"{}\"\n{rest}\n",
        ca.display()
    )
}

pub(super) fn cloudflare_entry(lab: &Lab, folder: &Path, names: &str, zone: &str, token: &str) -> String {
    let (server, ca) = (lab.address.remote, folder.join("ca.pem"));
    format!(
        "[[ddns]]\nprovider = \"cloudflare\"\nnames = [{names}]\nzone = \"{zone}\"\ntoken = \"{token}\"\n\
         url = \"https://{server}:{HTTPS}/client/v4\"\nca_file = \"{}\"\n",
        ca.display()
    )
}

fn every_answer_of_an_update_service_is_understood() -> Outcome {
    need_tun()?;
    need("openssl")?;
    need("python3")?;
    let lab = Lab::without_router(&genkan_lab::Options::default());
    let (_server, folder) = update_server(&lab);
    let outcomes = [
        ("good", "good", ""),
        ("nochg", "good", ""),
        ("badauth", "stopped", "does not accept the account"),
        ("abuse", "stopped", "blocked this name"),
        ("down", "failed", "out of order"),
        ("garbage", "failed", "not understood"),
        ("flood", "failed", "not understood"),
        ("slow-down", "failed", "fewer requests"),
        ("redirect", "failed", "HTTP status 302"),
    ];
    let mut rules = ROUTER.to_owned();
    for (mood, ..) in outcomes {
        rules +=
            &https_entry(&lab, &folder, &format!("{mood}.example.com"), "contact = \"admin@example.com\"");
    }
    // Nobody answers for a certificate that nobody knows.
    let untrusted = https_entry(&lab, &folder, "untrusted.example.com", "");
    rules += &untrusted
        .lines()
        .filter(|line| !line.starts_with("ca_file"))
        .fold(String::new(), |all, line| all + line + "\n");
    rules +=
        &cloudflare_entry(&lab, &folder, "\"new.example.org\", \"kept.example.org\"", "example.org", "t0ken");
    rules += &cloudflare_entry(&lab, &folder, "\"a.example.info\"", "example.info", "t0ken");
    rules += &cloudflare_entry(&lab, &folder, "\"token.example.org\"", "example.org", "wrong");
    lab.start_router(&rules).unwrap_or_else(|error| panic!("{error}"));
    let wan = lab.address.wan.to_string();

    for (name, before) in [("new.example.org", None), ("kept.example.org", Some("192.0.2.1"))] {
        let row = wait_for_state(&lab, name, "good");
        assert_eq!(row["address"], wan.as_str(), "{before:?}: {row:#}");
    }
    let written = requests(&folder, "/client/v4/zones/z1/dns_records");
    let written: Vec<_> = written.iter().filter(|line| line["method"] != "GET").collect();
    assert_eq!(written.len(), 2, "one is made, the other changed: {written:#?}");
    for (name, reason) in [("a.example.info", "no such zone"), ("token.example.org", "does not accept")] {
        let row = wait_for_state(&lab, name, "stopped");
        assert!(row["reason"].as_str().is_some_and(|said| said.contains(reason)), "{row:#}");
    }

    for (mood, state, reason) in outcomes {
        let name = format!("{mood}.example.com");
        let row = wait_for_state(&lab, &name, state);
        assert!(row["reason"].as_str().unwrap_or_default().contains(reason), "{row:#}");
        let asked = requests(&folder, &format!("hostname={name}&"));
        assert_eq!(asked.len(), 1, "{name} is asked for once: {asked:#?}");
        assert!(
            asked[0]["path"].as_str().is_some_and(|path| path.ends_with(&format!("myip={wan}"))),
            "{asked:#?}"
        );
        assert!(
            asked[0]["agent"].as_str().is_some_and(|agent| agent.ends_with(" admin@example.com")),
            "{asked:#?}"
        );
        let wait = row["next_attempt"].as_i64().map(|at| at - seconds_now());
        let least = match mood {
            "down" => Some(1700),
            "slow-down" => Some(7000),
            "garbage" | "flood" | "redirect" => Some(250),
            _ => None,
        };
        assert_eq!(wait.is_some(), least.is_some(), "{row:#}");
        assert!(wait >= least, "{mood} waits {wait:?} s");
    }
    assert!(requests(&folder, "/stolen").is_empty(), "a redirect was followed");
    let row = wait_for_state(&lab, "untrusted.example.com", "failed");
    assert!(row["reason"].as_str().is_some_and(|said| said.contains("certificate")), "{row:#}");
    assert!(requests(&folder, "untrusted").is_empty(), "a password went to nobody knows whom");

    // A person has set right what was wrong with the account: but for the interval nothing is in the way.
    lab.genkan(&["ddns", "update", "badauth.example.com"]).expect_ok();
    let row = wait_for_state(&lab, "badauth.example.com", "failed");
    assert!(row["next_attempt"].as_i64().is_some_and(|at| at > seconds_now() + 200), "{row:#}");
    let refused = lab.genkan(&["ddns", "update", "nobody.example.com"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("no `[[ddns]]` has the name"), "{refused:#?}");

    let metrics = lab.run(
        genkan_lab::topology::Role::Router,
        "curl",
        &[
            "--silent",
            "--unix-socket",
            &lab.router(|router| router.socket()).display().to_string(),
            "http://genkan/metrics",
        ],
    );
    assert!(
        metrics.stdout.contains("genkan_ddns_good{name=\"good.example.com\",family=\"v4\"} 1"),
        "{metrics:#?}"
    );
    assert!(
        metrics.stdout.contains("genkan_ddns_failures_total{name=\"down.example.com\",family=\"v4\"} 1"),
        "{metrics:#?}"
    );
    let log = lab.router(|router| router.log());
    assert!(!log.contains("hunter2") && !log.contains("t0ken"), "a secret is in the log: {log}");
    Ok(())
}

fn a_restart_sends_nothing_again() -> Outcome {
    need_tun()?;
    need("openssl")?;
    need("python3")?;
    let lab = Lab::without_router(&genkan_lab::Options::default());
    let (_server, folder) = update_server(&lab);
    let names = ["good.example.com", "hang.example.com", "badauth.example.com"];
    let rules =
        names.iter().fold(ROUTER.to_owned(), |rules, name| rules + &https_entry(&lab, &folder, name, ""));
    lab.start_router(&rules).unwrap_or_else(|error| panic!("{error}"));
    let heard = |name: &str| requests(&folder, &format!("hostname={name}&")).len();
    wait_for_state(&lab, "good.example.com", "good");
    wait_for_state(&lab, "badauth.example.com", "stopped");
    wait_for("the one that never answers was asked", || heard("hang.example.com") == 1);
    // Killed in the middle of a request, several times, and then ended properly.
    for _ in 0..3 {
        lab.kill_router();
        lab.start_router_again().unwrap_or_else(|error| panic!("{error}"));
        wait_for_state(&lab, "good.example.com", "good");
        wait_for_state(&lab, "badauth.example.com", "stopped");
        let row = wait_for_state(&lab, "hang.example.com", "waiting");
        assert!(row["next_attempt"].as_i64().is_some_and(|at| at > seconds_now() + 200), "{row:#}");
    }
    assert_eq!(lab.stop_router(), Some(0));
    lab.start_router_again().unwrap_or_else(|error| panic!("{error}"));
    wait_for_state(&lab, "good.example.com", "good");
    assert_eq!(names.map(heard), [1, 1, 1], "nothing is sent again");
    Ok(())
}

fn behind_another_nat_somebody_outside_is_asked() -> Outcome {
    need_tun()?;
    need("openssl")?;
    need("python3")?;
    need("named")?;
    need("nft")?;
    let lab = Lab::without_router(&genkan_lab::Options::default());
    let _bind = bind(&lab);
    let (_server, folder) = update_server(&lab);
    let remote = lab.address.remote;
    let listen = format!("{remote}:3478");
    let reflector = setup::binary().display().to_string();
    let _reflector =
        Background::start(&lab.host(Remote), &reflector, &["reflector", "--lab", "--listen", &listen]);
    let at = std::net::SocketAddrV4::new(remote, 3478);
    wait_for("the reflector listens", || connect(&lab.host(Remote), at).is_ok());
    let provider = "table ip provider { chain out { type nat hook postrouting priority srcnat; oifname eth1 masquerade; }; }";
    lab.run(Isp, "nft", &[provider]).expect_ok();
    let key = format!("key = \"genkan\"\nsecret = \"{SECRET}\"");
    let ca = folder.join("ca.pem").display().to_string();
    let rules = ROUTER.to_owned()
        + &dns_entry(&lab, "wan.example.net", &key)
        + &dns_entry(&lab, "stun.example.net", &format!("{key}\nsource = \"stun:{remote}\""))
        + &dns_entry(
            &lab,
            "echo.example.net",
            &format!("{key}\nsource = \"https://{remote}:{HTTPS}/ip\"\nca_file = \"{ca}\""),
        )
        + &dns_entry(&lab, "nobody.example.net", &format!("{key}\nsource = \"stun:{remote}:9\""));
    lab.start_router(&rules).unwrap_or_else(|error| panic!("{error}"));
    for (name, address) in [("wan", "203.0.113.1"), ("stun", "198.51.100.1"), ("echo", "198.51.100.1")] {
        let name = format!("{name}.example.net");
        let row = wait_for_state(&lab, &name, "good");
        assert_eq!(
            (row["address"].as_str(), address_at_bind(&lab, &name).as_str()),
            (Some(address), address),
            "{row:#}"
        );
    }
    let row = wait_for_state(&lab, "nobody.example.net", "failed");
    assert!(row["reason"].as_str().is_some_and(|said| said.contains("the address is not known")), "{row:#}");

    // The wan has an address that nobody reaches: it is not published, and said why.
    let config = lab.config(&rules).replace("address = \"203.0.113.1/24\"", "address = \"100.64.0.7/24\"");
    let config = config.replace("gateway = \"", "#gateway = \"");
    fs::write(lab.config_file(), config).expect("the file can be written");
    lab.genkan(&["reload"]).expect_ok();
    let row = wait_for_state(&lab, "wan.example.net", "failed");
    assert!(row["reason"].as_str().is_some_and(|said| said.contains("another NAT")), "{row:#}");
    assert_eq!(
        (address_at_bind(&lab, "wan.example.net").as_str(), &row["wanted"]),
        ("203.0.113.1", &Value::Null)
    );
    Ok(())
}
