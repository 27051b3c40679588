//! Octets that nobody chose, on every port: no panic, and no more than one frame made of one.

use genkan_engine::rng::Rng;
use genkan_engine::{Offload, PortId};
use genkan_tests::lab::{Lab, plan, router_mac};

#[test]
fn random_octets() {
    let mut lab = Lab::new(plan::home());
    let mut random = Rng::new(1);
    for _ in 0..20_000 {
        let port = PortId(random.below(4) as u8);
        let mut bytes: Vec<u8> = (0..random.below(80)).map(|_| random.next_u64() as u8).collect();
        for (octet, ours) in bytes.iter_mut().zip(router_mac(port).0) {
            *octet = ours;
        }
        lab.router.handle_frame(lab.now(), port, &mut bytes.as_mut_slice(), Offload::default());
        let made = std::iter::from_fn(|| lab.router.poll_transmit()).count();
        assert!(made <= 1, "{made} frames made of one");
    }
}
