//! A small internet in network namespaces: an internet host, a provider's router, the namespace of the router
//! under test and a few hosts at home.
//!
//! * [`sandbox`] runs the program again in private namespaces, so that a lab needs no root (where user namespaces
//!   are allowed) and nothing of it outlives the program, however that ends.
//! * [`description`] says what a lab of any shape is made of, as data; [`lab`] builds it.
//! * [`emulator`] delays, loses and slows down what passes on a cable of a lab.
//! * [`topology`] is the lab of the tests and the demonstration, a description of its own.
//! * [`namespace`] does things inside one of the namespaces: opens sockets there, starts programs there.
//! * [`router`] runs the real router in its namespace and waits until it is ready.
//! * [`capture`] listens on a device, as `tcpdump` would.
#![forbid(unsafe_code)]

pub mod capture;
pub mod description;
mod devices;
pub mod emulator;
pub mod lab;
pub mod namespace;
pub mod router;
pub mod sandbox;
pub mod topology;

pub use capture::Capture;
pub use description::{Description, Node};
pub use lab::{Lab, LabError};
pub use namespace::Namespace;
pub use router::{RouterError, RouterProcess};
pub use sandbox::{Sandbox, SandboxError};
pub use topology::{Options, Topology};
