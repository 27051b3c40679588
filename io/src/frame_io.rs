//! The two halves of a port, as workers see them.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use genkan_engine::frame::{FrameBatch, Offload, Slot};
use genkan_engine::packet::merge::Merged;
use genkan_engine::verdict::Verdict;

use crate::error::IoError;

/// Most frames that one [`FrameReceiver::receive`] hands over.
pub const MAX_BATCH: usize = 64;

/// What a transmitter takes beyond finished frames of at most the device's MTU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Frames whose transport checksum is still partial.
    pub partial_checksum: bool,
    /// TCP/IPv4 super-frames.
    pub tso: bool,
    /// UDP/IPv4 super-frames.
    pub uso: bool,
}

impl Capabilities {
    /// Everything the engine may hand out.
    pub const ALL: Capabilities = Capabilities { partial_checksum: true, tso: true, uso: true };
    /// Finished frames only.
    pub const NONE: Capabilities = Capabilities { partial_checksum: false, tso: false, uso: false };
}

/// Most descriptors that one receiver is waited for by.
pub const MAX_POLL_FDS: usize = 3;

/// The descriptors that a receiver is waited for by.
///
/// They are handed to poll(2) as they are rather than gathered in an epoll set: a set watches them all the time, and
/// then every frame that arrives pays for telling it, also while nobody sleeps.
#[derive(Clone, Copy, Debug)]
pub struct PollFds<'a>([Option<BorrowedFd<'a>>; MAX_POLL_FDS]);

impl<'a> PollFds<'a> {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = BorrowedFd<'a>> {
        self.0.into_iter().flatten()
    }
}

impl<'a> From<BorrowedFd<'a>> for PollFds<'a> {
    fn from(fd: BorrowedFd<'a>) -> PollFds<'a> {
        PollFds([Some(fd), None, None])
    }
}

impl<'a> From<[BorrowedFd<'a>; MAX_POLL_FDS]> for PollFds<'a> {
    fn from(fds: [BorrowedFd<'a>; MAX_POLL_FDS]) -> PollFds<'a> {
        PollFds(fds.map(Some))
    }
}

/// Where frames come from.
pub trait FrameReceiver: Send {
    /// The frames that wait now, at most [`MAX_BATCH`], in order of arrival; never blocks.
    ///
    /// The call releases the batch before it. Wait on [`FrameReceiver::poll_fds`] only after an *empty* batch:
    /// a ring whose last frames are still held looks readable.
    ///
    /// # Errors
    /// [`IoError::DeviceGone`] once the device is no more; [`IoError::EndOfInput`] after the last frame of a file.
    fn receive(&mut self) -> Result<FrameBatch<'_>, IoError>;

    /// One of these becomes readable when frames (or an error) wait. `None`: no waiting, more can be had at once.
    fn poll_fds(&self) -> Option<PollFds<'_>>;

    /// Frames lost before [`FrameReceiver::receive`] could see them (a full ring, a full socket buffer), since the
    /// half was opened. May cost a system call: ask now and then, not per batch.
    fn lost_frames(&mut self) -> u64 {
        0
    }

    /// Drops the frames that wait and arrived at this wall time (since 1970) or before; returns how many. Back ends whose
    /// frames wait nowhere but here, so that nobody else can have had them, drop none.
    fn skip_until(&mut self, _wall: Duration) -> usize {
        0
    }
}

/// Where frames go.
pub trait FrameTransmitter: Send {
    /// Sends the frames `slots[i]` of `memory` for each `i` of `indices`, in that order, without waiting.
    ///
    /// Returns how many were taken. The others (queue full, frame too long, link down) are lost, as on any wire:
    /// the caller counts them. Verdicts in the slots are not looked at.
    ///
    /// # Errors
    /// [`IoError::DeviceGone`] once the device is no more.
    ///
    /// # Panics
    /// When an index is outside `slots`, or a slot outside `memory`.
    fn transmit(&mut self, memory: &[u8], slots: &[Slot], indices: &[u16]) -> Result<usize, IoError>;

    /// What may be handed to [`FrameTransmitter::transmit`].
    fn capabilities(&self) -> Capabilities;

    /// Sends frames of which some lie in pieces, in order, without waiting. Returns for how many frames of the batch
    /// those stand that were taken ([`FrameView::count`](genkan_engine::packet::merge::FrameView::count)).
    ///
    /// Back ends that are to stand behind [`crate::merging::Merging`] gather the pieces where they lie; here they are
    /// copied together.
    ///
    /// # Errors
    /// As [`FrameTransmitter::transmit`].
    fn transmit_merged(&mut self, merged: &Merged<'_>) -> Result<usize, IoError> {
        let (mut octets, mut taken) = (Vec::new(), 0);
        for frame in merged.frames() {
            octets.clear();
            octets.extend_from_slice(frame.start());
            frame.rest().for_each(|piece| octets.extend_from_slice(piece));
            if self.transmit_frame(&octets, *frame.offload())? {
                taken += frame.count();
            }
        }
        Ok(taken)
    }

    /// Frames that left within a super-frame that another one started, since the half was opened.
    fn merged_frames(&self) -> u64 {
        0
    }

    /// Sends one frame; whether it was taken.
    ///
    /// # Errors
    /// As [`FrameTransmitter::transmit`].
    fn transmit_frame(&mut self, frame: &[u8], offload: Offload) -> Result<bool, IoError> {
        let slot = Slot { offset: 0, len: frame.len(), offload, verdict: Verdict::Consumed };
        Ok(self.transmit(frame, &[slot], &[0])? == 1)
    }
}

/// Both halves of a port.
pub struct FrameIo {
    /// Where its frames come from.
    pub receiver: Box<dyn FrameReceiver>,
    /// Where its frames go.
    pub transmitter: Box<dyn FrameTransmitter>,
}

impl FrameIo {
    /// Puts two halves together.
    pub fn new(
        receiver: impl FrameReceiver + 'static,
        transmitter: impl FrameTransmitter + 'static,
    ) -> FrameIo {
        FrameIo { receiver: Box::new(receiver), transmitter: Box::new(transmitter) }
    }
}

impl std::fmt::Debug for FrameIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameIo")
            .field("capabilities", &self.transmitter.capabilities())
            .finish_non_exhaustive()
    }
}

impl<T: FrameReceiver + ?Sized> FrameReceiver for Box<T> {
    fn receive(&mut self) -> Result<FrameBatch<'_>, IoError> {
        (**self).receive()
    }
    fn poll_fds(&self) -> Option<PollFds<'_>> {
        (**self).poll_fds()
    }
    fn lost_frames(&mut self) -> u64 {
        (**self).lost_frames()
    }
    fn skip_until(&mut self, wall: Duration) -> usize {
        (**self).skip_until(wall)
    }
}

impl<T: FrameTransmitter + ?Sized> FrameTransmitter for Box<T> {
    fn transmit(&mut self, memory: &[u8], slots: &[Slot], indices: &[u16]) -> Result<usize, IoError> {
        (**self).transmit(memory, slots, indices)
    }
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }
    fn transmit_merged(&mut self, merged: &Merged<'_>) -> Result<usize, IoError> {
        (**self).transmit_merged(merged)
    }
    fn merged_frames(&self) -> u64 {
        (**self).merged_frames()
    }
}
