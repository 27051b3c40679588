//! Which worker an internal host belongs to.

use std::net::Ipv4Addr;

use super::WorkerId;

/// Spreads internal addresses over workers by multiplying and shifting, all of it on 32 bits: what a packet socket's
/// program can do as well, so that the kernel gives a host's packets to their owner at once.
///
/// The constants are secret, so that hosts cannot agree on addresses of one worker without trying; a host that does
/// try slows down its own worker, no more than with traffic from one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostSpread {
    /// Odd.
    pub multiplier: u32,
    /// Any number.
    pub addend: u32,
}

impl HostSpread {
    pub(super) fn from_secret(secret: u64) -> HostSpread {
        HostSpread { multiplier: secret as u32 | 1, addend: (secret >> 32) as u32 }
    }

    /// The owner among `workers` workers of what an internal host sends:
    /// `((address * multiplier + addend) mod 2^32 >> 16) mod workers`.
    pub fn worker_of(self, address: Ipv4Addr, workers: u8) -> WorkerId {
        let mixed = address.to_bits().wrapping_mul(self.multiplier).wrapping_add(self.addend) >> 16;
        WorkerId((mixed % u32::from(workers.max(1))) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_addresses_are_spread_evenly() {
        for secret in [0x0123_4567_89ab_cdefu64, 0xfeed_beef_dead_cafe, 0x9e37_79b9_7f4a_7c15] {
            let spread = HostSpread::from_secret(secret);
            for workers in [2u8, 3, 4, 8] {
                let mut hosts = vec![0u32; workers.into()];
                for host in 0..4_096u32 {
                    let address = Ipv4Addr::from_bits(0xc0a8_0000 + host);
                    hosts[spread.worker_of(address, workers).index()] += 1;
                }
                let fair = 4_096 / u32::from(workers);
                assert!(hosts.iter().all(|&count| count.abs_diff(fair) < fair / 2), "{hosts:?}");
            }
        }
    }
}
