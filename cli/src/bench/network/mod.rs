//! The router in a network of namespaces, beside the kernel's own NAT.
//!
//! * [`stage`] is a contender between two hosts; [`contender`] says who there is.
//! * [`load`] is what the hosts do; [`counter`] counts what arrives, [`cpu`] what it costs.
//! * [`metric`] names what is measured, [`measure`] does it once, [`run`] does it in turns, [`progress`] shows it.
//! * [`program`] runs other programs (nft, iperf3).

pub(crate) mod contender;
pub(crate) mod counter;
pub(crate) mod cpu;
pub(crate) mod load;
pub(crate) mod measure;
pub(crate) mod metric;
pub(crate) mod program;
pub(crate) mod progress;
pub(crate) mod run;
pub(crate) mod stage;
