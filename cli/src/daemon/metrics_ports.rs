//! Where the counters are told to hosts of a lan: `[metrics] listen`.
//!
//! The addresses are the kernel's own, on the host TUN. They may be bound before they are there, and while another
//! process of ours still answers there: after an upgrade the program before this one closes its sockets with its end.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use genkan_config::MetricsPort;
use genkan_control::metrics;
use genkan_control::metrics_port::serve;
use genkan_control::request::WorkerHandle;
use genkan_control::snapshot::Snapshot;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 16;

/// An address that is ours to answer at.
#[derive(Debug)]
pub(super) struct Bound(MetricsPort, TcpSocket);

/// All that is answered at.
#[derive(Debug, Default)]
pub(super) struct MetricsPorts(Vec<Open>);

/// Dropping it closes it, and every connection.
#[derive(Debug)]
struct Open {
    port: MetricsPort,
    task: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl MetricsPorts {
    /// Takes the addresses that are wanted and not answered at yet, without answering there.
    ///
    /// # Errors
    /// In words, when one cannot be had.
    pub(super) fn bind(&self, wanted: &[MetricsPort]) -> Result<Vec<Bound>, String> {
        let new = wanted.iter().filter(|port| self.0.iter().all(|open| open.port != **port));
        let bound = new.map(|port| match bind(port) {
            Ok(socket) => Ok(Bound(port.clone(), socket)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Err(format!("`metrics.listen` {}: another program has this port", port.listen))
            }
            Err(error) => Err(format!("`metrics.listen` {}: {error}", port.listen)),
        });
        bound.collect()
    }

    /// Answers at what is wanted, as far as that is bound, and nowhere else. What is missing is a problem.
    pub(super) fn follow(
        &mut self,
        wanted: &[MetricsPort],
        bound: Vec<Bound>,
        snapshot: &Arc<Snapshot>,
        worker: &WorkerHandle,
    ) {
        for Bound(port, socket) in bound {
            let listener = match socket.listen(BACKLOG) {
                Ok(listener) => listener,
                Err(error) => {
                    warn!(listen = %port.listen, %error, "nobody can connect");
                    continue;
                }
            };
            let networks = port.admits.clone();
            let admits = move |peer: Ipv4Addr| networks.iter().any(|network| network.contains(&peer));
            let (snapshot, worker) = (snapshot.clone(), worker.clone());
            let answers = move || {
                let (snapshot, worker) = (snapshot.clone(), worker.clone());
                async move { metrics::text(&snapshot, &worker).await }
            };
            info!(listen = %port.listen, "metrics are told");
            self.0.push(Open { port, task: tokio::spawn(serve(listener, admits, answers)) });
        }
        self.0.retain(|open| {
            let stays = wanted.contains(&open.port);
            if !stays {
                info!(listen = %open.port.listen, "metrics are not told any more");
            }
            stays
        });
        let missing = wanted.iter().find(|port| self.0.iter().all(|open| open.port != **port));
        let problem = missing.map(|port| {
            format!("`metrics.listen` {}: nothing is told there; `genkan reload` tries it again", port.listen)
        });
        if snapshot.set_problem("metrics", problem.clone())
            && let Some(problem) = problem
        {
            warn!("{problem}");
        }
    }
}

fn bind(port: &MetricsPort) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Connections of ours that have just ended are in nobody's way, nor is a process of ours that leaves.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    setsockopt(&socket, sockopt::IpFreebind, &true)?;
    socket.bind(port.listen.into())?;
    Ok(socket)
}
