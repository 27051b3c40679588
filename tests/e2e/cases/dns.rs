//! The DNS service, between dig and unbound.

use std::fs;
use std::path::PathBuf;

use genkan_lab::topology::Role::{Laptop, Nas, Remote};
use genkan_lab::{Namespace, Options};
use serde_json::Value;

use super::doctor::doctor;
use crate::cases;
use crate::fixture::{Lab, wait_for};
use crate::outcome::{Outcome, Skip};
use crate::programs::{Background, Said, need, need_tun, run};

cases![
    ;
    only_genkan:
    names_are_answered_from_where_they_belong,
    datagrams_and_connections,
    a_resolver_that_dies_is_replaced_and_then_missed,
    the_doctor_asks_resolvers_that_nobody_asks,
    resolvers_over_tls_have_to_be_who_they_say,
    a_reload_changes_names_and_lists,
];

pub(super) const RESOLVER: &str = "198.51.100.7";

/// What the resolver knows. The long one fills more than a datagram may have.
const ZONE: &str = r#"
    local-zone: "example.net." static
    local-data: ". 300 NS ns.example.net."
    local-data: "www.example.net. 300 A 198.51.100.9"
    local-data: "short.example.net. 1 A 198.51.100.10"
    local-data: "home.example.net. 300 A 203.0.113.1"
    local-data: "inside.example.net. 300 A 192.168.0.10"
    local-data: "may.example.net. 300 A 192.168.0.11"
    local-data: "ads.example.net. 300 A 198.51.100.11"
    local-data: "a.tracker.example.net. 300 A 198.51.100.12"
"#;

/// A resolver of the outside.
pub(super) struct Unbound(#[expect(dead_code, reason = "it ends with it")] Background);

impl Unbound {
    /// One that knows the names of the zone above.
    pub(super) fn start(lab: &Lab, port: u16, more: &str) -> Unbound {
        Unbound::with(lab, port, more, ZONE)
    }

    pub(super) fn with(lab: &Lab, port: u16, more: &str, zone: &str) -> Unbound {
        let long: String = (0..12)
            .map(|number| format!("\n    local-data: 'long.example.net. 300 TXT \"{number:0>200}\"'"))
            .collect();
        let config = format!(
            "server:\n    interface: {RESOLVER}@{port}\n    access-control: 0.0.0.0/0 allow\n    do-daemonize: no\n    \
             username: \"\"\n    chroot: \"\"\n    pidfile: \"\"\n    use-syslog: no\n    module-config: \"iterator\"\n    \
             num-threads: 1\n    do-ip6: no{more}{zone}{long}\nremote-control:\n    control-enable: no\n"
        );
        let file = folder(lab).join(format!("unbound-{port}.conf"));
        fs::write(&file, config).expect("/run is ours in here");
        let remote = lab.host(Remote);
        let background = Background::start(&remote, "unbound", &["-d", "-c", &file.to_string_lossy()]);
        let port = port.to_string();
        wait_for("unbound answers", || {
            let ask =
                ["+tries=1", "+time=1", "+tcp", "-p", &port, &format!("@{RESOLVER}"), "www.example.net"];
            port == "853" || run(&remote, "dig", &ask).stdout.contains("status: NOERROR")
        });
        Unbound(background)
    }
}

pub(super) fn folder(lab: &Lab) -> PathBuf {
    lab.config_file().parent().expect("it is in a folder").to_owned()
}

pub(super) fn needed() -> Result<(), Skip> {
    need_tun()?;
    need("unbound")?;
    need("dig")
}

fn rules(dns: &str) -> String {
    format!(
        "[router]\ntun = \"genkan0\"\n\n[[host]]\nname = \"nas\"\naddress = \"192.168.0.10\"\n\n[dns]\n{dns}"
    )
}

fn dig(host: &Namespace, arguments: &[&str]) -> Said {
    let all: Vec<&str> = ["+tries=1", "+time=10"].into_iter().chain(arguments.iter().copied()).collect();
    run(host, "dig", &all)
}

/// What the laptop is told.
pub(super) fn asked(lab: &Lab, arguments: &[&str]) -> String {
    let all: Vec<&str> = ["@192.168.0.1"].into_iter().chain(arguments.iter().copied()).collect();
    dig(&lab.host(Laptop), &all).stdout
}

/// The same, only the records.
pub(super) fn short(lab: &Lab, arguments: &[&str]) -> String {
    let all: Vec<&str> = ["+short"].into_iter().chain(arguments.iter().copied()).collect();
    asked(lab, &all).trim().to_owned()
}

pub(super) fn report(lab: &Lab) -> Value {
    // Whether a resolver answers is for the tests to say.
    let said = lab.genkan(&["dns", "--format", "json"]);
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"))
}

fn names_are_answered_from_where_they_belong() -> Outcome {
    needed()?;
    let lab = Lab::without_router(&Options::default());
    let _unbound = Unbound::start(&lab, 53, "");
    let list = folder(&lab).join("blocked.txt");
    fs::write(&list, "# a list\n0.0.0.0 ads.example.net\ntracker.example.net\n")
        .expect("/run is ours in here");
    let more = format!(
        "upstreams = [\"{RESOLVER}\"]\nblock = [\"{}\"]\nrebinding_exceptions = [\"may.example.net\"]\n\
         public_names = [\"home.example.net\"]\nstatistics = true\n\n\
         [[forward]]\nname = \"web\"\nprotocol = \"tcp\"\nport = 80\nto = \"nas\"\n",
        list.display()
    );
    lab.start_router(&rules(&more)).unwrap_or_else(|error| panic!("{error}"));
    wait_for("the block list is in force", || report(&lab)["blocked_names"] == 2);

    assert_eq!(short(&lab, &["www.example.net"]), "198.51.100.9");
    assert_eq!(short(&lab, &["WWW.example.net"]), "198.51.100.9");
    let after = report(&lab);
    assert_eq!(
        (&after["queries"]["forwarded"], &after["queries"]["cached"]),
        (&1.into(), &1.into()),
        "{after}"
    );
    assert_eq!(after["upstreams"][0]["answered"], 1, "{after}");

    // The lans' own names, and which of them nobody outside is asked about.
    assert_eq!(short(&lab, &["nas"]), "192.168.0.10");
    assert_eq!(short(&lab, &["nas.home.arpa"]), "192.168.0.10");
    assert_eq!(short(&lab, &["router.home.arpa"]), "192.168.0.1");
    assert_eq!(short(&lab, &["-x", "192.168.0.10"]), "nas.home.arpa.");
    for name in
        [&["-x", "10.1.2.3"][..], &["nobody.home.arpa"], &["printer.local"], &["x.onion"], &["unknown"]]
    {
        let answer = asked(&lab, name);
        assert!(answer.contains("status: NXDOMAIN"), "{name:?}: {answer}");
    }
    for name in ["ads.example.net", "a.tracker.example.net"] {
        assert!(asked(&lab, &[name]).contains("status: NXDOMAIN"), "{name} is blocked");
    }
    // The name of the server inside; what the resolver says about it is the wan's address.
    assert_eq!(short(&lab, &["home.example.net"]), "192.168.0.10");
    assert_eq!(report(&lab)["upstreams"][0]["asked"], 1, "all that was answered inside");

    assert_eq!(short(&lab, &["inside.example.net"]), "", "an address inside, from outside");
    assert_eq!(short(&lab, &["may.example.net"]), "192.168.0.11");
    assert!(asked(&lab, &["none.example.net"]).contains("status: NXDOMAIN"));
    let after = report(&lab);
    assert_eq!(after["rebinding"], 1, "{after}");
    let clients = after["clients"].as_array().expect("statistics are on");
    assert!(clients.len() == 1 && clients[0]["address"] == lab.address.laptop.to_string(), "{after}");
    let events = lab.genkan(&["events"]).expect_ok().stdout;
    assert!(events.contains("192.168.0.10 of inside.example.net. was withheld"), "{events}");
    let metrics = lab.genkan(&["dns"]).expect_ok().stdout;
    assert!(metrics.contains("198.51.100.7:53") && metrics.contains("names blocked: 2"), "{metrics}");
    Ok(())
}

fn datagrams_and_connections() -> Outcome {
    needed()?;
    let lab = Lab::without_router(&Options { lans: 2, ..Options::default() });
    let _unbound = Unbound::start(&lab, 53, "");
    lab.start_router(&rules(&format!("upstreams = [\"{RESOLVER}\"]\n")))
        .unwrap_or_else(|error| panic!("{error}"));
    // More than a datagram takes: cut, then asked again over TCP, by us and by dig.
    let cut = asked(&lab, &["+ignore", "+bufsize=512", "long.example.net", "TXT"]);
    assert!(cut.contains(" tc ") && cut.contains("ANSWER: 0"), "{cut}");
    let whole = asked(&lab, &["long.example.net", "TXT"]);
    assert!(whole.contains("ANSWER: 12") && whole.contains("(TCP)"), "{whole}");
    let tcp = asked(&lab, &["+tcp", "www.example.net"]);
    assert!(tcp.contains("198.51.100.9") && tcp.contains("(TCP)"), "{tcp}");
    let two = asked(&lab, &["+tcp", "+keepopen", "www.example.net", "nas.home.arpa"]);
    assert!(two.contains("198.51.100.9") && two.contains("192.168.0.10"), "{two}");
    let edns = asked(&lab, &["+bufsize=1400", "www.example.net"]);
    assert!(edns.contains("EDNS: version: 0") && edns.contains("udp: 1232"), "{edns}");
    assert!(!asked(&lab, &["+noedns", "www.example.net"]).contains("EDNS"));
    // Guests are answered at their own address.
    let guest = dig(&lab.host(genkan_lab::topology::Role::Guest), &["@192.168.1.1", "+short", "nas"]);
    assert_eq!(guest.stdout.trim(), "192.168.0.10", "{guest:?}");
    // Nobody outside is, by either way.
    let outside = lab.host(Remote);
    for way in ["+notcp", "+tcp"] {
        let said = run(&outside, "dig", &["+tries=1", "+time=1", way, "@203.0.113.1", "www.example.net"]);
        assert!(!said.stdout.contains("status:"), "{way}: {said:?}");
    }
    Ok(())
}

fn a_resolver_that_dies_is_replaced_and_then_missed() -> Outcome {
    needed()?;
    let lab = Lab::without_router(&Options::default());
    let first = Unbound::start(&lab, 53, "");
    let second = Unbound::start(&lab, 5353, "");
    let upstreams = format!("upstreams = [\"{RESOLVER}\", \"{RESOLVER}:5353\"]\n");
    lab.start_router(&rules(&upstreams)).unwrap_or_else(|error| panic!("{error}"));
    let service = || {
        let told = doctor(&lab, &[]);
        told.expect_nothing();
        told.json["services"][0]["state"].clone()
    };
    assert_eq!(short(&lab, &["short.example.net"]), "198.51.100.10");
    assert_eq!(report(&lab)["upstreams"][1]["asked"], 0, "in order");
    assert_eq!(service(), "well");
    drop(first);
    assert_eq!(short(&lab, &["www.example.net"]), "198.51.100.9", "from the other one");
    let mut number = 0;
    wait_for("the first one is taken to be down", || {
        number += 1;
        asked(&lab, &[&format!("none-{number}.example.net")]);
        report(&lab)["upstreams"][0]["up"] == false
    });
    let events = lab.genkan(&["events"]).expect_ok().stdout;
    assert!(events.contains("the resolver 198.51.100.7:53 does not answer"), "{events}");
    let told = doctor(&lab, &[]);
    assert_eq!((told.causes(), told.code), (vec!["dns-resolver-down"], Some(0)), "{:#}", told.json);

    drop(second);
    wait_for("both are taken to be down", || {
        number += 1;
        asked(&lab, &[&format!("none-{number}.example.net")]);
        lab.genkan(&["status"]).stdout.contains("dns: no resolver answers")
    });
    assert!(!lab.genkan(&["dns"]).ok, "nobody answers");
    doctor(&lab, &[]).expect("dns-silent");
    // Its second has long gone by.
    assert_eq!(short(&lab, &["short.example.net"]), "198.51.100.10", "stale");
    assert!(asked(&lab, &["nothing.example.net"]).contains("status: SERVFAIL"));
    assert_eq!(short(&lab, &["nas"]), "192.168.0.10");

    let _back = Unbound::start(&lab, 53, "");
    wait_for("one is back", || {
        number += 1;
        asked(&lab, &[&format!("none-{number}.example.net")]);
        report(&lab)["upstreams"][0]["up"] == true
    });
    assert!(!lab.genkan(&["status"]).stdout.contains("dns: no resolver"));
    Ok(())
}

fn the_doctor_asks_resolvers_that_nobody_asks() -> Outcome {
    needed()?;
    let lab = Lab::without_router(&Options::default());
    let first = Unbound::start(&lab, 53, "");
    let second = Unbound::start(&lab, 5353, "");
    let upstreams = format!("upstreams = [\"{RESOLVER}\", \"{RESOLVER}:5353\"]\n");
    lab.start_router(&rules(&upstreams)).unwrap_or_else(|error| panic!("{error}"));
    let told = doctor(&lab, &[]);
    told.expect_nothing();
    let service = &told.json["services"][0];
    assert_eq!(service["state"], "well", "{service:#}");
    let text = service["text"].as_str().expect("a text");
    assert!(text.contains(&format!("{RESOLVER}:53 ")) && text.contains(" ms"), "{text}");

    drop(second);
    wait_for("one is silent", || doctor(&lab, &[]).causes() == ["dns-resolver-down"]);
    drop(first);
    wait_for("both are silent", || doctor(&lab, &[]).causes() == ["dns-silent"]);
    assert_eq!(report(&lab)["queries"]["queries"], 0, "no host has asked");
    Ok(())
}

fn resolvers_over_tls_have_to_be_who_they_say() -> Outcome {
    needed()?;
    need("openssl")?;
    let lab = Lab::without_router(&Options::default());
    let place = folder(&lab);
    let script = format!(
        "cd {} && for ca in ca other; do openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
         -keyout $ca.key -out $ca.pem -subj /CN=$ca -addext basicConstraints=critical,CA:TRUE; done && \
         openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout dns.key -out dns.csr -subj /CN=dns && \
         printf 'subjectAltName=DNS:dns.example.net' >ext && \
         openssl x509 -req -in dns.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out dns.pem",
        place.display()
    );
    lab.run(Remote, "sh", &["-c", &script]).expect_ok();
    let keys = format!(
        "\n    tls-service-key: \"{0}/dns.key\"\n    tls-service-pem: \"{0}/dns.pem\"\n    tls-port: 853",
        place.display()
    );
    let _unbound = Unbound::start(&lab, 853, &keys);
    let remote = lab.host(Remote);
    wait_for("it speaks TLS", || {
        let said = run(&remote, "openssl", &["s_client", "-connect", "198.51.100.7:853"]);
        said.stdout.contains("BEGIN CERTIFICATE")
    });
    let tls = |authority: &str, name: &str| {
        let file = place.join(authority);
        rules(&format!("upstreams = [\"tls://{RESOLVER}#{name}\"]\ntls_ca = \"{}\"\n", file.display()))
    };
    lab.start_router(&tls("ca.pem", "dns.example.net")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(short(&lab, &["www.example.net"]), "198.51.100.9");
    assert_eq!(short(&lab, &["+tcp", "short.example.net"]), "198.51.100.10");
    for (authority, name) in [("other.pem", "dns.example.net"), ("ca.pem", "www.example.net")] {
        lab.reload(&tls(authority, name));
        // What is in the cache was had from the right one.
        let fresh = format!("{}.{name}", authority.replace('.', "-"));
        assert!(asked(&lab, &[&fresh]).contains("status: SERVFAIL"), "{authority} {name}");
    }
    lab.reload(&tls("none.pem", "dns.example.net"));
    wait_for("the missing file is a problem", || lab.genkan(&["status"]).stdout.contains("none.pem"));
    lab.reload(&tls("ca.pem", "dns.example.net"));
    assert!(asked(&lab, &["none.example.net"]).contains("status: NXDOMAIN"));
    Ok(())
}

fn a_reload_changes_names_and_lists() -> Outcome {
    needed()?;
    let lab = Lab::without_router(&Options::default());
    let _unbound = Unbound::start(&lab, 53, "");
    let list = folder(&lab).join("blocked.txt");
    fs::write(&list, "other.example\n").expect("/run is ours in here");
    let on = |more: &str| {
        rules(&format!("upstreams = [\"{RESOLVER}\"]\nblock = [\"{}\"]\n{more}", list.display()))
    };
    lab.start_router("[router]\ntun = \"genkan0\"\n").unwrap_or_else(|error| panic!("{error}"));
    assert!(lab.genkan(&["dns"]).stdout.contains("is off"));
    // A router that began without it, and in a sandbox, answers in both ways as soon as it is to.
    lab.reload(&on(""));
    assert_eq!(short(&lab, &["+tcp", "www.example.net"]), "198.51.100.9");
    assert_eq!(short(&lab, &["www.example.net"]), "198.51.100.9");
    assert!(!lab.genkan(&["status"]).stdout.contains("DNS over TCP"));
    // Another list, the cache as it was.
    fs::write(&list, "ads.example.net\n").expect("/run is ours in here");
    lab.reload(&on("domain = \"lan\"\n"));
    wait_for("the list is read again", || asked(&lab, &["ads.example.net"]).contains("status: NXDOMAIN"));
    assert_eq!(short(&lab, &["nas.lan"]), "192.168.0.10");
    assert_eq!(short(&lab, &["www.example.net"]), "198.51.100.9");
    assert_eq!(report(&lab)["queries"]["forwarded"], 1, "the cache is kept");
    // Off and on again.
    lab.reload("[router]\ntun = \"genkan0\"\n");
    assert!(lab.genkan(&["dns"]).stdout.contains("is off"));
    let silent = run(&lab.host(Nas), "dig", &["+tries=1", "+time=1", "@192.168.0.1", "www.example.net"]);
    assert!(!silent.stdout.contains("status:"), "{silent:?}");
    lab.reload(&on(""));
    assert_eq!(short(&lab, &["+tcp", "www.example.net"]), "198.51.100.9");
    Ok(())
}
