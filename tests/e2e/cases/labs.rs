//! Labs of any shape, from their description: `genkan lab` and what it is made of.

use std::fs;
use std::thread;

use genkan_lab::description::{Description, KernelForward, Kind, Node};
use genkan_lab::{Lab, LabError};

use crate::cases;
use crate::outcome::Outcome;
use crate::programs::{need, run};

cases![;
    only_genkan:
    computers_reach_each_other_over_cables_switches_and_kernel_routers,
    eight_labs_at_once_keep_apart,
    a_name_that_is_taken_is_refused_and_the_first_lab_stays,
];

/// A host far away, a router that forwards, the kernel's NAT, and two hosts behind it.
fn described() -> Description {
    let mut lab = Description::default();
    lab.network("far").network("wan").network("home");
    lab.node(Node::host("remote").port("eth0", "far", &["198.51.100.7/24"]).gateway("198.51.100.1"));
    let isp = Node::forwarding("isp");
    lab.node(isp.port("eth1", "far", &["198.51.100.1/24"]).port("eth0", "wan", &["203.0.113.2/24"]));
    let mut nat = Node::kernel_nat("nat", "wan0").gateway("203.0.113.2");
    nat = nat.port("wan0", "wan", &["203.0.113.1/24"]).port("lan0", "home", &["192.168.0.1/24"]);
    let Kind::KernelNat { forwards, .. } = &mut nat.kind else { unreachable!("it is a NAT") };
    let to = "192.168.0.10".parse().expect("an address");
    forwards.push(KernelForward { protocol: "tcp".into(), port: 80, to, to_port: 8080 });
    lab.node(nat);
    lab.node(Node::host("nas").port("eth0", "home", &["192.168.0.10/24"]).gateway("192.168.0.1"));
    lab.node(Node::host("laptop").port("eth0", "home", &["192.168.0.20/24"]).gateway("192.168.0.1"));
    lab
}

/// Names under /run/netns that belong to this prefix.
fn names(prefix: &str) -> Vec<String> {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&format!("{prefix}-"))).collect()
}

fn computers_reach_each_other_over_cables_switches_and_kernel_routers() -> Outcome {
    need("nft")?;
    need("ping")?;
    let lab = Lab::up("labs-any", &described()).expect("it can be built");
    assert_eq!(names("labs-any").len(), 6);
    let at = |name: &str| lab.namespace(name).expect("it is there");
    for (from, to) in [("laptop", "198.51.100.7"), ("laptop", "192.168.0.10"), ("remote", "203.0.113.1")] {
        run(&at(from), "ping", &["-c1", "-W3", to]).expect_ok();
    }
    let said = run(&at("laptop"), "ping", &["-c1", "-W1", "10.9.9.9"]);
    assert!(!said.ok, "nobody has this address: {said:?}");
    drop(lab);
    assert_eq!(names("labs-any"), [""; 0]);
    Ok(())
}

fn eight_labs_at_once_keep_apart() -> Outcome {
    need("ping")?;
    thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || {
                let mut description = described();
                description.adjustable = number % 2 == 0;
                description.nodes.retain(|node| !matches!(node.kind, Kind::KernelNat { .. }));
                let lab = Lab::up(&format!("labs-{number}"), &description).expect("it can be built");
                let laptop = lab.namespace("laptop").expect("it is there");
                run(&laptop, "ping", &["-c1", "-W3", "192.168.0.10"]).expect_ok();
            });
        }
    });
    assert_eq!((0..8).flat_map(|number| names(&format!("labs-{number}"))).count(), 0);
    Ok(())
}

fn a_name_that_is_taken_is_refused_and_the_first_lab_stays() -> Outcome {
    let first = Lab::up("labs-twice", &described()).expect("the first one");
    let error = Lab::up("labs-twice", &described()).expect_err("the name is taken");
    assert!(matches!(error, LabError::Taken(_)), "{error}");
    let found = Lab::find("labs-twice", &described()).expect("the first one still stands");
    drop(found);
    assert_eq!(names("labs-twice").len(), 6);
    drop(first.keep());
    Lab::down("labs-twice", &described()).expect("it can be taken down by others");
    assert_eq!(names("labs-twice"), [""; 0]);
    Lab::find("labs-twice", &described()).expect_err("it is gone");
    Ok(())
}
