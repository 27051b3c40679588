//! The file of leases: records appended as they are made, read back after a restart.
//!
//! A file is the eight octets of [`HEADER`], then records: length (2 octets), CRC-32 of the body (4 octets), body; numbers in
//! big-endian order. Every prefix of whole records is a valid state: what stands later only replaces what stands earlier.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::lease::Lease;

/// Begins every file; the last octet is the version.
pub const HEADER: [u8; 8] = *b"GKDHCP4\x01";

const RECORD_HEADER: usize = 6;
/// Octets of the largest body: a client identifier of 255, a name of 63, and the fixed fields.
const MAX_BODY: usize = 512;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// An address is bound, or bound anew.
    Bound(Lease),
    /// The lease of an address has ended early; its client is remembered.
    Freed(Ipv4Addr),
    /// An address is in use by a stranger: nobody gets it before this unix time in seconds.
    Resting {
        /// The address.
        address: Ipv4Addr,
        /// Unix time in seconds.
        until: i64,
    },
    /// The wall clock was set by this many seconds: times of earlier records move with it.
    ClockSet(i64),
}

impl Record {
    /// Appends the record to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; RECORD_HEADER]);
        *out =
            postcard::to_extend(self, std::mem::take(out)).expect("no field of a record fails to serialize");
        let body = &out[start + RECORD_HEADER..];
        let (len, crc) = (body.len() as u16, crc32fast::hash(body));
        out[start..start + 2].copy_from_slice(&len.to_be_bytes());
        out[start + 2..start + RECORD_HEADER].copy_from_slice(&crc.to_be_bytes());
    }
}

/// What a file told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// By address, ended ones included.
    pub leases: BTreeMap<Ipv4Addr, Lease>,
    /// Addresses that rest, until a unix time in seconds.
    pub resting: BTreeMap<Ipv4Addr, i64>,
    /// Octets from the start that were understood: the file is to be cut to this length before it is appended to
    /// (0: it is to begin anew with [`HEADER`]).
    pub kept: usize,
    /// Octets behind them, which are lost: a torn last record after a crash, or damage.
    pub damaged: usize,
}

/// Reads a whole file. Reading ends at the first record that is cut or damaged.
pub fn replay(file: &[u8]) -> Replay {
    let mut replay = Replay::default();
    let mut clock_set = 0i64;
    let Some(mut rest) = file.strip_prefix(&HEADER) else {
        replay.damaged = file.len();
        return replay;
    };
    while let Some((record, behind)) = read(rest) {
        match record {
            Record::Bound(mut lease) => {
                lease.granted = lease.granted.saturating_sub(clock_set);
                replay.resting.remove(&lease.address);
                replay.leases.insert(lease.address, lease);
            }
            Record::Freed(address) => {
                if let Some(lease) = replay.leases.get_mut(&address) {
                    lease.seconds = 0;
                }
            }
            Record::Resting { address, until } => {
                replay.leases.remove(&address);
                replay.resting.insert(address, until.saturating_sub(clock_set));
            }
            Record::ClockSet(seconds) => clock_set = clock_set.saturating_add(seconds),
        }
        rest = behind;
    }
    for lease in replay.leases.values_mut() {
        lease.granted = lease.granted.saturating_add(clock_set);
    }
    for until in replay.resting.values_mut() {
        *until = until.saturating_add(clock_set);
    }
    replay.kept = file.len() - rest.len();
    replay.damaged = rest.len();
    replay
}

/// The first record and the octets behind it; `None` when it is not whole.
fn read(octets: &[u8]) -> Option<(Record, &[u8])> {
    let (len, rest) = octets.split_first_chunk::<2>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (body, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    if body.len() > MAX_BODY || crc32fast::hash(body) != u32::from_be_bytes(*crc) {
        return None;
    }
    Some((postcard::from_bytes(body).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dhcp::lease::{ClientKey, HardwareAddress};

    fn bound(last: u8, granted: i64) -> Record {
        Record::Bound(Lease {
            address: Ipv4Addr::new(192, 0, 2, last),
            client: ClientKey::Identifier(vec![0xff, last].into()),
            hardware: HardwareAddress::new(1, &[2, 0, 0, 0, 0, last]).unwrap(),
            name: Some("host".into()),
            granted,
            seconds: 600,
        })
    }

    fn file(records: &[Record]) -> Vec<u8> {
        let mut out = HEADER.to_vec();
        records.iter().for_each(|record| record.write(&mut out));
        out
    }

    #[test]
    fn what_stands_later_replaces_what_stands_earlier() {
        let a = Ipv4Addr::new(192, 0, 2, 1);
        let told = replay(&file(&[bound(1, 100), bound(1, 200), bound(2, 200), Record::Freed(a)]));
        assert_eq!((told.leases.len(), told.damaged), (2, 0));
        assert_eq!((told.leases[&a].granted, told.leases[&a].seconds), (200, 0));
        let told = replay(&file(&[bound(1, 100), Record::Resting { address: a, until: 900 }]));
        assert_eq!((told.leases.len(), told.resting[&a]), (0, 900));
    }

    #[test]
    fn earlier_times_move_with_the_wall_clock() {
        let told = replay(&file(&[bound(1, 100), Record::ClockSet(5_000), bound(2, 5_200)]));
        let granted: Vec<i64> = told.leases.values().map(|lease| lease.granted).collect();
        assert_eq!(granted, [5_100, 5_200]);
    }

    #[test]
    fn a_clock_set_back_makes_no_lease_longer() {
        let told = replay(&file(&[bound(1, 1_000)]));
        let lease = told.leases.values().next().unwrap();
        assert_eq!(
            [0, 1_000, 1_001, 1_599, 1_600, i64::MAX].map(|wall| lease.remaining(wall)),
            [600, 600, 599, 1, 0, 0]
        );
    }

    #[test]
    fn a_file_without_a_header_or_of_another_version_is_not_read() {
        assert_eq!(replay(b"").kept, 0);
        let mut other = file(&[bound(1, 1)]);
        other[7] = 2;
        assert_eq!((replay(&other).kept, replay(&other).damaged), (0, other.len()));
    }

    #[test]
    fn the_largest_record_is_read_back() {
        let Record::Bound(mut lease) = bound(1, i64::MIN) else { unreachable!() };
        lease.client = ClientKey::Identifier(vec![0xff; 255].into());
        lease.name = Some("n".repeat(63));
        lease.seconds = u32::MAX;
        assert_eq!(replay(&file(&[Record::Bound(lease)])).leases.len(), 1);
    }

    proptest! {
        /// A file cut anywhere gives the records that are whole; a changed octet never gives another record.
        #[test]
        fn a_tail_is_cut_at_the_last_whole_record(count in 1usize..8, cut in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>()) {
            let records: Vec<Record> = (0..count).map(|n| bound(n as u8, n as i64)).collect();
            let whole = file(&records);
            let boundaries: Vec<usize> = (0..=count).map(|n| file(&records[..n]).len()).collect();
            let cut = HEADER.len() + cut.index(whole.len() - HEADER.len() + 1);
            let told = replay(&whole[..cut]);
            let kept = *boundaries.iter().rfind(|&&end| end <= cut).unwrap();
            prop_assert_eq!((told.kept, told.damaged), (kept, cut - kept));

            let mut bent = whole.clone();
            let at = HEADER.len() + flip.index(whole.len() - HEADER.len());
            bent[at] ^= 0x10;
            let told = replay(&bent);
            prop_assert_eq!(told.kept, *boundaries.iter().rfind(|&&end| end <= at).unwrap());
        }

        #[test]
        fn any_octets_are_survived(octets in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut octets = octets;
            let told = replay(&octets);
            prop_assert_eq!(told.kept + told.damaged, octets.len());
            octets.splice(0..0, HEADER);
            let told = replay(&octets);
            prop_assert_eq!(told.kept + told.damaged, octets.len());
        }
    }
}
