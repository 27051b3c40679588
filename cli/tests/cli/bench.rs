//! `genkan bench --engine`: the packet core measured as somebody asks for it.

use std::path::Path;
use std::time::Duration;

use crate::support::{HOME, Said, Scratch, genkan};
use etherparse::PacketBuilder;
use genkan_io::pcap_file::PcapFileTransmitter;

const FAST: [&str; 6] = ["bench", "--engine", "--rounds", "1", "--force", "--json"];

fn json(said: &Said) -> serde_json::Value {
    assert!(said.code.is_some_and(|code| code <= 1), "{said:?}");
    serde_json::from_str(&said.stdout).expect("JSON")
}

#[test]
fn the_engine_alone_in_every_shape() {
    let scratch = Scratch::new("bench");
    let (svg, html) = (scratch.path("charts.svg"), scratch.path("page.html"));
    let files =
        ["--svg", &svg.display().to_string(), "--html", &html.display().to_string()].map(str::to_owned);
    let traffic = ["--sessions", "500", "--tcp", "50", "--forwards", "3", "--new", "10"].map(str::to_owned);
    let said = genkan(FAST.map(str::to_owned).iter().chain(&traffic).chain(&files));
    assert_eq!(said.code, Some(0), "{said:?}");
    let report = json(&said);
    assert_eq!(report["schema"], "genkan-bench-1");
    assert_eq!(report["noise"]["forced"], true);
    let metrics = report["metrics"].as_array().expect("a list");
    for key in ["rate", "established", "pass_headers", "pass_forward", "new_session", "forward"] {
        let metric = metrics.iter().find(|metric| metric["key"] == key).expect(key);
        let series = &metric["series"][0];
        assert!(series["median"].as_f64().is_some_and(|median| median > 0.0), "{metric}");
        assert_eq!(series["rounds"].as_array().map(Vec::len), Some(1), "{metric}");
        assert!(metric["sentences"][0].as_str().is_some(), "{metric}");
    }
    let read = |path: &Path| std::fs::read_to_string(path).expect("written");
    assert!(read(&svg).starts_with("<svg ") && read(&svg).contains("500 sessions"));
    assert!(read(&html).starts_with("<!DOCTYPE html>") && read(&html).contains("500 sessions"));
}

#[test]
fn a_capture_goes_round_and_round() {
    let scratch = Scratch::new("bench-pcap");
    let (config, capture) = (scratch.file("home.toml", HOME), scratch.path("lan.pcap"));
    let mut writer = PcapFileTransmitter::create(&capture).expect("created");
    for port in 0..100_u16 {
        let mut frame = Vec::new();
        // Every tenth has no time to live left: the router drops it.
        let ttl = if port % 10 == 0 { 0 } else { 64 };
        PacketBuilder::ethernet2([0x52, 0x54, 0, 0, 0, 3], [0x52, 0x54, 0, 0, 0, 1])
            .ipv4([192, 168, 0, 20], [198, 51, 100, 7], ttl)
            .udp(4_000 + port, 53)
            .write(&mut frame, b"question")
            .expect("memory takes all");
        writer.write_frame(Duration::from_secs(1), &frame).expect("written");
    }
    writer.finish().expect("finished");
    let (config, capture) = (config.display().to_string(), capture.display().to_string());
    let files = ["--pcap", &capture, "--config", &config].map(str::to_owned);
    let said = genkan(FAST.map(str::to_owned).iter().chain(&files));
    let report = json(&said);
    assert!(report["metrics"][1]["series"][0]["median"].as_f64().is_some_and(|median| median > 0.0));
    let notes = report["notes"].to_string();
    assert!(notes.contains("forwarded 90.0 %") && notes.contains("10.0 %"), "{notes}");

    let wrong = files.iter().cloned().chain(["--port".to_owned(), "cellar".to_owned()]);
    let said = genkan(FAST.map(str::to_owned).into_iter().chain(wrong));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("cellar") && said.stderr.contains("home"), "{said:?}");
}

#[test]
fn misuse_is_said_before_anything_is_measured() {
    for arguments in [
        &["bench", "--sessions", "1k"][..],
        &["bench", "--engine", "--sessions", "many"],
        &["bench", "--engine", "--size", "40"],
        &["bench", "--engine", "--pcap", "x.pcap"],
        &["bench", "--engine", "--tcp", "101"],
    ] {
        let said = genkan(arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
    }
}
