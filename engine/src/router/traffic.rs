//! Which host a frame of each batch is counted for; see [`crate::nat::host_traffic`].

use super::ingress::{destination_of, source_of};
use super::{Router, decode};
use crate::frame::{PortId, Slot};
use crate::nat::policy::Direction;
use crate::nat::session::{SessionId, SessionKey};
use crate::packet::parsed::Kind;
use crate::time::Timestamp;
use crate::verdict::Verdict;

impl Router {
    /// Counts what the batch that was judged last brought or sent by the wan, for the host of one of its frames: what
    /// [`HostView`](crate::view::HostView) says of octets. To be called with that batch after [`Router::handle_batch`],
    /// which has what this needs at hand; a caller that does not wish for these numbers need not.
    // Apart from the judging, whose loops any further line makes slower than this whole function is.
    pub fn count_traffic(&mut self, now: Timestamp, port: PortId, memory: &[u8], slots: &[Slot]) {
        let drawn = if slots.len() > 1 { self.nat.draw(slots.len() as u32) } else { 0 };
        let Some((slot, prepared)) = slots.get(drawn as usize).zip(self.prepared.get(drawn as usize)) else {
            return;
        };
        let (out, direction) = match slot.verdict {
            Verdict::Transmit(out) if port == PortId::WAN => (out, Direction::Inbound),
            Verdict::Transmit(PortId::WAN) => (PortId::WAN, Direction::Outbound),
            _ => return,
        };
        let session = match prepared.hint {
            Some(known) if self.nat.sessions.confirm(known, prepared.key) => Some(known.0),
            _ if prepared.is_common() => {
                self.nat.sessions.find(prepared.key, prepared.hash).map(|(id, _)| id)
            }
            _ => self.session_of_sent(out, memory, slot),
        };
        if let Some(host) = session.map(|id| self.nat.sessions[id].host) {
            self.nat.hosts.count(host, now, direction, (slots.len() * slot.len) as u64);
        }
    }

    /// The session of a packet that goes out by `out`: that of its answer. None for fragments and ICMP errors.
    fn session_of_sent(&self, out: PortId, memory: &[u8], slot: &Slot) -> Option<SessionId> {
        let sent = decode(memory.get(slot.offset..slot.offset.checked_add(slot.len)?)?).ok()?;
        if sent.fragment.is_some() || matches!(sent.kind, Kind::IcmpError | Kind::IcmpOther(_)) {
            return None;
        }
        let answer = SessionKey::new(out, sent.protocol, destination_of(&sent), source_of(&sent));
        self.nat.sessions.find_key(answer).map(|(id, _)| id)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use crate::frame::{FrameBatch, Offload, PortId, Slot};
    use crate::packet::build;
    use crate::packet::test_frames::Spec;
    use crate::router::Router;
    use crate::router::tests::{MAC, NOW, plan, router};
    use crate::time::Timestamp;
    use crate::verdict::{DropReason, Verdict};
    use crate::wire::arp;
    use crate::wire::ethernet::MacAddr;

    const LAN: PortId = PortId::lan(0);
    const HOSTS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 168, 0, 10), Ipv4Addr::new(192, 168, 0, 20)];

    /// Hands over a batch; how many of its frames go on.
    fn batch(router: &mut Router, now: Timestamp, port: PortId, frames: &[&[u8]]) -> usize {
        let mut memory = frames.concat();
        let mut slots: Vec<Slot> = Vec::new();
        for frame in frames {
            let offset = slots.last().map_or(0, |slot| slot.offset + slot.len);
            let verdict = Verdict::Drop(DropReason::PortDown);
            slots.push(Slot { offset, len: frame.len(), offload: Offload::default(), verdict });
        }
        router.handle_batch(now, port, FrameBatch { memory: &mut memory, slots: &mut slots });
        router.count_traffic(now, port, &memory, &slots);
        slots.iter().filter(|slot| matches!(slot.verdict, Verdict::Transmit(_))).count()
    }

    fn learn(router: &mut Router, port: PortId, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) {
        let operation = arp::Operation::Reply;
        let reply = arp::Repr {
            operation,
            sender_mac: MacAddr([2, 0, 0, 0, 0, 9]),
            sender_ip,
            target_mac: MAC,
            target_ip,
        };
        batch(router, NOW, port, &[&build::arp_frame(&reply, MAC)]);
    }

    /// Their frames, of so many octets each: out, and back in.
    fn frames(host: usize, octets: usize) -> [Vec<u8>; 2] {
        let spec = Spec {
            source: HOSTS[host],
            source_port: 4_000 + host as u16,
            ..Spec::udp(&vec![0; octets - 42])
        };
        let back = Spec {
            source: spec.destination,
            source_port: spec.destination_port,
            destination: Ipv4Addr::new(203, 0, 113, 1),
            destination_port: spec.source_port,
            ..spec.clone()
        };
        [spec.frame(), back.frame()]
    }

    /// Octets per second in and out of each host.
    fn rates(router: &Router, now: Timestamp) -> [[u64; 2]; 2] {
        let (views, _) = router.hosts(now, 0, 256);
        HOSTS.map(|host| {
            let view = views.iter().find(|view| view.address == host).expect("it has a session");
            [view.octets_per_second_in, view.octets_per_second_out]
        })
    }

    /// Whether a rate is within a tenth of what it is to be: four standard deviations of the one whose host has the fewest
    /// packets, two of fifteen.
    fn is_near(rate: u64, expected: u64) -> bool {
        rate.abs_diff(expected) <= expected / 10
    }

    #[test]
    fn each_host_is_counted_for_what_it_sends_and_gets() {
        let mut router = router(plan());
        learn(&mut router, PortId::WAN, Ipv4Addr::new(203, 0, 113, 2), Ipv4Addr::new(203, 0, 113, 1));
        // A few large frames, many small ones, and some that go nowhere.
        let [[large, large_back], [small, small_back]] = [frames(0, 1_400), frames(1, 200)];
        batch(&mut router, NOW, LAN, &[&large, &small]);
        for host in HOSTS {
            learn(&mut router, LAN, host, Ipv4Addr::new(192, 168, 0, 1));
        }
        let stray = Spec { source: Ipv4Addr::new(10, 9, 8, 7), ..Spec::udp(&[0; 1_000]) }.frame();
        let out = [&[&small[..]; 6][..], &[&large, &stray], &[&small[..]; 6], &[&large]].concat();
        let back = [&[&small_back[..]; 2][..], &[&large_back], &[&small_back[..]; 2]].concat();
        let mut now = NOW;
        for _ in 0..15_000 {
            now += Duration::from_millis(1);
            assert_eq!(batch(&mut router, now, LAN, &out), 14);
            assert_eq!(batch(&mut router, now, PortId::WAN, &back), 5);
        }
        // After three time constants a twentieth is still missing.
        let whole = 1.0 - (-3.0_f64).exp();
        let expected = |per_batch: u64| (whole * 1_000.0 * per_batch as f64) as u64;
        let [[large_in, large_out], [small_in, small_out]] = rates(&router, now);
        println!("{large_in} {large_out} {small_in} {small_out}");
        assert!(is_near(large_out, expected(2 * 1_400)) && is_near(small_out, expected(12 * 200)));
        assert!(is_near(large_in, expected(1_400)) && is_near(small_in, expected(4 * 200)));
    }

    #[test]
    fn a_frame_alone_is_counted_as_it_is() {
        let mut router = router(plan());
        learn(&mut router, PortId::WAN, Ipv4Addr::new(203, 0, 113, 2), Ipv4Addr::new(203, 0, 113, 1));
        let [[one, _], [other, _]] = [frames(0, 1_000), frames(1, 500)];
        batch(&mut router, NOW, LAN, &[&one]);
        batch(&mut router, NOW, LAN, &[&other]);
        batch(&mut router, NOW, LAN, &[&other]);
        assert_eq!(rates(&router, NOW), [[0, 200], [0, 200]], "a fifth of what came at once");
    }
}
