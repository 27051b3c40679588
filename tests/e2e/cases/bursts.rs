//! Merging of datagrams by the kernel, which the router switches while it works.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use genkan_lab::Namespace;
use genkan_lab::topology::Role::{Isp, Router};
use nix::sys::socket::{setsockopt, sockopt};

use crate::cases;
use crate::fixture::{Lab, wait_for, with_backend};
use crate::outcome::Outcome;
use crate::programs::{need, run};
use crate::servers::udp;

cases![
    ;
    only_genkan:
    datagrams_are_merged_while_they_come_in_bursts,
];

/// Octets of each datagram.
const DATAGRAM: usize = 22;

/// Whether the kernel merges datagrams that come to the router's wan.
fn merges(lab: &Lab) -> bool {
    let said = run(&lab.host(Router), "ethtool", &["-k", "wan0"]).expect_ok().stdout;
    let line = said.lines().find(|line| line.trim_start().starts_with("rx-udp-gro-forwarding:"));
    line.expect("the kernel knows it").contains(": on")
}

/// A host that sends as fast as it can until this is dropped.
struct Load {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Bursts that the host's kernel cuts from one call.
    fn bursts(host: &Namespace, target: SocketAddrV4) -> Load {
        let socket = udp(host, 0);
        setsockopt(&socket, sockopt::UdpGsoSegment, &(DATAGRAM as i32)).expect("every kernel since 4.18 can");
        Load::start(host, move || {
            // Nobody may listen there.
            let _ = socket.send_to(&[7; 32 * DATAGRAM], target);
        })
    }

    /// Datagrams of many flows in turn.
    fn singles(host: &Namespace, target: SocketAddrV4) -> Load {
        let sockets: Vec<_> = (0..64).map(|_| udp(host, 0)).collect();
        Load::start(host, move || {
            for socket in &sockets {
                let _ = socket.send_to(&[7; DATAGRAM], target);
            }
        })
    }

    fn start(host: &Namespace, mut send: impl FnMut() + Send + 'static) -> Load {
        let ending = Arc::new(AtomicBool::new(false));
        let told = ending.clone();
        let thread = host.spawn(move || {
            while !told.load(Ordering::Relaxed) {
                send();
            }
        });
        Load { ending, thread: Some(thread) }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn datagrams_are_merged_while_they_come_in_bursts() -> Outcome {
    need("ethtool")?;
    with_backend("af-packet", || {
        let lab = Lab::start("");
        let isp = lab.host(Isp);
        run(&isp, "ethtool", &["-K", "eth0", "tx-udp-segmentation", "off"]).expect_ok();
        let target = lab.wan(9);
        assert!(!merges(&lab));
        {
            let _load = Load::bursts(&isp, target);
            wait_for("bursts are merged", || merges(&lab));
        }
        {
            let _load = Load::singles(&isp, target);
            wait_for("singles are not", || !merges(&lab));
        }
        // However the router ends, the owner's setting is there again.
        {
            let _load = Load::bursts(&isp, target);
            wait_for("bursts are merged again", || merges(&lab));
            assert_eq!(lab.stop_router(), Some(0));
            assert!(!merges(&lab));
        }
        lab.start_router("").unwrap_or_else(|error| panic!("{error}"));
        {
            let _load = Load::bursts(&isp, target);
            wait_for("bursts are merged", || merges(&lab));
            lab.kill_router();
        }
        lab.start_router("").unwrap_or_else(|error| panic!("{error}"));
        assert!(!merges(&lab), "what was killed is not put back");
        Ok(())
    })
}
