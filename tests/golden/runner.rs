//! Golden cases: a configuration, frames in, and then every frame, event and counter that comes out.
//!
//! `cases/*.txt` are read by people. Lines that begin with two spaces, and the counters, are what the
//! router did; everything else is what it was given:
//!
//! ```text
//! # Comments stay where they are.
//! --- config
//! [wan] ...                                      the configuration file, as users write it
//! --- steps
//! up                                             all links come up; also: up wan mtu=1400, down lan0
//! lan0 > udp 192.168.0.9:5000 > 198.51.100.7:53  a frame into the router (MAC addresses are filled in)
//!   wan < router > broadcast arp request ...     what left the router
//!   drop no_mapping                              the frame was dropped
//! wait 5m                                        time passes; what happens meanwhile has the time before it
//! reload FILE                                    the section `--- config FILE` comes into force
//! --- counters
//! drop.no_mapping 1                              every counter that is not 0
//! ```
//!
//! `GENKAN_BLESS=1` rewrites what differs. A failed case writes a capture of each port.

mod case;
mod world;

use std::path::{Path, PathBuf};
use std::{env, fs};

use genkan_tests::lab::trace;
use libtest_mimic::{Arguments, Failed, Trial};

use case::Case;
use world::Door;

fn main() {
    let arguments = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/cases");
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the folder of cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no cases in {}", folder.display());
    let trials = paths.into_iter().map(|path| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        Trial::test(name.clone(), move || run(&name, &path))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn run(name: &str, path: &Path) -> Result<(), Failed> {
    let expected = fs::read_to_string(path)?;
    let case = Case::parse(&expected)?;
    let (actual, trace) = case.play(Door::Frame)?;
    let (by_batch, _) = case.play(Door::Batch)?;
    if let Some(difference) = first_difference(&actual, &by_batch) {
        return Err(format!("handle_batch does not do as handle_frame:\n{difference}").into());
    }
    let Some(difference) = first_difference(&expected, &actual) else {
        case.compare_bursts()?;
        return Ok(());
    };
    if env::var_os("GENKAN_BLESS").is_some() {
        fs::write(path, &actual)?;
        return Ok(());
    }
    let captures = trace.write_pcaps(&trace::output_directory(&format!("golden-{name}")))?;
    let captures = captures.iter().map(|path| format!("capture: {}\n", path.display())).collect::<String>();
    Err(format!("{difference}{captures}GENKAN_BLESS=1 takes the new text over").into())
}

/// The first line that differs, with the lines before it.
fn first_difference(expected: &str, actual: &str) -> Option<String> {
    let (expected, actual): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), actual.lines().collect());
    let at = (0..expected.len().max(actual.len())).find(|&at| expected.get(at) != actual.get(at))?;
    let context =
        expected[at.saturating_sub(3)..at].iter().map(|line| format!("      {line}\n")).collect::<String>();
    let side = |lines: &[&str]| (*lines.get(at).unwrap_or(&"(the end)")).to_owned();
    Some(format!("line {}:\n{context}  was {}\n  is  {}\n", at + 1, side(&expected), side(&actual)))
}
