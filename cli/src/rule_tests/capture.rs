//! All frames of a failing test in a file for Wireshark: before and after; of a simulated router with what decided as
//! comments.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use genkan_config::expectations::{Test, TestFile};
use genkan_config::openings::BUILT;
use genkan_control::capture::pcapng::{self, PacketBlock, Way};
use genkan_engine::{PortId, Verdict};

use super::offline::{Offline, Told};
use crate::output::Failure;
use crate::simulation::Record;
use crate::trace::{Answer, Scene};

/// Longest part of a file's name that is made of a test's.
const NAME_MAX: usize = 60;

/// Writes what the simulated router of a test saw, and returns where.
///
/// # Errors
/// When the folder or the file cannot be written.
pub(super) fn write(
    file: &TestFile,
    test: &Test,
    router: &Offline<'_>,
    folder: &Path,
    told: &dyn Fn(&Told) -> Answer,
) -> Result<PathBuf, Failure> {
    let frames = router.simulation().frames();
    let mut ports: Vec<PortId> = frames.iter().map(|frame| frame.port).collect();
    ports.sort_by_key(|port| port.index());
    ports.dedup();
    let answers: Vec<Answer> = router.told().iter().map(told).collect();
    let start = Duration::from_secs(u64::try_from(router.start().0).unwrap_or(0));
    let block = |frame: &Record| {
        let answer = usize::try_from(frame.id).ok().and_then(|id| answers.get(id.checked_sub(1)?));
        let interface = ports.iter().position(|port| *port == frame.port).unwrap_or(0);
        PacketBlock {
            interface: interface as u32,
            time: start + Duration::from_nanos(frame.time.as_nanos()),
            len: frame.octets.len() as u32,
            octets: frame.octets.clone(),
            way: if frame.verdict.is_some() { Way::In } else { Way::Out },
            id: frame.id,
            lost: 0,
            comment: answer.map(|answer| said(answer, frame.verdict)).unwrap_or_default(),
        }
    };
    write_frames(file, test, folder, &ports, frames.iter().map(block))
}

/// Writes frames of these ports, and returns where.
///
/// # Errors
/// When the folder or the file cannot be written.
pub(super) fn write_frames(
    file: &TestFile,
    test: &Test,
    folder: &Path,
    ports: &[PortId],
    frames: impl Iterator<Item = PacketBlock>,
) -> Result<PathBuf, Failure> {
    let mut out = Vec::new();
    pcapng::write_section(&mut out, "genkan test", &format!("{}: {}", file.file.name(), test.name));
    let scene = Scene::new(&file.configurations[0], BUILT);
    for port in ports {
        pcapng::write_interface(&mut out, scene.port_name(*port), u32::from(u16::MAX));
    }
    for frame in frames {
        pcapng::write_packet(&mut out, &frame);
    }
    let path = folder.join(format!("{}-{}.pcapng", plain(&stem(file)), plain(&test.name)));
    let cannot = |error: std::io::Error| Failure::new(&format!("cannot write {}", path.display()), &error);
    fs::create_dir_all(folder).map_err(cannot)?;
    fs::write(&path, out).map_err(cannot)?;
    Ok(path)
}

/// What decided about a packet: the steps that a line of the file stands behind, and the reason of a drop.
fn said(answer: &Answer, verdict: Option<Verdict>) -> String {
    let mut parts: Vec<String> = Vec::new();
    if verdict.is_none() {
        parts.push(format!("<- {}: {}", answer.port, answer.packet));
    }
    if let Some(reason) = &answer.reason {
        parts.push(format!("{}: {}", reason.id, reason.text));
    }
    for step in &answer.steps {
        parts.extend(step.place.as_ref().map(|place| format!("{} ({place})", step.text)));
    }
    parts.join("; ")
}

fn stem(file: &TestFile) -> String {
    let name = Path::new(file.file.name()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.trim_end_matches(".toml").trim_end_matches(".test").to_owned()
}

/// A text as part of a file's name.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for character in text.chars().take(NAME_MAX) {
        match character {
            letter if letter.is_alphanumeric() => plain.push(letter),
            _ if plain.ends_with('-') => {}
            _ => plain.push('-'),
        }
    }
    plain.trim_matches('-').to_owned()
}
