//! What went over the links lately: for a look at a failed test, as text and as captures.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use genkan_engine::{PortId, Verdict};
use pcap_file::pcap::{PcapPacket, PcapWriter};

use super::text;

/// Most frames that a trace keeps.
const KEPT: usize = 20_000;

/// One frame that crossed a router port.
#[derive(Clone, Debug)]
pub struct Crossing {
    /// Time since the lab began.
    pub at: Duration,
    /// Which port.
    pub port: PortId,
    /// The verdict over a frame that came in; `None` for one that went out.
    pub verdict: Option<Verdict>,
    /// Its octets as they crossed the port.
    pub bytes: Vec<u8>,
}

impl Crossing {
    fn line(&self) -> String {
        let port = port_name(self.port);
        let frame = text::bytes(&self.bytes, self.port);
        let at = self.at.as_secs_f64();
        match self.verdict {
            None => format!("{at:12.6} {port:>5} <- {frame}"),
            Some(Verdict::Drop(reason)) => {
                format!("{at:12.6} {port:>5} -> {frame}   [dropped: {}]", reason.name())
            }
            Some(_) => format!("{at:12.6} {port:>5} -> {frame}"),
        }
    }
}

/// `wan`, `host`, `lan0`, `lan1`, ...
pub fn port_name(port: PortId) -> String {
    match port {
        PortId::WAN => "wan".into(),
        PortId::HOST => "host".into(),
        _ => format!("lan{}", port.lan_index().expect("neither wan nor host")),
    }
}

/// The latest crossings.
#[derive(Debug, Default)]
pub struct Trace {
    crossings: VecDeque<Crossing>,
}

impl Trace {
    /// Adds one, forgetting the oldest when there are too many.
    pub fn push(&mut self, crossing: Crossing) {
        if self.crossings.len() == KEPT {
            self.crossings.pop_front();
        }
        self.crossings.push_back(crossing);
    }

    /// The last `count` as lines; `->` into the router, `<-` out of it.
    pub fn tail(&self, count: usize) -> String {
        let skip = self.crossings.len().saturating_sub(count);
        self.crossings.iter().skip(skip).fold(String::new(), |mut text, crossing| {
            let _ = writeln!(text, "{}", crossing.line());
            text
        })
    }

    /// Writes one capture per port into `directory`; returns their paths.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_pcaps(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        fs::create_dir_all(directory)?;
        let mut ports: Vec<PortId> = self.crossings.iter().map(|crossing| crossing.port).collect();
        ports.sort();
        ports.dedup();
        ports
            .into_iter()
            .map(|port| {
                let path = directory.join(format!("{}.pcap", port_name(port)));
                let mut writer = PcapWriter::new(fs::File::create(&path)?).map_err(io::Error::other)?;
                for crossing in self.crossings.iter().filter(|crossing| crossing.port == port) {
                    let length = u32::try_from(crossing.bytes.len()).expect("a frame under 4 GiB");
                    let packet = PcapPacket::new(crossing.at, length, &crossing.bytes);
                    writer.write_packet(&packet).map_err(io::Error::other)?;
                }
                Ok(path)
            })
            .collect()
    }
}

/// Where captures of failed tests go: `$GENKAN_TEST_OUTPUT`, else a folder of the system's temporary one.
pub fn output_directory(name: &str) -> PathBuf {
    let base = std::env::var_os("GENKAN_TEST_OUTPUT")
        .map_or_else(|| std::env::temp_dir().join("genkan-tests"), PathBuf::from);
    base.join(name.replace("::", "-").replace(['/', ' '], "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_hold_every_frame_of_a_port() {
        let mut trace = Trace::default();
        for (port, octet) in [(PortId::WAN, 1), (PortId::lan(0), 2), (PortId::WAN, 3)] {
            let crossing =
                Crossing { at: Duration::from_secs(1), port, verdict: None, bytes: vec![octet; 60] };
            trace.push(crossing);
        }
        let directory = output_directory(&format!("trace-self-test-{}", std::process::id()));
        let paths = trace.write_pcaps(&directory).expect("a temporary folder");
        let lengths: Vec<u64> = paths.iter().map(|path| fs::metadata(path).expect("written").len()).collect();
        assert_eq!(lengths, [24 + 2 * 76, 24 + 76]);
        fs::remove_dir_all(directory).expect("removed");
    }
}
