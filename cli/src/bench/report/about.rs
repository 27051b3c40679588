//! What this machine says of itself.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use genkan_config::rfc3339;
use genkan_engine::UnixTime;
use nix::sys::utsname::uname;

use super::About;
use crate::bench::pinning::allowed_cpus;

impl About {
    /// This machine at this moment; `place` says where in it. What it does not tell is `unknown`.
    pub(crate) fn here(place: impl Into<String>) -> About {
        let unknown = || "unknown".to_owned();
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let kernel = uname().ok().and_then(|name| name.release().to_str().map(str::to_owned));
        let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| cpu_name(&text));
        About {
            date: rfc3339(UnixTime(i64::try_from(seconds).unwrap_or(i64::MAX))),
            genkan: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: kernel.unwrap_or_else(unknown),
            cpu: cpu.unwrap_or_else(unknown),
            cpus: allowed_cpus().map_or(1, |cpus| cpus.len()),
            place: place.into(),
        }
    }
}

/// The first processor's name: `model name` on x86, `Model` or `Hardware` on small ARM boards.
fn cpu_name(cpuinfo: &str) -> Option<String> {
    let field = |name: &str| {
        let lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        let mut values = lines.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim());
        values.find(|value| !value.is_empty()).map(str::to_owned)
    };
    ["model name", "Model", "Hardware"].into_iter().find_map(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_say_their_names_differently() {
        let x86 = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Example CPU @ 3.00GHz\n\nprocessor\t: 1\n";
        assert_eq!(cpu_name(x86).as_deref(), Some("Example CPU @ 3.00GHz"));
        assert_eq!(cpu_name("processor : 0\nModel : Example Board 4\n").as_deref(), Some("Example Board 4"));
        assert_eq!(cpu_name("processor : 0\n"), None);
    }

    #[test]
    fn a_machine_knows_itself() {
        let about = About::here("a test");
        assert!(about.cpus >= 1 && about.date.ends_with('Z'), "{about:?}");
        // This was written in 2026.
        assert!(about.date.as_str() > "2026", "{about:?}");
    }
}
