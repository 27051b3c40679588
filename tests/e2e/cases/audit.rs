//! `genkan audit`: what is open, who uses it, and what closes it.

use genkan_lab::topology::Role::{Nas, Remote};
use serde_json::Value;

use crate::cases;
use crate::fixture::{Lab, WEB};
use crate::outcome::Outcome;
use crate::servers::{Server, connect, greeting};

cases![;
    only_genkan:
    what_is_open_is_told_with_who_came_and_what_closes_it,
];

fn audit(lab: &Lab, arguments: &[&str]) -> (Value, Option<i32>) {
    let said = lab.genkan(&[&["audit", "--format", "json"], arguments].concat());
    (serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("no JSON: {said:?}")), said.code)
}

fn what_is_open_is_told_with_who_came_and_what_closes_it() -> Outcome {
    let lab = Lab::start(WEB);
    let _server = Server::tcp(&lab.host(Nas), 8080);
    for _ in 0..3 {
        greeting(&mut connect(&lab.host(Remote), lab.wan(80)).expect("it is open"));
    }
    // Open to everybody is worth knowing, and no more.
    let (report, code) = audit(&lab, &[]);
    let web = &report["openings"][0];
    assert_eq!((code, web["risk"].as_str()), (Some(0), Some("low")), "{report:#}");
    let source = lab.address.remote.to_string();
    assert_eq!((web["hits"].as_u64(), web["sources"][0]["hits"].as_u64()), (Some(3), Some(3)), "{report:#}");
    assert_eq!(web["sources"][0]["source"].as_str(), Some(source.as_str()), "{report:#}");
    assert!(web["opened"]["revision"].is_u64() && web["last_hit"].is_i64(), "{report:#}");

    lab.genkan(&["forward", "add", "share", "--protocol", "tcp", "--port", "445", "--to", "192.168.0.10"])
        .expect_ok();
    let (report, code) = audit(&lab, &[]);
    let share = &report["openings"][0];
    assert_eq!((code, share["name"].as_str()), (Some(1), Some("share")), "{report:#}");
    assert_eq!((share["risk"].as_str(), share["findings"][0]["id"].as_str()), (Some("high"), Some("files")));
    let said = lab.genkan(&["audit"]);
    assert!(said.code == Some(1) && said.stdout.starts_with("[HIGH] forward \"share\": tcp 445"), "{said:?}");
    // The tests run as root, of the system or of a user namespace.
    assert!(said.stdout.contains(", by revision 2 of root; "), "{said:?}");
    let said = lab.genkan(&["audit", "--format", "md"]);
    assert!(
        said.stdout.starts_with("| risk |") && said.stdout.contains("| HIGH | forward \"share\""),
        "{said:?}"
    );

    // What it says closes it.
    let command = share["commands"][0].as_str().expect("a command").to_owned();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    lab.genkan(&words).expect_ok();
    let (report, code) = audit(&lab, &[]);
    assert_eq!((code, report["openings"].as_array().map(Vec::len)), (Some(0), Some(1)), "{report:#}");
    Ok(())
}
