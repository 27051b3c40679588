//! `genkan doctor` and `genkan top` about services that are broken for real. What DHCP and dead resolvers are told to have
//! stands with the tests that break them (`dhcp`, `dns`).

use std::fs;

use genkan_lab::topology::Role::Remote;
use serde_json::Value;

use super::ddns::{address_at_bind, bind, dns_entry, signed};
use super::doctor::{Diagnosis, doctor};
use crate::cases;
use crate::fixture::{Lab, WEB, wait_for};
use crate::outcome::Outcome;
use crate::programs::{need, need_tun};

cases![
    ;
    only_genkan:
    names_outside_and_lists_that_are_not_as_they_should_be,
];

/// The finding with this cause.
#[track_caller]
fn finding<'a>(told: &'a Diagnosis, cause: &str) -> &'a Value {
    let mut findings = told.json["findings"].as_array().into_iter().flatten();
    findings
        .find(|finding| finding["cause"] == cause)
        .unwrap_or_else(|| panic!("no {cause}: {:#}", told.json))
}

fn states(lab: &Lab) -> Vec<(String, String)> {
    let said = lab.genkan(&["ddns", "--format", "json"]).stdout;
    let rows: Vec<Value> = serde_json::from_str(&said).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    rows.iter().map(|row| (text(&row["name"]), text(&row["state"]))).collect()
}

fn names_outside_and_lists_that_are_not_as_they_should_be() -> Outcome {
    need_tun()?;
    need("named")?;
    need("dig")?;
    need("nsupdate")?;
    let lab = Lab::without_router(&genkan_lab::Options::default());
    let _bind = bind(&lab);
    let list = lab.config_file().with_file_name("blocked.txt");
    let dns = format!(
        "[router]\ntun = \"genkan0\"\n[dns]\nupstreams = [\"{}\"]\nblock = [\"{}\"]\n",
        lab.address.remote,
        list.display()
    );
    let names =
        dns_entry(&lab, "home.example.net", &signed()) + &dns_entry(&lab, "kept.example.net", &signed());
    let wrong = dns_entry(&lab, "wrong.example.net", "key = \"genkan\"\nsecret = \"d3Jvbmc=\"");
    lab.start_router(&format!("{dns}{names}{wrong}")).unwrap_or_else(|error| panic!("{error}"));
    let expected = [("home", "good"), ("kept", "good"), ("wrong", "failed")];
    let expected = expected.map(|(name, state)| (format!("{name}.example.net"), state.to_owned()));
    wait_for("each name has had its answer", || states(&lab) == expected);
    // Somebody else moves a name, before any resolver has heard of it.
    let other = "198.51.100.99";
    let update = format!(
        "printf 'server 127.0.0.1\\nupdate delete home.example.net A\\n\
         update add home.example.net 60 A {other}\\nsend\\n' | nsupdate -y hmac-sha256:genkan:{}",
        signed().rsplit('"').nth(1).expect("a secret")
    );
    lab.run(Remote, "sh", &["-c", &update]).expect_ok();
    assert_eq!(address_at_bind(&lab, "home.example.net"), other);

    let told = doctor(&lab, &[]);
    told.expect("ddns-credentials");
    assert_eq!(told.causes(), ["ddns-credentials", "ddns-elsewhere", "dns-block-list"], "{:#}", told.json);
    let refused = finding(&told, "ddns-credentials");
    let text = refused["text"].as_str().expect("a text");
    assert!(text.contains("wrong.example.net") && text.contains("BADSIG"), "{text}");
    assert!(refused["place"].as_str().is_some_and(|place| place.contains("genkan.toml:")), "{refused:#}");
    let elsewhere = finding(&told, "ddns-elsewhere");
    let text = elsewhere["text"].as_str().expect("a text");
    assert!(text.contains(other) && text.contains("203.0.113.1"), "{text}");
    // It may still be what a resolver remembers; packets of forwards do not care for lists.
    for cause in ["ddns-elsewhere", "dns-block-list"] {
        assert_eq!(finding(&told, cause)["certain"], false, "{:#}", told.json);
    }
    let state = |told: &Diagnosis| {
        let services = told.json["services"].as_array().expect("a list");
        services.iter().map(|row| row["state"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(state(&told), ["broken", "unknown"], "{:#}", told.json["services"]);
    assert!(!told.json.to_string().contains("d3Jvbmc"), "no secret is told");
    let top = lab.genkan(&["top", "--interval", "0.5"]).expect_ok().stdout;
    let line = "\nddns  wrong.example.net FAILED  home.example.net good  kept.example.net good\n";
    assert!(top.contains(line) && top.contains(" 1 of 1 resolvers up\n"), "{top}");

    // One forward is asked about: the name may be how people look for it.
    fs::write(&list, "ads.example.net\n").expect("/run is ours in here");
    lab.reload(&format!("{WEB}{dns}{wrong}"));
    wait_for("the name has had its answer", || states(&lab) == expected[2..]);
    let told = doctor(&lab, &["web"]);
    assert_eq!(finding(&told, "ddns-credentials")["certain"], false, "{:#}", told.json);
    // Well again.
    lab.reload(&format!("{dns}{}", dns_entry(&lab, "kept.example.net", &signed())));
    wait_for("the name is good", || states(&lab) == expected[1..2]);
    wait_for("nothing is wrong", || doctor(&lab, &[]).causes().is_empty());
    let told = doctor(&lab, &[]);
    assert_eq!((told.code, state(&told)), (Some(0), vec!["well".to_owned(); 2]), "{:#}", told.json);
    Ok(())
}
