//! Listening on a device.

use std::io;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use genkan_io::classic_bpf::take_only_frames_for_others;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use pnet_datalink::{Channel, ChannelType, Config, NetworkInterface};

use crate::namespace::Namespace;

/// Longest frame that is kept whole: a super-frame of 64 KiB and its Ethernet header.
const LONGEST_FRAME: usize = 65_536 + 18;

/// How long a capture may sleep before it looks whether it is to end.
const PATIENCE: Duration = Duration::from_millis(20);

/// How long a capture on a busy device goes on after its end was called.
const LAST_LOOK: Duration = Duration::from_millis(500);

/// A running capture: every frame that arrives at a device or leaves it, until [`Capture::stop`].
#[derive(Debug)]
pub struct Capture {
    ending: Arc<AtomicBool>,
    listener: JoinHandle<Vec<Vec<u8>>>,
}

impl Capture {
    /// Starts to listen on `device` in `namespace`; frames sent after this returns are not missed.
    /// Frames for which `wanted` is false are not kept.
    ///
    /// # Errors
    /// When there is no such device, or listening is not allowed.
    pub fn start(
        namespace: &Namespace,
        device: &str,
        wanted: impl Fn(&[u8]) -> bool + Send + 'static,
    ) -> io::Result<Capture> {
        let mut receiver = namespace.run(|| open(device))?.1;
        let ending = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ending);
        let listener = std::thread::spawn(move || {
            let mut frames = Vec::new();
            let mut last_look = None;
            // Frames that lay in the socket when the end was called are still fetched, within reason.
            loop {
                if last_look.is_none() && ended.load(Ordering::Acquire) {
                    last_look = Some(Instant::now() + LAST_LOOK);
                }
                let frame = receiver.next();
                if last_look.is_some_and(|end| frame.is_err() || Instant::now() > end) {
                    return frames;
                }
                frames.extend(frame.ok().filter(|frame| wanted(frame)).map(<[u8]>::to_vec));
            }
        });
        Ok(Capture { ending, listener })
    }

    /// Ends the capture and returns its frames in order, Ethernet header first.
    pub fn stop(self) -> Vec<Vec<u8>> {
        self.ending.store(true, Ordering::Release);
        self.listener.join().unwrap_or_default()
    }
}

/// A channel to the raw frames of a device in the calling thread's namespace: sender and receiver. The receiver
/// gives an error of the kind `TimedOut` when nothing came for a while.
///
/// # Errors
/// When there is no such device, or raw sockets are not allowed.
pub fn open(
    device: &str,
) -> io::Result<(Box<dyn pnet_datalink::DataLinkSender>, Box<dyn pnet_datalink::DataLinkReceiver>)> {
    open_with(device, None)
}

/// Like [`open`], for hosts with MAC addresses of their own beside the device's: receives ARP and what is sent to them,
/// so that nothing of it is lost when the device's owner moves much.
///
/// # Errors
/// As [`open`].
pub fn open_for_others(
    device: &str,
) -> io::Result<(Box<dyn pnet_datalink::DataLinkSender>, Box<dyn pnet_datalink::DataLinkReceiver>)> {
    let every = SockProtocol::EthAll;
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, every)?;
    take_only_frames_for_others(socket.as_fd())?;
    open_with(device, Some(socket))
}

fn open_with(
    device: &str,
    socket: Option<OwnedFd>,
) -> io::Result<(Box<dyn pnet_datalink::DataLinkSender>, Box<dyn pnet_datalink::DataLinkReceiver>)> {
    let interface = interface(device)?;
    let config = Config {
        socket_fd: socket.map(IntoRawFd::into_raw_fd),
        read_timeout: Some(PATIENCE),
        read_buffer_size: LONGEST_FRAME,
        write_buffer_size: LONGEST_FRAME,
        channel_type: ChannelType::Layer2,
        promiscuous: false,
        ..Config::default()
    };
    match pnet_datalink::channel(&interface, config)? {
        Channel::Ethernet(sender, receiver) => Ok((sender, receiver)),
        _ => Err(io::Error::other("the device has no Ethernet frames")),
    }
}

/// A device of the calling thread's namespace, with its index and MAC address.
///
/// # Errors
/// When there is no such device.
pub fn interface(device: &str) -> io::Result<NetworkInterface> {
    let found = pnet_datalink::interfaces().into_iter().find(|interface| interface.name == device);
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no device {device}")))
}
