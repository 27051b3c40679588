//! A way for messages with open descriptors between two processes: what one has open goes on in the other.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair};

use crate::sys::rights;

/// Longest message, in octets.
pub const LONGEST: usize = 64 << 10;

/// Most descriptors of one message.
pub const MOST_DESCRIPTORS: usize = rights::MOST;

/// One end of the way. Messages arrive whole and in order.
#[derive(Debug)]
pub struct Passage(OwnedFd);

/// A message, and the descriptors that came with it.
pub type Received = (Vec<u8>, Vec<OwnedFd>);

impl Passage {
    /// Both ends; neither outlives an execve(2) by itself.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn pair() -> io::Result<(Passage, Passage)> {
        let (one, other) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Passage(one), Passage(other)))
    }

    /// The end that somebody has left us.
    pub fn from_descriptor(descriptor: OwnedFd) -> Passage {
        Passage(descriptor)
    }

    /// This end, to be left to somebody.
    pub fn into_descriptor(self) -> OwnedFd {
        self.0
    }

    /// Sends a message, not empty, with descriptors, of which the other process gets duplicates.
    ///
    /// # Errors
    /// When the other end is closed (EPIPE), or the message or its descriptors are too many.
    pub fn send(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let control = if numbers.is_empty() { &rights[..0] } else { &rights[..] };
        let parts = [IoSlice::new(message)];
        sendmsg::<()>(self.0.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }

    /// Waits for the next message; `None` when the other end is closed and nothing is left.
    ///
    /// # Errors
    /// `TimedOut` when nothing comes within `patience`, or when the message is too long.
    pub fn receive(&self, patience: Duration) -> io::Result<Option<Received>> {
        let limit = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        loop {
            match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], limit) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let mut message = vec![0; LONGEST];
        match rights::receive(self.0.as_fd(), &mut message) {
            Ok((0, _)) => Ok(None),
            Ok((length, descriptors)) => {
                message.truncate(length);
                Ok(Some((message, descriptors)))
            }
            // It went without having read what we sent.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Passage {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn what_is_sent_along_goes_on_elsewhere() {
        let (here, there) = Passage::pair().expect("sockets");
        let (mut reader, writer) = io::pipe().expect("a pipe");
        here.send(b"two of them", &[writer.as_fd(), writer.as_fd()]).expect("sent");
        here.send(b"none", &[]).expect("sent");
        drop(writer);
        let (message, mut descriptors) = there.receive(SOON).expect("it came").expect("open");
        assert_eq!((message.as_slice(), descriptors.len()), (&b"two of them"[..], 2));
        std::fs::File::from(descriptors.remove(0)).write_all(b"still open").expect("a pipe takes that");
        drop(descriptors);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("all writers are gone");
        assert_eq!(text, "still open");
        let (message, descriptors) = there.receive(SOON).expect("it came").expect("open");
        assert_eq!((message.as_slice(), descriptors.len()), (&b"none"[..], 0));
    }

    #[test]
    fn an_end_that_is_closed_or_silent_is_noticed() {
        let (here, there) = Passage::pair().expect("sockets");
        let silent = there.receive(Duration::from_millis(1)).expect_err("nothing was sent");
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
        there.send(b"never read", &[]).expect("sent");
        drop(here);
        assert!(there.receive(SOON).expect("that is no error").is_none());
        assert_eq!(there.send(b"x", &[]).expect_err("closed").kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn too_much_is_refused() {
        let (here, there) = Passage::pair().expect("sockets");
        let many = vec![here.as_fd(); MOST_DESCRIPTORS + 1];
        assert!(here.send(b"x", &many).is_err());
        here.send(&vec![7; LONGEST + 1], &[]).expect("the kernel takes it");
        assert!(there.receive(SOON).is_err(), "but it does not fit");
    }
}
