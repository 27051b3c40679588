//! The rules a person wrote: port forwards and the DMZ.

pub mod dmz;
mod port_index;
pub mod rules;
pub(crate) mod tally;
