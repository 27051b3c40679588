//! The rules a person wrote: port forwards and the DMZ.

mod brake;
pub mod dmz;
pub(crate) mod limits;
mod port_index;
pub mod rules;
pub(crate) mod tally;
mod top_sources;
