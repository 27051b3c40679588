//! Properties, with servers that are honest, slow, dying or hostile, a link that flaps and a clock that jumps:
//! - no address is in use after the lease time that a server granted for it, counted from the request;
//! - the events tell the use: one address at a time, told before a message leaves from it;
//! - what is taken from a server is sound;
//! - any octets are answered or ignored, never a panic.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// To the next timer, at most so many seconds.
    Timer(u16),
    /// Seconds pass at once, past whatever timer.
    Jump(u32),
    /// The clock goes back by seconds.
    Back(u16),
    Link(bool),
    Release,
    Start,
    /// A server answers the last message: honest (lease time), or not.
    Answer(u32),
    Wrong(u8, u8),
    Offer(u8, u32),
    Old,
    Octets(Vec<u8>),
    Free,
    Conflict,
    /// The daemon starts again, wall time having gone on by seconds, or with an implausible clock.
    Restart(Option<u16>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lease = prop_oneof![10u32..200, 200u32..100_000, Just(u32::MAX)];
    let step = prop_oneof![
        6 => (1u16..2000).prop_map(Step::Timer),
        1 => (1u32..200_000).prop_map(Step::Jump),
        1 => (1u16..1000).prop_map(Step::Back),
        2 => any::<bool>().prop_map(Step::Link),
        1 => Just(Step::Release),
        2 => Just(Step::Start),
        8 => lease.clone().prop_map(Step::Answer),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(at, octet)| Step::Wrong(at, octet)),
        2 => (any::<u8>(), lease).prop_map(|(kind, lease)| Step::Offer(kind, lease)),
        1 => Just(Step::Old),
        1 => proptest::collection::vec(any::<u8>(), 0..600).prop_map(Step::Octets),
        4 => Just(Step::Free),
        1 => Just(Step::Conflict),
        1 => proptest::option::of(0u16..5000).prop_map(Step::Restart),
    ];
    proptest::collection::vec(step, 1..120)
}

/// The world around the client, and what it believes.
struct World {
    client: Client,
    now: Timestamp,
    wall: i64,
    /// The address that the events tell.
    told: Option<Configuration>,
    /// Until when a server's word allows an address.
    allowed: Vec<(Ipv4Addr, Timestamp)>,
    last: Option<(Timestamp, Transmit)>,
    old: Option<Vec<u8>>,
    /// When the messages with this xid began.
    asked: Vec<([u8; 4], Timestamp)>,
    probing: Option<Ipv4Addr>,
    link: bool,
}

impl World {
    fn new() -> World {
        World {
            client: client(),
            now: Timestamp::ZERO,
            wall: 1_800_000_000,
            told: None,
            allowed: Vec::new(),
            last: None,
            old: None,
            asked: Vec::new(),
            probing: None,
            link: false,
        }
    }

    /// What the daemon does after each call, in its order, with the checks.
    fn settle(&mut self) {
        while let Some(transmit) = self.client.poll_transmit() {
            assert!(self.link, "sent without a link");
            assert!(transmit.octets.len() >= 300 && transmit.octets.len() <= 548);
            if transmit.source.is_unspecified() {
                assert_eq!(transmit.destination, Ipv4Addr::BROADCAST);
            } else {
                assert_eq!(Some(transmit.source), self.told.as_ref().map(|told| told.address.addr()));
            }
            // The lease of a request runs from the first one of its kind with this xid.
            if kind(&transmit) == REQUEST && self.asked.iter().all(|(asked, _)| *asked != xid(&transmit)) {
                self.asked.push((xid(&transmit), self.now));
            }
            self.last = Some((self.now, transmit));
        }
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Probe { address } => self.probing = Some(address),
                Event::Bound(after) => assert_eq!(self.told.replace(after), None),
                Event::Changed { before, after } => {
                    assert_ne!(before, after);
                    assert_eq!(self.told.replace(after), Some(before));
                }
                Event::Renewed => assert!(self.told.is_some()),
                Event::Lost { .. } => assert!(self.told.take().is_some()),
            }
        }
        assert_eq!(self.client.configuration(), self.told.as_ref());
        if let Some(told) = &self.told {
            assert_eq!(told.check(), Ok(()));
            let address = told.address.addr();
            let is_allowed =
                self.allowed.iter().any(|(allowed, until)| *allowed == address && self.now < *until);
            assert!(is_allowed, "{address} at {:?}: {:?}", self.now, self.allowed);
        }
    }

    fn deliver(&mut self, octets: &[u8]) {
        let _ = self.client.handle_datagram(self.now, octets);
        self.settle();
    }

    /// An answer of `kind`; a DHCPACK allows its address.
    fn reply(&mut self, kind: u8, address: Ipv4Addr, lease: u32) {
        let Some((_, request)) = self.last.clone() else { return };
        let octets = answer(&request, kind, address, SERVER, &lease_options(lease));
        if kind == ACK
            && let Some((_, asked)) = self.asked.iter().find(|(asked, _)| *asked == xid(&request))
        {
            let until = match lease {
                u32::MAX => Timestamp::MAX,
                seconds => *asked + Duration::from_secs(seconds.into()),
            };
            self.allowed.push((address, until));
        }
        self.old = Some(octets.clone());
        self.deliver(&octets);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Timer(limit) => {
                let limit = self.now + Duration::from_secs(limit.into());
                let to = self.client.poll_timeout().map_or(limit, |at| at.min(limit)).max(self.now);
                self.pass(to);
            }
            Step::Jump(seconds) => self.pass(self.now + Duration::from_secs(seconds.into())),
            Step::Back(seconds) => {
                self.client.handle_timeout(self.now - Duration::from_secs(seconds.into()));
            }
            Step::Link(up) => {
                self.link = up;
                self.client.handle_link(self.now, up);
            }
            Step::Release => self.client.release(self.now),
            Step::Start => self.client.start(self.now),
            Step::Answer(lease) => {
                let Some((_, request)) = &self.last else { return };
                let requested = match option(&request.octets, 50) {
                    Some(requested) => <[u8; 4]>::try_from(requested).unwrap().into(),
                    None if request.source.is_unspecified() => ADDRESS,
                    None => request.source,
                };
                let answer = if kind(request) == DISCOVER { OFFER } else { ACK };
                self.reply(answer, requested, lease);
            }
            Step::Wrong(at, octet) => {
                let Some(mut octets) = self.old.clone() else { return };
                // The fields that would make another promise of it stay: address, lease time and server.
                let at = usize::from(at) % octets.len();
                if !(16..20).contains(&at) && at < 240 {
                    octets[at] = octet;
                }
                self.deliver(&octets);
            }
            Step::Offer(kind, lease) => {
                let address = Ipv4Addr::new(198, 51, 100, 1 + kind % 4);
                self.reply(1 + kind % 8, address, lease);
            }
            Step::Old => {
                let Some(octets) = self.old.clone() else { return };
                self.deliver(&octets);
            }
            Step::Octets(octets) => {
                self.deliver(&octets);
                // The same after a header that is ours.
                if let Some((_, request)) = &self.last {
                    let mut own = answer(request, NAK, ADDRESS, SERVER, &[]);
                    own.pop();
                    own.extend_from_slice(&octets);
                    self.deliver(&own);
                }
            }
            Step::Free => {
                if let Some(address) = self.probing {
                    self.client.handle_address_free(self.now, address);
                }
            }
            Step::Conflict => {
                if let Some(address) = self.probing {
                    self.client.handle_conflict(self.now, address);
                }
            }
            Step::Restart(gone) => self.restart(gone),
        }
        self.settle();
    }

    fn pass(&mut self, to: Timestamp) {
        self.wall += to.saturating_since(self.now).as_secs() as i64 + 1;
        self.now = to;
        self.client.handle_timeout(to);
    }

    fn restart(&mut self, gone: Option<u16>) {
        let saved = self.client.saved_lease(self.now, Some(UnixTime(self.wall)));
        let seconds = gone.unwrap_or(5000);
        self.wall += i64::from(seconds);
        self.now += Duration::from_secs(seconds.into());
        let wall = gone.map(|_| UnixTime(self.wall));
        self.client = Client::new(config(), saved, self.now.as_nanos(), self.now, wall).unwrap();
        self.client.handle_link(self.now, self.link);
        self.told = None;
        self.probing = None;
        self.last = None;
    }
}

proptest! {
    #[test]
    fn whatever_happens(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
    }

    /// From any state, a link and an honest server give an address within the longest wait and a little.
    #[test]
    fn an_honest_server_is_enough(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.step(Step::Link(true));
        world.step(Step::Start);
        for _ in 0..200 {
            if world.client.phase() == Phase::Bound {
                break;
            }
            world.step(Step::Timer(u16::MAX));
            world.step(Step::Answer(3600));
            world.step(Step::Answer(3600));
            world.step(Step::Free);
        }
        prop_assert!(world.client.configuration().is_some());
    }

    #[test]
    fn any_options_never_panic(options in proptest::collection::vec(any::<u8>(), 0..1300), sname in any::<[u8; 32]>()) {
        let mut client = client();
        client.handle_link(at(1), true);
        let (now, discover) = next_transmit(&mut client);
        let mut octets = answer(&discover, OFFER, ADDRESS, SERVER, &lease_options(600));
        octets[44..76].copy_from_slice(&sname);
        octets.pop();
        octets.extend_from_slice(&options);
        let _ = client.handle_datagram(now, &octets);
    }

    /// Well formed options of any code and length, in parts.
    #[test]
    fn any_well_formed_options_never_panic(
        options in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..30)
    ) {
        let mut client = client();
        client.handle_link(at(1), true);
        let (now, discover) = next_transmit(&mut client);
        let octets = answer(&discover, OFFER, ADDRESS, SERVER, &[lease_options(600), options].concat());
        let _ = client.handle_datagram(now, &octets);
    }
}
