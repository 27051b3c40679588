//! The worker goes first while frames pile up, and is one among others when they do not.
//!
//! On a box whose CPUs are all busy (with those who send the frames, often) a worker gets no more than its share of
//! one CPU, and frames that a whole CPU could forward are lost. Going first all the time would be no answer: a worker
//! that waits for frames must not keep its CPU from those who are to send or to take them.

use genkan_io::MAX_BATCH;
use genkan_io::sys::thread;

/// So many full batches one after the other are more than a burst: 1024 frames, about 2 ms of work.
const PILED_UP: u32 = 16;

/// While frames are piled up. Nine tenths of a CPU that one ordinary thread wants as well.
pub(super) const NICE: i32 = -10;

/// The calling thread's place among those that want its CPU.
#[derive(Debug)]
pub(crate) struct Priority {
    /// Nice value to go back to. `None`: it cannot be changed.
    usual: Option<i32>,
    raised: bool,
    full_batches: u32,
}

impl Priority {
    /// Of the calling thread, which must be the one that makes the calls below.
    pub(crate) fn new() -> Priority {
        Priority { usual: thread::nice().ok().filter(|nice| *nice > NICE), raised: false, full_batches: 0 }
    }

    /// A round brought so many frames.
    #[inline]
    pub(crate) fn received(&mut self, frames: usize) {
        if frames < MAX_BATCH {
            self.full_batches = 0;
        } else if !self.raised {
            self.full_batches += 1;
            if self.full_batches >= PILED_UP && self.usual.is_some() {
                self.raise();
            }
        }
    }

    fn raise(&mut self) {
        match thread::set_nice(NICE) {
            Ok(()) => self.raised = true,
            // Not permitted: it will not be later on.
            Err(_) => self.usual = None,
        }
    }

    /// There is nothing left to do.
    pub(crate) fn rest(&mut self) {
        self.full_batches = 0;
        if let Some(usual) = self.usual.filter(|_| std::mem::take(&mut self.raised)) {
            // Waiting longer is always permitted.
            let _ = thread::set_nice(usual);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_when_frames_pile_up_and_falls_when_they_are_gone() {
        let usual = thread::nice().expect("everybody may ask");
        let mut priority = Priority::new();
        for _ in 0..10 * PILED_UP {
            priority.received(MAX_BATCH);
            priority.received(MAX_BATCH - 1);
        }
        assert_eq!(thread::nice(), Ok(usual), "batches that are not full do not pile up");
        for _ in 0..PILED_UP {
            priority.received(MAX_BATCH);
        }
        // Without the permission everything stays as it is.
        let permitted = priority.raised;
        assert_eq!(thread::nice(), Ok(if permitted { NICE } else { usual }));
        assert_eq!(permitted, usual > NICE && priority.usual.is_some());
        priority.rest();
        assert_eq!(thread::nice(), Ok(usual));
        assert!(!priority.raised);
    }
}
