//! Files of sessions: what is written is read, and nothing else is.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use genkan_engine::nat::saved::{NotRestored, Origin, SavedSession};
use genkan_engine::nat::tcp_state::TcpState;
use genkan_engine::plan::Timeouts;
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{PortId, Router, RouterConfig, Timestamp, UnixTime};
use proptest::prelude::*;

use super::age::Moment;
use super::folder::{Fresh, NAME};
use super::format::{Blocks, Header, Unreadable, VERSION, Writer, verify};
use super::restoring::Source;
use super::saving::{header, save_all};

const LAN: PortId = PortId::lan(0);

fn ports() -> Vec<(PortId, String)> {
    vec![(PortId::WAN, "wan".to_owned()), (LAN, "home".to_owned())]
}

pub(super) fn session(number: u16) -> SavedSession {
    let host = Ipv4Addr::new(192, 168, 0, 10 + (number % 100) as u8);
    SavedSession {
        protocol: Protocol::UDP,
        internal: SocketAddrV4::new(host, 2000 + number),
        external: SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 2000 + number),
        remote: SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 53),
        inside: LAN,
        outside: PortId::WAN,
        origin: Origin::Outbound,
        tcp: TcpState::OutboundSyn,
        flags: 17,
        scope: Some(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)),
        left: Duration::from_secs(200),
    }
}

fn written(sessions: &[SavedSession]) -> Vec<u8> {
    let header = header(&ports());
    let mut writer = Writer::new(Vec::new(), &header).expect("memory");
    for piece in sessions.chunks(7) {
        writer.add(&header.written, piece).expect("memory");
    }
    let (octets, count, length) = writer.finish().expect("memory");
    assert_eq!((count, length), (sessions.len() as u64, octets.len() as u64));
    octets
}

fn read(octets: &[u8]) -> Result<(Header, Vec<SavedSession>), Unreadable> {
    let header = verify(octets)?;
    let (mut blocks, mut all) = (Blocks::new(octets)?, Vec::new());
    while let Some(sessions) = blocks.next()? {
        all.extend(sessions);
    }
    Ok((header, all))
}

/// A folder that nobody else has.
fn folder() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("genkan-sessions-{}-{number}", std::process::id()))
}

fn router() -> Router {
    let config = RouterConfig::alone(Arc::new(crate::replay::tests::plan()), [1, 2]);
    Router::new(config, Timestamp::from_secs(9), UnixTime(0))
}

prop_compose! {
    fn any_session()(
        bytes in any::<([u8; 12], [u16; 5], [u8; 5])>(),
        origin in 0..Origin::ALL.len(),
        tcp in 0..TcpState::ALL.len(),
        scope in any::<Option<[u8; 4]>>(),
        left in 0..1u64 << 40,
    ) -> SavedSession {
        let (addresses, ports, rest) = bytes;
        let side = |index: usize| {
            let octets: [u8; 4] = addresses[index * 4..][..4].try_into().expect("four");
            SocketAddrV4::new(octets.into(), ports[index])
        };
        SavedSession {
            protocol: Protocol(rest[0]),
            internal: side(0),
            external: side(1),
            remote: side(2),
            inside: PortId(rest[1]),
            outside: PortId(rest[2]),
            origin: Origin::ALL[origin],
            tcp: TcpState::ALL[tcp],
            flags: rest[3],
            scope: scope.map(|octets| SocketAddrV4::new(octets.into(), ports[3])),
            left: Duration::from_millis(left),
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(sessions in prop::collection::vec(any_session(), 0..40)) {
        let (found, read) = read(&written(&sessions)).expect("it is whole");
        prop_assert_eq!(found.ports, vec![(0, "wan".to_owned()), (LAN.0, "home".to_owned())]);
        prop_assert_eq!(read, sessions);
    }

    #[test]
    fn whatever_it_is_it_does_not_panic(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        let head = [b"genkan\r\n".as_slice(), &[VERSION], &octets].concat();
        prop_assert!(read(&octets).is_err() && read(&head).is_err());
        // As if the checksum were right.
        if let Ok(mut blocks) = Blocks::new(head.as_slice()) {
            while let Ok(Some(_)) = blocks.next() {}
        }
    }
}

#[test]
fn a_large_file_is_many_blocks() {
    let sessions: Vec<SavedSession> = (0..10_000).map(session).collect();
    let octets = written(&sessions);
    assert_eq!(read(&octets).expect("it is whole").1, sessions);
    assert!(octets.len() < 31 * sessions.len(), "{} octets", octets.len());
}

/// What is read out later has been counting down for less long.
#[test]
fn each_block_has_its_moment() {
    let header = header(&ports());
    let mut writer = Writer::new(Vec::new(), &header).expect("memory");
    let later = |millis| Moment {
        since_boot: header.written.since_boot + Duration::from_millis(millis),
        ..header.written.clone()
    };
    for (number, millis) in [(1, 0), (2, 300), (3, 3_000)] {
        writer.add(&later(millis), &[session(number)]).expect("memory");
    }
    let (_, read) = read(&writer.finish().expect("memory").0).expect("it is whole");
    let left: Vec<u128> = read.iter().map(|session| session.left.as_millis()).collect();
    assert_eq!(left, [200_000, 200_000, 203_000]);
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let octets = written(&[session(1), session(2), session(3)]);
    for length in 0..octets.len() {
        assert!(matches!(read(&octets[..length]), Err(Unreadable::Damaged)), "{length} octets");
    }
    let longer = [octets.as_slice(), &[0]].concat();
    assert!(matches!(read(&longer), Err(Unreadable::Damaged)));
}

#[test]
fn a_file_with_one_bit_flipped_is_refused() {
    let octets = written(&[session(1), session(2)]);
    for bit in 0..8 * octets.len() {
        let mut damaged = octets.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = read(&damaged).expect_err("damaged");
        match bit / 8 {
            0..8 => assert!(matches!(error, Unreadable::Foreign), "bit {bit}"),
            8 => assert!(matches!(error, Unreadable::Version(_)), "bit {bit}"),
            _ => assert!(matches!(error, Unreadable::Damaged), "bit {bit}: {error:?}"),
        }
    }
}

#[test]
fn what_cannot_be_read_is_set_aside_and_the_next_save_takes_its_place() {
    let folder = folder();
    fs::create_dir_all(&folder).expect("a folder of our own");
    fs::write(folder.join(NAME), b"genkan\r\n\x07and so on").expect("written");
    assert!(Source::find(&folder, &ports(), &Timeouts::default()).is_none());
    let names = || -> Vec<String> {
        let entries = fs::read_dir(&folder).expect("it is there");
        entries.map(|entry| entry.expect("readable").file_name().into_string().expect("ours")).collect()
    };
    assert!(names().iter().all(|name| name.starts_with("sessions.snap.bad-")), "{:?}", names());
    save_all(&folder, &header(&ports()), &[], Timestamp::ZERO).expect("saved");
    assert!(Source::find(&folder, &ports(), &Timeouts::default()).is_some());
    fs::remove_dir_all(&folder).expect("ours");
}

#[test]
fn sessions_go_from_one_router_to_another_through_the_file() {
    let folder = folder();
    let mut before = router();
    let sessions: Vec<SavedSession> = (0..500).map(session).collect();
    assert_eq!(before.restore(Timestamp::from_secs(9), Duration::ZERO, &sessions).restored, 500);
    let saved = save_all(&folder, &header(&ports()), &[before], Timestamp::from_secs(10)).expect("saved");
    assert_eq!(saved.sessions, 500);
    let source = Source::find(&folder, &ports(), &Timeouts::default()).expect("it is whole");
    let mut after = router();
    let outcome = source.restore(&mut after, Timestamp::from_secs(9)).expect("it is whole");
    assert_eq!((outcome.restored, outcome.refused), (500, [0; 6]));
    // The lan has another name, so its hosts are somewhere else.
    let renamed = vec![(PortId::WAN, "wan".to_owned()), (LAN, "office".to_owned())];
    let source = Source::find(&folder, &renamed, &Timeouts::default()).expect("it is whole");
    let outcome = source.restore(&mut router(), Timestamp::from_secs(9)).expect("it is whole");
    assert_eq!((outcome.restored, outcome.refused(NotRestored::Moved)), (0, 500));
    fs::remove_dir_all(&folder).expect("ours");
}

#[test]
fn an_old_file_is_left_alone() {
    let folder = folder();
    let now = Moment::now();
    for (boot, wall_age, is_used) in
        [("before", 3_600, true), ("before", 8 * 3_600, false), (now.boot.as_str(), 8 * 3_600, true)]
    {
        let wall = now.wall - Duration::from_secs(wall_age);
        let written = Moment { boot: boot.to_owned(), wall, ..now.clone() };
        let header = Header { written, ..header(&ports()) };
        Fresh::begin(&folder, &header).and_then(Fresh::put_in_place).expect("written");
        let found = Source::find(&folder, &ports(), &Timeouts::default());
        assert_eq!(found.is_some(), is_used, "{boot} {wall_age}");
    }
    assert!(folder.join(NAME).exists(), "it is not damaged");
    fs::remove_dir_all(&folder).expect("ours");
}
