//! Second look at the captures: the frames that the router received, of all files together in order of time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use genkan_engine::frame::PortId;
use genkan_engine::wire::ethernet::{self, MacAddr};
use genkan_io::frame_arena::MAX_FRAME;
use genkan_io::pcap_file::{CapturedFrame, PcapFileReceiver};

use super::{Input, InputReport, ReplayError};

struct File {
    port: PortId,
    path: PathBuf,
    reader: PcapFileReceiver,
    next: Option<CapturedFrame>,
    report: InputReport,
}

/// Capture files, merged.
pub(super) struct Captures {
    files: Vec<File>,
    router: BTreeMap<PortId, MacAddr>,
}

impl Captures {
    /// Opens all files; `router` has the router's MAC address of each port.
    pub(super) fn open(inputs: &[Input], router: BTreeMap<PortId, MacAddr>) -> Result<Captures, ReplayError> {
        let mut captures = Captures { files: Vec::new(), router };
        for input in inputs {
            let path = input.path.clone();
            let reader = input.open()?;
            let report = InputReport { file: path.display().to_string(), ..InputReport::default() };
            let mut file = File { port: input.port, path, reader, next: None, report };
            file.advance(captures.router.get(&input.port).copied())?;
            captures.files.push(file);
        }
        Ok(captures)
    }

    /// The next frame that the router received: its port, wall time and octets. Files that were named first go first
    /// at the same time.
    pub(super) fn next_frame(&mut self) -> Result<Option<(PortId, Duration, Vec<u8>)>, ReplayError> {
        let waiting = self.files.iter().enumerate();
        let times = waiting.filter_map(|(index, file)| Some((file.next.as_ref()?.timestamp, index)));
        let Some((_, index)) = times.min() else { return Ok(None) };
        let file = &mut self.files[index];
        let Some(mut frame) = file.next.take() else { return Ok(None) };
        file.report.frames += 1;
        if frame.is_cut() {
            // The header is what matters to the router; nothing on its way looks at the payload.
            file.report.cut += 1;
            frame.bytes.resize((frame.original_len as usize).min(MAX_FRAME), 0);
        }
        file.advance(self.router.get(&file.port).copied())?;
        Ok(Some((file.port, frame.timestamp, frame.bytes)))
    }

    /// What the files held.
    pub(super) fn reports(self, ports: &[(PortId, String)]) -> Vec<InputReport> {
        let name = |port: PortId| ports.iter().find(|(id, _)| *id == port).map(|(_, name)| name.clone());
        let report = |file: File| InputReport { port: name(file.port).unwrap_or_default(), ..file.report };
        self.files.into_iter().map(report).collect()
    }
}

impl File {
    /// Reads on to the next frame that the router did not send itself.
    fn advance(&mut self, router: Option<MacAddr>) -> Result<(), ReplayError> {
        loop {
            let next = self.reader.next_frame();
            self.next = next.map_err(|source| ReplayError::Read { path: self.path.clone(), source })?;
            let Some(frame) = &self.next else { return Ok(()) };
            let source = ethernet::View::new_checked(&frame.bytes).map(|link| link.source());
            let is_routers = frame.is_received.map_or(router.is_some() && source.ok() == router, |is| !is);
            if !is_routers {
                return Ok(());
            }
            self.report.from_router += 1;
        }
    }
}
