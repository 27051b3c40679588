//! Signals.

use std::io;
use std::task::{Context, Waker};

use nix::sys::signal::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that mean something to us.
pub(in crate::daemon) struct Signals {
    pub(in crate::daemon) terminate: Signal,
    pub(in crate::daemon) interrupt: Signal,
    pub(in crate::daemon) hangup: Signal,
}

impl Signals {
    /// The signals that have come and that nobody has followed, each once.
    pub(in crate::daemon) fn left_over(&mut self) -> Vec<Number> {
        let context = &mut Context::from_waker(Waker::noop());
        let all = [
            (&mut self.terminate, Number::SIGTERM),
            (&mut self.interrupt, Number::SIGINT),
            (&mut self.hangup, Number::SIGHUP),
        ];
        all.into_iter()
            .filter_map(|(signal, number)| signal.poll_recv(context).is_ready().then_some(number))
            .collect()
    }

    pub(super) fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}
