//! Sessions that outlive the process: saved to a file of the state folder, read back at the start.
//!
//! - [`mod@format`]: the octets; [`record`]: one session in them;
//! - [`age`]: how long ago something was written, whatever happened to the clocks;
//! - [`folder`]: the file and its damaged predecessors;
//! - [`saving`]: out of the workers, while they run or after they have ended; [`keeper`]: when;
//! - [`restoring`]: into new workers; [`together`]: all of them, or none.

pub(super) mod age;
pub(super) mod folder;
pub(super) mod format;
pub(super) mod keeper;
mod record;
pub(super) mod restoring;
pub(super) mod saving;
pub(super) mod together;

#[cfg(test)]
mod tests;
