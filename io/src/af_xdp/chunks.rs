//! Whose a chunk of the frame memory is.
//!
//! A chunk is in exactly one state at any time:
//!
//! ```text
//!            fill                 receive                 release
//!   Free ------------> Filled ------------> Held -------------------------> Free
//!     \                                      | send              completed
//!      \ send a copy                         v           release
//!       `----> Sending <------------ HeldSending ---> (either may come first)
//!                 | completed                           completed: Held
//!                 v
//!                Free
//! ```
//!
//! *Filled* is the kernel's to receive into: in a fill ring or, with a frame, in a receive ring. *Held* belongs to the
//! batch that a receiver handed out. *HeldSending* is such a chunk that a transmitter took over: it stays as it is until
//! the batch is released **and** the kernel has sent it. Whatever asks for a step that the state does not allow gets
//! `false`, and nothing changes: a slot that is sent twice is copied the second time, and an entry of a ring that
//! makes no sense is left alone.

/// A socket that uses the memory. Never used twice for one memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SocketId(pub(super) u16);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Filled(SocketId),
    Held,
    HeldSending(SocketId),
    Sending(SocketId),
    /// Its driver may still write to it.
    Retired,
}

/// What is to become of the chunks that a closed socket left in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leftover {
    /// The kernel has done with them.
    Free,
    /// A driver with zero-copy ends its work some time after the socket was closed, which nothing tells.
    Retire,
}

/// The states of all chunks.
#[derive(Debug)]
pub(super) struct Chunks {
    states: Vec<State>,
    /// The chunks that are [`State::Free`], the last freed on top: it is in the cache.
    free: Vec<u32>,
}

impl Chunks {
    /// So many free chunks.
    pub(super) fn new(count: u32) -> Chunks {
        Chunks { states: vec![State::Free; count as usize], free: (0..count).rev().collect() }
    }

    /// Gives a free chunk to the kernel to receive into.
    pub(super) fn fill(&mut self, socket: SocketId) -> Option<u32> {
        self.take(State::Filled(socket))
    }

    /// The kernel put a frame into a chunk that it had to receive into.
    pub(super) fn received(&mut self, chunk: u32, socket: SocketId) -> bool {
        self.step(chunk, |state| (state == State::Filled(socket)).then_some(State::Held))
    }

    /// The batch that a chunk was held by is over.
    pub(super) fn release(&mut self, chunk: u32) -> bool {
        self.step(chunk, |state| match state {
            State::Held => Some(State::Free),
            State::HeldSending(socket) => Some(State::Sending(socket)),
            _ => None,
        })
    }

    /// Takes over a chunk with its frame from a batch, to be sent.
    pub(super) fn send_held(&mut self, chunk: u32, socket: SocketId) -> bool {
        self.step(chunk, |state| (state == State::Held).then_some(State::HeldSending(socket)))
    }

    /// A free chunk for a copy of a frame, to be sent.
    pub(super) fn send_copy(&mut self, socket: SocketId) -> Option<u32> {
        self.take(State::Sending(socket))
    }

    /// The kernel has sent a frame.
    pub(super) fn completed(&mut self, chunk: u32, socket: SocketId) -> bool {
        self.step(chunk, |state| match state {
            State::Sending(sender) if sender == socket => Some(State::Free),
            State::HeldSending(sender) if sender == socket => Some(State::Held),
            _ => None,
        })
    }

    /// A socket was closed: what it had in the kernel is left over.
    pub(super) fn closed(&mut self, socket: SocketId, leftover: Leftover) {
        let after = match leftover {
            Leftover::Free => State::Free,
            Leftover::Retire => State::Retired,
        };
        for chunk in 0..self.states.len() as u32 {
            self.step(chunk, |state| match state {
                State::Filled(owner) | State::Sending(owner) if owner == socket => Some(after),
                State::HeldSending(sender) if sender == socket => match leftover {
                    Leftover::Free => Some(State::Held),
                    Leftover::Retire => Some(State::Retired),
                },
                _ => None,
            });
        }
    }

    fn take(&mut self, state: State) -> Option<u32> {
        let chunk = self.free.pop()?;
        self.states[chunk as usize] = state;
        Some(chunk)
    }

    #[inline]
    fn step(&mut self, chunk: u32, next: impl FnOnce(State) -> Option<State>) -> bool {
        let Some(state) = self.states.get_mut(chunk as usize) else { return false };
        let Some(next) = next(*state) else { return false };
        *state = next;
        if next == State::Free {
            self.free.push(chunk);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    //! Properties, for any order of steps of two sockets with rings that behave as the kernel's: no chunk is in two
    //! places, none gets lost, a frame keeps its octets from its arrival until it is sent and its batch is over.

    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const SOCKETS: usize = 2;
    const CHUNKS: u32 = 12;

    /// The rings of a socket, and the batch that its receiver handed out last.
    #[derive(Debug, Default)]
    struct Port {
        fill: VecDeque<u32>,
        receive: VecDeque<u32>,
        batch: Vec<u32>,
        transmit: VecDeque<u32>,
        completion: VecDeque<u32>,
    }

    impl Port {
        fn in_kernel(&self) -> usize {
            self.fill.len() + self.receive.len() + self.transmit.len() + self.completion.len()
        }
    }

    struct World {
        chunks: Chunks,
        ports: [Port; SOCKETS],
        /// What was last written to each chunk, by the kernel or for a copy.
        content: Vec<u32>,
        /// For each chunk in a transmit ring: what must be sent.
        promised: Vec<u32>,
        /// What each frame of the batches must read as.
        held: Vec<u32>,
        written: u32,
    }

    #[derive(Clone, Debug)]
    enum Step {
        Fill(usize),
        Arrive(usize),
        /// Releases the batch, and takes up to so many frames.
        Receive(usize, usize),
        /// Sends the nth frame of one port's batch out of a port.
        Send {
            from: usize,
            nth: usize,
            to: usize,
        },
        Copy(usize),
        Sent(usize),
        Complete(usize),
        Nonsense(u32, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let port = 0..SOCKETS;
        prop_oneof![
            3 => port.clone().prop_map(Step::Fill),
            3 => port.clone().prop_map(Step::Arrive),
            2 => (port.clone(), 0..4usize).prop_map(|(port, most)| Step::Receive(port, most)),
            4 => (port.clone(), 0..4usize, port.clone()).prop_map(|(from, nth, to)| Step::Send { from, nth, to }),
            1 => port.clone().prop_map(Step::Copy),
            3 => port.clone().prop_map(Step::Sent),
            3 => port.clone().prop_map(Step::Complete),
            1 => (0..CHUNKS + 2, port).prop_map(|(chunk, port)| Step::Nonsense(chunk, port)),
        ]
    }

    fn id(port: usize) -> SocketId {
        SocketId(port as u16)
    }

    impl World {
        fn new() -> World {
            let none = vec![0; CHUNKS as usize];
            World {
                chunks: Chunks::new(CHUNKS),
                ports: Default::default(),
                content: none.clone(),
                promised: none.clone(),
                held: none,
                written: 0,
            }
        }

        fn write(&mut self, chunk: u32) {
            self.written += 1;
            self.content[chunk as usize] = self.written;
        }

        fn run(&mut self, step: &Step) {
            match *step {
                Step::Fill(port) => {
                    if let Some(chunk) = self.chunks.fill(id(port)) {
                        self.ports[port].fill.push_back(chunk);
                    }
                }
                Step::Arrive(port) => {
                    if let Some(chunk) = self.ports[port].fill.pop_front() {
                        self.write(chunk);
                        self.ports[port].receive.push_back(chunk);
                    }
                }
                Step::Receive(port, most) => {
                    for chunk in std::mem::take(&mut self.ports[port].batch) {
                        assert_eq!(
                            self.content[chunk as usize], self.held[chunk as usize],
                            "a batch kept still"
                        );
                        assert!(self.chunks.release(chunk));
                    }
                    for _ in 0..most {
                        let Some(chunk) = self.ports[port].receive.pop_front() else { break };
                        assert!(self.chunks.received(chunk, id(port)));
                        self.held[chunk as usize] = self.content[chunk as usize];
                        self.ports[port].batch.push(chunk);
                    }
                }
                Step::Send { from, nth, to } => {
                    let Some(&chunk) = self.ports[from].batch.get(nth) else { return };
                    let sent = if self.chunks.send_held(chunk, id(to)) {
                        chunk
                    } else {
                        // Sent before, and still on its way.
                        let Some(copy) = self.chunks.send_copy(id(to)) else { return };
                        assert_ne!(copy, chunk);
                        self.content[copy as usize] = self.content[chunk as usize];
                        copy
                    };
                    self.promised[sent as usize] = self.held[chunk as usize];
                    self.ports[to].transmit.push_back(sent);
                }
                Step::Copy(port) => {
                    if let Some(chunk) = self.chunks.send_copy(id(port)) {
                        self.write(chunk);
                        self.promised[chunk as usize] = self.content[chunk as usize];
                        self.ports[port].transmit.push_back(chunk);
                    }
                }
                Step::Sent(port) => {
                    if let Some(chunk) = self.ports[port].transmit.pop_front() {
                        assert_eq!(
                            self.content[chunk as usize], self.promised[chunk as usize],
                            "sent as promised"
                        );
                        self.ports[port].completion.push_back(chunk);
                    }
                }
                Step::Complete(port) => {
                    if let Some(chunk) = self.ports[port].completion.pop_front() {
                        assert!(self.chunks.completed(chunk, id(port)));
                    }
                }
                Step::Nonsense(chunk, port) => {
                    // A ring that names a chunk which it does not have.
                    let port_has = |ring: &VecDeque<u32>| ring.contains(&chunk);
                    let Port { fill, receive, transmit, completion, .. } = &self.ports[port];
                    if !port_has(fill) && !port_has(receive) {
                        assert!(!self.chunks.received(chunk, id(port)));
                    }
                    if !port_has(transmit) && !port_has(completion) {
                        assert!(!self.chunks.completed(chunk, id(port)));
                    }
                }
            }
        }

        fn check(&self) {
            let mut places = vec![0; CHUNKS as usize];
            let mut count = |chunk: u32| places[chunk as usize] += 1;
            self.chunks.free.iter().copied().for_each(&mut count);
            for port in &self.ports {
                for ring in [&port.fill, &port.receive, &port.transmit, &port.completion] {
                    ring.iter().copied().for_each(&mut count);
                }
                let is_sending = |chunk: &&u32| {
                    !self
                        .ports
                        .iter()
                        .any(|port| port.transmit.contains(chunk) || port.completion.contains(chunk))
                };
                port.batch.iter().filter(is_sending).copied().for_each(&mut count);
            }
            assert!(places.iter().all(|places| *places == 1), "{places:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_chunk_is_in_one_place(steps in prop::collection::vec(step(), 0..300)) {
            let mut world = World::new();
            for step in &steps {
                world.run(step);
                world.check();
            }
            // Socket 1 is closed: what it had comes back, and only that.
            let others = world.ports[0].in_kernel();
            world.chunks.closed(id(1), Leftover::Free);
            let mut batches: Vec<u32> = world.ports.iter().flat_map(|port| port.batch.clone()).collect();
            for chunk in batches.drain(..) {
                prop_assert!(world.chunks.release(chunk));
            }
            prop_assert_eq!(world.chunks.free.len() + others, CHUNKS as usize);
        }

        #[test]
        fn what_a_driver_may_still_write_to_is_not_used_again(steps in prop::collection::vec(step(), 0..200)) {
            let mut world = World::new();
            for step in &steps {
                world.run(step);
            }
            let left: Vec<u32> = [&world.ports[1].fill, &world.ports[1].receive, &world.ports[1].transmit]
                .into_iter()
                .flatten()
                .copied()
                .collect();
            world.chunks.closed(id(1), Leftover::Retire);
            while let Some(chunk) = world.chunks.fill(id(0)) {
                prop_assert!(!left.contains(&chunk));
            }
        }
    }
}
