//! The kernel's limit of tracked connections, which belongs to the whole machine.
//!
//! Inside of a network namespace it can be read but not changed. So it is raised from outside, by root and on demand,
//! and a guard outside puts it back: a shell that waits for the end of its standard input, which comes when this
//! program ends, by whatever signal.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Connections that may be tracked.
const LIMIT: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// The hash table's size.
const BUCKETS: &str = "/proc/sys/net/netfilter/nf_conntrack_buckets";

/// Part of the limit that measurements use: near it, the kernel gives up connections.
const USABLE: f64 = 0.75;

/// $1 LIMIT, $2 its value, $3 BUCKETS, $4 its value.
const GUARD: &str = r#"
trap '' HUP INT TERM
limit=$(cat "$1") && buckets=$(cat "$3") || exit 1
echo "$2" >"$1" && echo "$4" >"$3"
status=$?
[ $status != 0 ] || echo raised
[ $status != 0 ] || cat >/dev/null
echo "$limit" >"$1"
echo "$buckets" >"$3"
"#;

/// While it lives, and not longer, the limit is raised.
#[derive(Debug)]
pub(crate) struct Raised {
    guard: Child,
}

impl Raised {
    /// Raises the limit to `connections`, and the hash table to half as many buckets.
    ///
    /// # Errors
    /// When this user or this container may not.
    pub(crate) fn to(connections: u64) -> io::Result<Raised> {
        raise([LIMIT, BUCKETS], [connections, connections / 2])
    }
}

fn raise(files: [&str; 2], values: [u64; 2]) -> io::Result<Raised> {
    let mut command = Command::new("sh");
    command.args(["-c", GUARD, "guard", files[0], &values[0].to_string(), files[1], &values[1].to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    // A Ctrl-C is for this program; the guard acts when it has ended.
    let mut guard = command.process_group(0).spawn()?;
    let mut word = String::new();
    if let Some(said) = guard.stdout.take() {
        BufReader::new(said).read_line(&mut word)?;
    }
    let raised = Raised { guard };
    if word.trim() == "raised" { Ok(raised) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

impl Drop for Raised {
    fn drop(&mut self) {
        // The end of its input is what the guard waits for.
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// How many connections can be tracked here with room to spare; `None` when the kernel tracks none yet.
pub(crate) fn usable() -> Option<u64> {
    let limit: u64 = fs::read_to_string(LIMIT).ok()?.trim().parse().ok()?;
    Some((limit as f64 * USABLE) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_raised_is_put_back() {
        let directory = std::env::temp_dir().join(format!("genkan-conntrack-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a folder");
        let files = ["max", "buckets"].map(|name| directory.join(name).display().to_string());
        let read = || files.each_ref().map(|file| fs::read_to_string(file).expect("a file"));
        for (file, value) in files.iter().zip(["262144\n", "65536\n"]) {
            fs::write(file, value).expect("a file");
        }
        let raised = raise(files.each_ref().map(String::as_str), [2_000_000, 1_000_000]).expect("it may");
        assert_eq!(read(), ["2000000\n", "1000000\n"]);
        drop(raised);
        assert_eq!(read(), ["262144\n", "65536\n"]);

        let absent = directory.join("absent/max").display().to_string();
        assert!(raise([&absent, &files[1]], [1, 1]).is_err());
        assert_eq!(read()[1], "65536\n");
        fs::remove_dir_all(&directory).expect("it was there");
    }
}
