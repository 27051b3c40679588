//! Made-up reports, and the files that say how they look.
//!
//! `GENKAN_BLESS=1 cargo test -p genkan` writes what the code says; read the difference before it is committed.

use std::path::Path;

use super::{
    About, Better, CpuSituation, Goal, KERNEL, KERNEL_TUNED, Measure, Metric, NoiseVerdict, Report, Series,
    Unit,
};

/// A report without metrics, of a quiet machine.
pub(super) fn empty() -> Report {
    Report {
        about: About {
            date: "2026-01-02T03:04:05Z".to_owned(),
            genkan: "0.1.0".to_owned(),
            kernel: "6.18.0".to_owned(),
            cpu: "Example CPU @ 3.00GHz".to_owned(),
            cpus: 2,
            place: "private namespaces, without root".to_owned(),
        },
        settings: vec![("rounds".to_owned(), "5".to_owned()), ("time".to_owned(), "3 s each".to_owned())],
        metrics: Vec::new(),
        notes: Vec::new(),
        noise: NoiseVerdict::default(),
    }
}

/// Packets per second of Genkan and the kernel.
pub(super) fn packets(better: Better, genkan: &[f64], kernel: &[f64]) -> Metric {
    Metric {
        key: "pps1k",
        title: "64-byte UDP, 1,000 flows".to_owned(),
        unit: Unit::PacketsPerSecond,
        better,
        cpu: CpuSituation::CoreFree,
        series: vec![series("genkan", genkan), series(KERNEL, kernel)],
    }
}

fn series(contender: &str, rounds: &[f64]) -> Series {
    Series { contender: contender.to_owned(), goals: Vec::new(), rounds: rounds.to_vec() }
}

/// Every kind of metric, with all contenders, goals reached and missed.
fn network() -> Report {
    let goal = |of, must, stretch| Goal { of, must, stretch };
    let ratio = |must, stretch| goal(Measure::RatioToKernel, must, Some(stretch));
    let mut tcp = Metric {
        key: "tcp1off",
        title: "TCP, 1 stream, offloads off".to_owned(),
        unit: Unit::BitsPerSecond,
        better: Better::Higher,
        cpu: CpuSituation::CoreFree,
        series: vec![
            series("genkan", &[11.1e9, 11.4e9, 11.9e9, 11.2e9, 11.5e9]),
            series("genkan tap", &[7.9e9, 7.7e9, 8.1e9, 7.8e9, 8.0e9]),
            series(KERNEL, &[3.4e9, 3.5e9, 3.6e9, 3.4e9, 3.5e9]),
            series(KERNEL_TUNED, &[11.0e9, 11.3e9, 11.6e9, 11.2e9, 11.4e9]),
        ],
    };
    tcp.series[0].goals = vec![ratio(2.5, 3.5), goal(Measure::RatioToTunedKernel, 0.95, None)];
    tcp.series[1].goals = vec![ratio(2.0, 2.5)];
    let mut free =
        packets(Better::Higher, &[590e3, 600e3, 580e3, 610e3, 601e3], &[290e3, 300e3, 295e3, 301e3, 297e3]);
    free.series[0].goals = vec![ratio(1.7, 2.2)];
    let mut loaded =
        packets(Better::Higher, &[320e3, 310e3, 330e3, 325e3, 318e3], &[590e3, 600e3, 595e3, 588e3, 602e3]);
    loaded.key = "pps1k_loaded";
    loaded.cpu = CpuSituation::AllLoaded;
    loaded.series[0].goals = vec![ratio(0.6, 1.0)];
    let mut echo = packets(Better::Lower, &[61.0, 60.0, 66.0, 59.0, 62.0], &[58.0, 57.0, 59.0, 58.5, 58.0]);
    echo.key = "echo";
    echo.title = "Echo round trip, p50".to_owned();
    echo.unit = Unit::Microseconds;
    echo.cpu = CpuSituation::Idle;
    echo.series[0].goals = vec![ratio(1.1, 0.8)];
    Report {
        metrics: vec![tcp, free, loaded, echo],
        notes: vec!["Packets are counted at the receiving host, by octets.".to_owned()],
        ..empty()
    }
}

/// The same on a noisy machine.
fn noisy(forced: bool) -> Report {
    let noise = NoiseVerdict {
        findings: vec![
            "Before anything was measured, other programs kept 0.80 CPUs busy (limit 0.10).".to_owned(),
        ],
        advice: vec!["Stop what else runs (`top` shows it), or wait until it is done.".to_owned()],
        unsteady: Vec::new(),
        forced,
    };
    let mut report = Report { noise, ..network() };
    report.metrics.truncate(1);
    report
}

/// The engine alone: no kernel, goals in nanoseconds, names that are markup elsewhere.
fn engine() -> Report {
    let mut metric = packets(Better::Lower, &[31.0, 30.5, 31.2, 33.0, 30.9], &[78.0, 80.1, 79.2, 81.0, 77.7]);
    metric.key = "established";
    metric.title = "A packet of an established session".to_owned();
    metric.unit = Unit::Nanoseconds;
    metric.cpu = CpuSituation::EngineAlone;
    metric.series[0].contender = "1k sessions".to_owned();
    metric.series[0].goals = vec![Goal { of: Measure::Median, must: 40.0, stretch: None }];
    metric.series[1].contender = "<1M & \"more\" sessions>".to_owned();
    metric.series[1].goals = vec![Goal { of: Measure::Median, must: 70.0, stretch: None }];
    Report { metrics: vec![metric], settings: Vec::new(), ..empty() }
}

/// By the names of their files.
pub(super) fn named() -> Vec<(&'static str, Report)> {
    vec![("network", network()), ("engine", engine()), ("noisy", noisy(false)), ("forced", noisy(true))]
}

/// The named ones and the empty one.
pub(super) fn all() -> Vec<Report> {
    named().into_iter().map(|(_, report)| report).chain([empty()]).collect()
}

/// Compares with a file of `tests/golden/bench`, or writes it.
#[track_caller]
pub(super) fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bench").join(name);
    if std::env::var_os("GENKAN_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("the tree can be written");
        std::fs::write(&path, text).expect("the tree can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{} differs:\n{text}", path.display());
}
