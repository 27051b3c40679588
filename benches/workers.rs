//! What a second worker brings: packets of established sessions per second, each worker on a thread of its own.
//!
//! - *own*: the kernel's steering is right, every worker gets its own packets.
//! - *handed over*: it is wrong for every packet. One worker looks, gives each frame to the other through the ring
//!   between them, and that one forwards it.
//!
//! `cargo bench -p genkan-benches --bench workers`; with `-- --test` for short runs.

use std::time::Duration;

use genkan_traffic::workers::{handed_over, own};
use genkan_traffic::{Flows, Transport};

const RUNS: usize = 5;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (runs, length) =
        if is_test { (1, Duration::from_millis(20)) } else { (RUNS, Duration::from_millis(500)) };
    println!("{:<12} {:>14} {:>14} {:>14} {:>12}", "sessions", "1 worker", "2 workers", "ratio", "ns each");
    for sessions in [1_000, 100_000] {
        let flows = Flows::new(Transport::Udp, sessions);
        let (mut one, mut two, mut each) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..runs {
            one.extend(own(flows, 1, length, |_| {}).iter().map(|ns| 1e3 / ns));
            let both = own(flows, 2, length, |_| {});
            two.push(both.iter().map(|ns| 1e3 / ns).sum::<f64>());
            each.push(both.iter().sum::<f64>() / 2.0);
        }
        let (one, two) = (median(one), median(two));
        println!("{sessions:<12} {one:>9.1} Mpps {two:>9.1} Mpps {:>14.2} {:>12.1}", two / one, median(each));
    }
    let flows = Flows::new(Transport::Udp, 1_000);
    let both: Vec<[f64; 2]> = (0..runs).map(|_| handed_over(flows, length, |_| {})).collect();
    println!(
        "handed over: {:.1} ns per packet at the worker that gives, {:.1} ns at the one that forwards",
        median(both.iter().map(|pair| pair[0]).collect()),
        median(both.iter().map(|pair| pair[1]).collect())
    );
}
