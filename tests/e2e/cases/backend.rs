//! Which back end the router takes, what it says about that, and that everyday programs work over each.

use genkan_lab::topology::Role::Laptop;

use super::programs;
use crate::cases;
use crate::fixture::{Lab, with_backend};
use crate::outcome::{Outcome, Skip};
use crate::programs::need;

cases![
    ;
    only_genkan:
    af_xdp_carries_everyday_programs,
    af_xdp_survives_a_kill,
    auto_says_what_it_took_and_why,
];

/// For each port: its back end, and why.
fn backends(lab: &Lab) -> Vec<(String, String)> {
    let said = lab.genkan(&["status", "--format", "json"]).expect_ok();
    let status: serde_json::Value = serde_json::from_str(&said.stdout).expect("it is JSON");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let ports = status["ports"].as_array().expect("there are ports");
    ports.iter().map(|port| (text(&port["backend"]), text(&port["backend_reason"]))).collect()
}

/// Skips the test where bpf(2) is not for us; then the router must have said so.
fn need_af_xdp(lab: &Lab) -> Result<(), Skip> {
    for (backend, reason) in backends(lab) {
        if backend == "af-packet" {
            assert!(reason.contains("CAP_BPF"), "{reason}");
            let status = lab.genkan(&["status"]).expect_ok().stdout;
            assert!(status.contains("backend = \"af-xdp\" is not possible"), "{status}");
            return Err(Skip("AF_XDP wants root in the initial user namespace".to_owned()));
        }
        assert_eq!(backend, "af-xdp");
        assert!(reason.starts_with("native mode, copying; not in native mode, zero-copy: "), "{reason}");
    }
    Ok(())
}

fn af_xdp_carries_everyday_programs() -> Outcome {
    with_backend("af-xdp", || {
        need_af_xdp(&Lab::start(""))?;
        programs::curl_out_and_in()?;
        programs::nc_tcp_and_udp()?;
        programs::ping_small_and_large()?;
        programs::iperf3_both_ways()
    })
}

/// The program at the device goes with its process, and the next one gets the queue.
fn af_xdp_survives_a_kill() -> Outcome {
    need("ping")?;
    with_backend("af-xdp", || {
        let lab = Lab::start("");
        need_af_xdp(&lab)?;
        for _ in 0..2 {
            lab.kill_router();
            lab.start_router("").expect("the queues become free");
            need_af_xdp(&lab)?;
            lab.run(Laptop, "ping", &["-c", "2", "-i", "0.05", "-W", "2", "198.51.100.7"]).expect_ok();
        }
        Ok(())
    })
}

fn auto_says_what_it_took_and_why() -> Outcome {
    with_backend("auto", || {
        let lab = Lab::start("");
        for (backend, reason) in backends(&lab) {
            assert_eq!(backend, "af-packet");
            assert!(
                reason.contains("(veth) has no zero-copy") || reason.contains("does not tell"),
                "{reason}"
            );
        }
        let status = lab.genkan(&["status"]).expect_ok().stdout;
        assert!(status.contains("Back ends:\n  wan: af-packet: "), "{status}");
        assert!(!status.contains("Problems"), "{status}");
        // What was asked for needs no reason.
        lab.stop_router();
        with_backend("af-packet", || lab.start_router("")).expect("it starts");
        assert!(backends(&lab).iter().all(|(backend, reason)| backend == "af-packet" && reason.is_empty()));
        Ok(())
    })
}
