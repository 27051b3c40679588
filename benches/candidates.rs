//! Tables that sessions could be kept in, side by side: what the engine has, hashbrown for each worker, the standard
//! map, and dashmap shared by all. `docs/tables.md` says what came out, and what was chosen.
//!
//! All of them lead from a key of 16 octets to the number of a session of 64 octets in a slab, as the fast path needs
//! it, by SipHash-1-3 (the standard map by its own). Time is the thread's CPU time; tables take turns, and the
//! medians of the rounds are printed.
//!
//! `cargo bench -p genkan-benches --bench candidates`; with `-- --test` for the small tables only.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::hint::black_box;
use std::time::Duration;

use dashmap::DashMap;
use genkan_benches::counting::Counting;
use genkan_benches::flows::Shuffle;
use genkan_engine::nat::hash::HashKey;
use genkan_engine::nat::index::Index;
use nix::time::{ClockId, clock_gettime};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BATCH: usize = 64;
/// Look-ups of each kind that are timed, at least.
const LOOK_UPS: u32 = 400_000;
const KEY: HashKey = HashKey::new([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);

/// A 5-tuple in two words.
type Key = (u64, u64);

/// What a look-up leads to: the key and some state in one cache line.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Session {
    key: Key,
    state: [u64; 6],
}

/// The key of a session, or of one that is nowhere.
fn key(number: u32, is_there: bool) -> Key {
    let mapping = u64::from(number % 61_440);
    let remote = 0xc612_0000 + u64::from(number / 61_440);
    ((0x0a01_0001 + mapping % 1_024) << 32 | remote, mapping << 16 | 443 | u64::from(!is_there) << 40)
}

/// SipHash-1-3 of two words, as the engine's.
#[derive(Clone, Copy, Debug, Default)]
struct Sip13;

/// Takes the two words of a key.
#[derive(Debug, Default)]
struct Words([u64; 2]);

impl BuildHasher for Sip13 {
    type Hasher = Words;
    fn build_hasher(&self) -> Words {
        Words::default()
    }
}

impl Hasher for Words {
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are two words");
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = [self.0[1], word];
    }
    fn finish(&self) -> u64 {
        KEY.hash(self.0[0], self.0[1])
    }
}

/// From keys to numbers.
trait Table {
    fn new(capacity: u32) -> Self;
    fn insert(&mut self, key: Key, number: u32);
    fn remove(&mut self, key: Key, number: u32);
    fn find(&self, sessions: &[Session], key: Key) -> Option<u32>;
    /// The numbers of a batch of keys.
    fn find_batch(&self, sessions: &[Session], keys: &[Key; BATCH], found: &mut [Option<u32>; BATCH]) {
        for (key, found) in keys.iter().zip(found) {
            *found = self.find(sessions, *key);
        }
    }
}

/// The engine's: keys are in the sessions only.
struct Own(Index);

impl Table for Own {
    fn new(capacity: u32) -> Own {
        Own(Index::new(capacity as usize))
    }
    fn insert(&mut self, key: Key, number: u32) {
        self.0.insert(KEY.hash(key.0, key.1), number);
    }
    fn remove(&mut self, key: Key, number: u32) {
        self.0.remove(KEY.hash(key.0, key.1), number);
    }
    #[inline]
    fn find(&self, sessions: &[Session], key: Key) -> Option<u32> {
        self.0.find(KEY.hash(key.0, key.1), |number| sessions[number as usize].key == key)
    }
    fn find_batch(&self, sessions: &[Session], keys: &[Key; BATCH], found: &mut [Option<u32>; BATCH]) {
        let hashes = keys.map(|key| KEY.hash(key.0, key.1));
        black_box(hashes.iter().fold(0, |read, &hash| read ^ self.0.touch(hash)));
        let guesses = hashes.map(|hash| self.0.candidate(hash));
        let touch = |guess: &Option<u32>| guess.map_or(0, |number| sessions[number as usize].state[0]);
        black_box(guesses.iter().fold(0, |read, guess| read ^ touch(guess)));
        for (position, found) in found.iter_mut().enumerate() {
            let (key, guess) = (keys[position], guesses[position]);
            *found = match guess {
                Some(number) if sessions[number as usize].key == key => guess,
                None => None,
                Some(_) => self.0.find(hashes[position], |number| sessions[number as usize].key == key),
            };
        }
    }
}

impl Table for hashbrown::HashMap<Key, u32, Sip13> {
    fn new(capacity: u32) -> Self {
        hashbrown::HashMap::with_capacity_and_hasher(capacity as usize, Sip13)
    }
    fn insert(&mut self, key: Key, number: u32) {
        hashbrown::HashMap::insert(self, key, number);
    }
    fn remove(&mut self, key: Key, _: u32) {
        hashbrown::HashMap::remove(self, &key);
    }
    #[inline]
    fn find(&self, _: &[Session], key: Key) -> Option<u32> {
        self.get(&key).copied()
    }
}

impl Table for HashMap<Key, u32> {
    fn new(capacity: u32) -> Self {
        HashMap::with_capacity(capacity as usize)
    }
    fn insert(&mut self, key: Key, number: u32) {
        HashMap::insert(self, key, number);
    }
    fn remove(&mut self, key: Key, _: u32) {
        HashMap::remove(self, &key);
    }
    #[inline]
    fn find(&self, _: &[Session], key: Key) -> Option<u32> {
        self.get(&key).copied()
    }
}

impl Table for DashMap<Key, u32, Sip13> {
    fn new(capacity: u32) -> Self {
        DashMap::with_capacity_and_hasher(capacity as usize, Sip13)
    }
    fn insert(&mut self, key: Key, number: u32) {
        DashMap::insert(self, key, number);
    }
    fn remove(&mut self, key: Key, _: u32) {
        DashMap::remove(self, &key);
    }
    #[inline]
    fn find(&self, _: &[Session], key: Key) -> Option<u32> {
        self.get(&key).map(|number| *number)
    }
}

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every thread has a CPU clock").into()
}

/// Nanoseconds for each of `count` things that `work` does.
fn each(count: u32, work: impl FnOnce()) -> f64 {
    let start = cpu_time();
    work();
    (cpu_time() - start).as_nanos() as f64 / f64::from(count)
}

/// Names of what [`measure`] returns.
const FIGURES: [&str; 6] = ["batch", "one by one", "miss", "insert", "remove", "octets"];

/// Nanoseconds for each: hit in a batch, hit one by one, miss, insertion, removal; octets of the table per entry.
fn measure<T: Table>(sessions: &[Session]) -> [f64; 6] {
    let count = sessions.len() as u32;
    let removal: Vec<u32> = Shuffle::new(count).take(count as usize).collect();
    let before = Counting::octets();
    let mut table = T::new(count);
    // Small tables are filled and emptied again and again, or there would be too little to measure.
    let cycles = (LOOK_UPS / count).max(1);
    let (mut insert, mut remove) = (0.0, 0.0);
    let fill = |table: &mut T| {
        each(count * cycles, || {
            for (number, session) in (0..).zip(sessions) {
                table.insert(session.key, number);
            }
        })
    };
    let empty = |table: &mut T| {
        each(count * cycles, || {
            for &number in &removal {
                table.remove(sessions[number as usize].key, number);
            }
        })
    };
    for _ in 1..cycles {
        insert += fill(&mut table);
        remove += empty(&mut table);
    }
    insert += fill(&mut table);
    let octets = (Counting::octets() - before) as f64 / f64::from(count);
    // Keys in random order; making them is not timed.
    let mut order = Shuffle::new(count);
    let rounds = LOOK_UPS / BATCH as u32;
    let mut batch = 0.0;
    let (mut keys, mut found) = ([(0, 0); BATCH], [None; BATCH]);
    for _ in 0..rounds {
        keys.fill_with(|| key(order.next().unwrap_or_default(), true));
        batch += each(LOOK_UPS, || {
            table.find_batch(sessions, &keys, &mut found);
            let state = |found: &Option<u32>| found.map_or(0, |number| sessions[number as usize].state[0]);
            assert_eq!(found.iter().map(state).sum::<u64>(), BATCH as u64);
        });
    }
    let keys: Vec<Key> = order.by_ref().take(LOOK_UPS as usize).map(|number| key(number, true)).collect();
    // The next key is known only when the session before has been read.
    let mut state = 1;
    let single = each(LOOK_UPS, || {
        for &(addresses, rest) in &keys {
            let number = table.find(sessions, (addresses, rest ^ state ^ 1)).expect("it is there");
            state = sessions[number as usize].state[0];
        }
    });
    let keys: Vec<Key> = order.take(LOOK_UPS as usize).map(|number| key(number, false)).collect();
    let miss = each(LOOK_UPS, || {
        assert!(keys.iter().all(|&key| table.find(sessions, key).is_none()));
    });
    remove += empty(&mut table);
    [batch, single, miss, insert, remove, octets]
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--test");
    let sizes: &[(u32, usize)] = if quick {
        &[(1_000, 1)]
    } else {
        &[(1_000, 5), (10_000, 5), (100_000, 5), (1_000_000, 5), (10_000_000, 3)]
    };
    type Candidate = (&'static str, fn(&[Session]) -> [f64; 6]);
    let candidates: [Candidate; 4] = [
        ("own index", measure::<Own>),
        ("hashbrown", measure::<hashbrown::HashMap<Key, u32, Sip13>>),
        ("std", measure::<HashMap<Key, u32>>),
        ("dashmap", measure::<DashMap<Key, u32, Sip13>>),
    ];
    print!("{:<10} {:<10}", "entries", "table");
    FIGURES.iter().for_each(|figure| print!(" {figure:>11}"));
    println!();
    for &(count, rounds) in sizes {
        let sessions: Vec<Session> =
            (0..count).map(|number| Session { key: key(number, true), state: [1; 6] }).collect();
        let mut figures: Vec<Vec<[f64; 6]>> = vec![Vec::new(); candidates.len()];
        for _ in 0..rounds {
            for ((_, measure), figures) in candidates.iter().zip(&mut figures) {
                figures.push(measure(&sessions));
            }
        }
        for ((name, _), mut figures) in candidates.iter().zip(figures) {
            print!("{count:<10} {name:<10}");
            for which in 0..FIGURES.len() {
                figures.sort_by(|a, b| a[which].total_cmp(&b[which]));
                print!(" {:>11.1}", figures[figures.len() / 2][which]);
            }
            println!();
        }
    }
}
