//! Who used the CPUs, from the kernel's accounts: `proc_stat(5)`, `proc_pid_stat(5)`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;

/// What all CPUs together have done since the machine was started, in clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    /// In processes and for them: user, nice and system. Interrupts are left out, since those of our own packets are
    /// among them.
    pub(super) processes: u64,
    /// Wanted, but given to others by the hypervisor.
    pub(super) steal: u64,
    /// Everything, idle time too.
    pub(super) all: u64,
}

impl Machine {
    /// Reads the first line of `/proc/stat`: `cpu  user nice system idle iowait irq softirq steal guest guest_nice`.
    /// Guest time is part of user and nice.
    pub(super) fn parse(stat: &str) -> Option<Machine> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let fields: Vec<u64> = line.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
        let &[user, nice, system, idle, iowait, irq, softirq, steal, ..] = fields.as_slice() else {
            return None;
        };
        let processes = user + nice + system;
        Some(Machine { processes, steal, all: processes + idle + iowait + irq + softirq + steal })
    }
}

/// One process: its parent, and clock ticks that it and its children that have ended used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) id: u32,
    pub(super) parent: u32,
    pub(super) ticks: u64,
}

impl Process {
    /// Reads `/proc/PID/stat`. The name, in parentheses, may itself hold blanks and parentheses.
    pub(super) fn parse(stat: &str) -> Option<Process> {
        let id = stat.split_once(' ')?.0.parse().ok()?;
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The third field of the line is the first one here.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = field(14)? + field(15)? + field(16)? + field(17)?;
        Some(Process { id, parent: u32::try_from(field(4)?).ok()?, ticks })
    }
}

/// Clock ticks of the process `root`, its descendants, and those of them that have ended and been waited for.
pub(super) fn ticks_of_family(root: u32, processes: &[Process]) -> u64 {
    let parents: HashMap<u32, u32> = processes.iter().map(|process| (process.id, process.parent)).collect();
    let belongs = |mut id: u32| {
        // A process that ended while the list was read may leave a gap or, its number taken anew, a circle.
        let mut seen = HashSet::new();
        while id != root && seen.insert(id) {
            match parents.get(&id) {
                Some(&parent) => id = parent,
                None => return false,
            }
        }
        id == root
    };
    processes.iter().filter(|process| belongs(process.id)).map(|process| process.ticks).sum()
}

/// The accounts at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) machine: Machine,
    /// Ticks of this process and its descendants.
    pub(super) own: u64,
}

impl Sample {
    /// Takes one.
    pub(super) fn take() -> io::Result<Sample> {
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "/proc/stat has no line of CPU times");
        let machine = Machine::parse(&fs::read_to_string("/proc/stat")?).ok_or_else(malformed)?;
        let mut processes = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let is_process = entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok());
            // A process may end while the list is read.
            if is_process && let Ok(stat) = fs::read_to_string(entry.path().join("stat")) {
                processes.extend(Process::parse(&stat));
            }
        }
        Ok(Sample { machine, own: ticks_of_family(std::process::id(), &processes) })
    }

    /// What happened from this sample to a later one, on `cpus` CPUs.
    pub(super) fn until(&self, later: &Sample, cpus: usize) -> Usage {
        let all = later.machine.all.saturating_sub(self.machine.all).max(1) as f64;
        let processes = later.machine.processes.saturating_sub(self.machine.processes);
        let others = processes.saturating_sub(later.own.saturating_sub(self.own));
        let steal = later.machine.steal.saturating_sub(self.machine.steal);
        Usage { others: others as f64 / all * cpus as f64, steal: steal as f64 / all }
    }
}

/// What disturbed between two samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usage {
    /// CPUs that other processes kept busy: 0.5 is half of one. At least so many: time in interrupts is booked to
    /// whom they interrupt, which makes our own share look larger than it is.
    pub(super) others: f64,
    /// The hypervisor's part of all CPU time, 0 to 1.
    pub(super) steal: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "\
cpu  1000 200 300 5000 50 5 45 10 700 0
cpu0 500 100 150 2500 25 2 23 5 350 0
intr 1 2 3
";

    #[test]
    fn proc_stat_is_read() {
        let machine = Machine::parse(BEFORE).expect("a line of CPU times");
        assert_eq!(machine, Machine { processes: 1_500, steal: 10, all: 6_610 });
        for malformed in ["", "cpu0 1 2 3 4 5 6 7 8\n", "cpu  1 2 3\n", "cpu  1 2 3 x 5 6 7 8\n"] {
            assert_eq!(Machine::parse(malformed), None, "{malformed:?}");
        }
    }

    #[test]
    fn a_process_may_be_called_anything() {
        let stat = "42 (a) b (c) 7) S 7 42 42 0 -1 4194560 500 900 0 0 11 12 13 14 20 0 1 0 100 0 0";
        assert_eq!(Process::parse(stat), Some(Process { id: 42, parent: 7, ticks: 50 }));
        assert_eq!(Process::parse("42 (sh) S 7"), None);
        assert_eq!(Process::parse(""), None);
    }

    #[test]
    fn a_family_is_who_descends_from_its_root() {
        let process = |id, parent, ticks| Process { id, parent, ticks };
        let processes = [
            process(1, 0, 1_000),
            process(10, 1, 1),
            process(11, 10, 2),
            process(12, 11, 4),
            process(20, 1, 500),
            // A circle, and one whose parent is not in the list.
            process(30, 31, 100),
            process(31, 30, 100),
            process(40, 99, 100),
        ];
        assert_eq!(ticks_of_family(10, &processes), 7);
        assert_eq!(ticks_of_family(77, &processes), 0);
    }

    #[test]
    fn what_is_not_ours_is_others() {
        let before = Sample { machine: Machine::parse(BEFORE).expect("well formed"), own: 100 };
        // 400 ticks later on two CPUs: 200 in processes, 80 of them ours; 8 stolen.
        let after = "cpu  1100 260 340 5180 50 5 57 18 0 0\n";
        let after = Sample { machine: Machine::parse(after).expect("well formed"), own: 180 };
        assert_eq!(before.until(&after, 2), Usage { others: 0.6, steal: 0.02 });
        // More of our own than there is in all: interrupts were booked to us.
        let ours = Sample { own: 900, ..after };
        assert_eq!(before.until(&ours, 2).others, 0.0);
        // No time has passed.
        assert_eq!(before.until(&before, 2), Usage { others: 0.0, steal: 0.0 });
    }

    #[test]
    fn this_machine_keeps_accounts() {
        let sample = Sample::take().expect("Linux has them");
        assert!(sample.machine.all >= sample.machine.processes && sample.machine.processes > 0);
    }
}
