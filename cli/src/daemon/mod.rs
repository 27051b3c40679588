//! The router as a program: devices, the packet worker, and everything that happens beside packets.
//!
//! - [`worker`] and [`forwarder`]: the thread that moves packets; [`poller`]: how it sleeps;
//! - [`devices`]: network devices opened, opened again, and put back; [`watch`]: when to look at them;
//! - [`event_loop`]: signals, reloads, reports of the worker, the control API, on tokio;
//! - [`limiter`]: a log that a wire cannot flood.
//!
//! tokio never touches a packet: the worker is a plain thread, reached by bounded channels.

mod devices;
mod event_loop;
mod forwarder;
mod limiter;
mod poller;
mod suggest;
mod watch;
mod worker;

pub(crate) use event_loop::run;
