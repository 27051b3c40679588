//! Packets of the running router, with what they looked like before and after, and why.
//!
//! ```text
//!  worker:   Tap  ──── bounded rings: labels, octets ────>  Drain  ─> Words ─> pcapng blocks ─> client
//!            one per worker, only while a capture runs       (server)
//! ```
//!
//! The worker copies the beginning of each frame before its router rewrites it, and afterwards puts what the
//! [`Filter`] wants into the rings: both frames, the verdict, and the session's reason. It neither waits nor
//! allocates; what does not fit is counted. Everything in words is made on the control side.
//!
//! - [`filter`]: which packets are wanted;
//! - [`tap`]: the worker's end; [`ring`] between;
//! - [`words`]: the comments;
//! - [`pcapng`]: the blocks of the file, written and read.

pub mod filter;
pub mod pcapng;
pub mod ring;
pub mod tap;
pub mod words;

pub use self::filter::{Filter, FilterError};
pub use self::tap::Tap;

/// Octets of a frame that are kept unless told otherwise: the headers, and little of what people say to each other.
pub const DEFAULT_SNAPLEN: u32 = 128;
/// Fewest octets that can be asked for: link, IP and TCP header without options.
pub const MIN_SNAPLEN: u32 = 54;
/// Most octets that can be asked for: any frame whole, super-frames as well.
pub const MAX_SNAPLEN: u32 = 65_553;
/// Longest capture in seconds that can be asked for: a day.
pub const MAX_SECONDS: u32 = 86_400;
