//! What can go wrong while frames are moved.

use std::io;

/// An error of a [`crate::FrameReceiver`] or [`crate::FrameTransmitter`], or of opening one.
///
/// A frame that one device refuses (too long, queue full) is no error: it is not counted as taken.
#[derive(Debug, thiserror::Error)]
pub enum IoError {
    /// The device was deleted or moved to another network namespace: close this half and open it anew when the
    /// device is back. A device that is merely down gives no error: it has nothing to receive and takes nothing.
    #[error("the network device is gone")]
    DeviceGone,
    /// Nothing more will ever come: the end of a capture file, or the other end of a loopback was dropped.
    #[error("end of input")]
    EndOfInput,
    /// The device could not be opened.
    #[error("device {device}: {operation}: {source}")]
    Open {
        /// The device's name.
        device: String,
        /// What was tried, in words.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The device does not carry Ethernet frames (a TUN device, a serial line, ...).
    #[error("device {device} is not an Ethernet device")]
    NotEthernet {
        /// The device's name.
        device: String,
    },
    /// A device name that the kernel would cut, or that it refuses.
    #[error("{0:?} is no device name: it must have 1 to 15 octets, and no '/', ':' or white space")]
    DeviceName(String),
    /// A system call failed in a way that a working device does not show.
    #[error("{operation}: {source}")]
    System {
        /// What was tried, in words.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A capture file is malformed, of a kind that holds no Ethernet frames, or cannot be read or written.
    #[error("capture file: {0}")]
    Capture(#[from] pcap_file::PcapError),
    /// A capture file holds packets of a link layer that is not Ethernet.
    #[error("capture file: link type {0} is not supported, only Ethernet (1)")]
    CaptureLinkType(u32),
}

impl IoError {
    /// For `map_err` after a system call.
    pub(crate) fn system(operation: &'static str) -> impl FnOnce(io::Error) -> IoError {
        move |source| IoError::System { operation, source }
    }
}
