//! The router as a program: devices, the packet worker, and everything that happens beside packets.
//!
//! - [`worker`] and [`forwarder`]: a thread that moves packets; [`poller`]: how it sleeps; [`priority`]: when it goes
//!   first; [`exchange`]: what it gives to the other workers; [`workers`]: all of them together;
//! - [`devices`]: network devices opened, opened again, and put back; [`watch`]: when to look at them;
//! - [`event_loop`]: signals, reports of the worker, the control API, on tokio; [`changes`]: another configuration;
//! - [`service_manager`]: what systemd is told; [`heartbeat`]: when it is told that the router lives;
//! - [`privileges`]: what the process gives up at its start;
//! - [`sessions`]: what outlives the process; [`state_folder`]: where it lies; [`upgrade`]: another program in its place;
//! - [`facts`]: what is found out beyond the configuration, and followed at once;
//! - [`openings`]: forwards that open and close with the clock;
//! - [`onlookers`]: who looks at packets: captures, and [`following`], which explains them; [`traced`]: made-up ones;
//! - [`services`]: DHCP, DNS and names outside; [`local`]: the ways of their datagrams;
//! - [`metrics_ports`]: the counters for Prometheus, from a lan;
//! - [`log`] and [`limiter`]: a log that a wire cannot flood; [`seen`] and [`event_file`]: events, in memory and on disk;
//!   [`nat_log`]: who had which external endpoint; [`rotating_file`]: how much of that is kept.
//!
//! tokio never touches a packet: the worker is a plain thread, reached by bounded channels.

mod audited;
mod changes;
mod conflicts;
#[cfg(test)]
mod day;
mod devices;
mod event_file;
mod event_loop;
mod exchange;
mod facts;
mod following;
mod forwarder;
mod heartbeat;
mod limiter;
mod local;
mod log;
mod metrics_ports;
mod nat_log;
mod onlookers;
mod openings;
mod outlets;
mod placement;
mod poller;
mod priority;
mod privileges;
mod probes;
mod rotating_file;
mod seen;
mod service_manager;
mod services;
mod sessions;
mod state_folder;
mod suggest;
mod traced;
mod upgrade;
mod watch;
mod worker;
mod workers;

pub(crate) use event_loop::run;
pub(crate) use log::start_plainly as start_log;
pub(crate) use upgrade::Predecessor;
