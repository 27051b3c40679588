//! `genkan capture`: packets of the running router, before and after, and why.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use genkan_control::api::CaptureQuery;
use genkan_control::capture::filter::Facts;
use genkan_control::capture::pcapng::{Block, PacketBlock, Reader, Way};
use genkan_control::capture::{DEFAULT_SNAPLEN, Filter, MAX_SECONDS, MAX_SNAPLEN, MIN_SNAPLEN};
use genkan_control::client::{Client, ClientError};
use genkan_engine::wire::ipv4::Protocol;
use serde::Serialize;

use super::{Target, block_on, interrupted};
use crate::output::{self, Exit, Failure, Format};

const AFTER_HELP: &str = "\
Each packet is captured as it came in and, if it was sent, as it went out: two packets of one number (`epb_packetid`) in
the file, inbound at one port and outbound at another, whose comments name the forward or session that let it pass, or
the reason why it was dropped. With --port and --filter, what counts is what the packet looks like at that port.

The filter is a part of the language of tcpdump: ip, ip6, arp, tcp, udp, icmp; host, net, port, portrange, with src or
dst before; and, or, not, parentheses. `and` and `or` are taken from left to right.

Only the first 128 octets of each frame are kept unless --snaplen says otherwise; a file is made for its owner only.
The router goes on as before: what comes too fast for the capture is not captured, and its number is told at the end.
There can be one capture at a time; it ends with this command.

Examples:
  genkan capture --port wan --filter 'tcp port 80'
  genkan capture --filter 'host 192.168.0.10 and not port 22' -w out.pcapng --for 10s
  genkan capture --port wan -w - | wireshark -k -i -
  genkan replay --config home.toml --capture out.pcapng --out replayed";

/// Capture packets of the running router, before and after translation, with the rule that decided
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Only packets that come in or leave by this port: wan, the name of a lan, or host
    #[arg(long, value_name = "NAME")]
    port: Option<String>,
    /// Only packets that this filter wants
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// Write pcapng to this file (- for standard output) instead of a line for each frame
    #[arg(short = 'w', long = "write", value_name = "FILE", conflicts_with = "format")]
    write: Option<PathBuf>,
    /// End after so many packets
    #[arg(long, value_name = "PACKETS", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so long, such as 10s; at most a day
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    seconds: Option<u32>,
    /// Octets to keep of each frame
    #[arg(long, value_name = "OCTETS", default_value_t = DEFAULT_SNAPLEN,
        value_parser = clap::value_parser!(u32).range(i64::from(MIN_SNAPLEN)..=i64::from(MAX_SNAPLEN)))]
    snaplen: u32,
}

fn seconds(text: &str) -> Result<u32, String> {
    let seconds = genkan_config::duration(text)?.as_secs();
    let seconds = u32::try_from(seconds).ok().filter(|seconds| (1..=MAX_SECONDS).contains(seconds));
    seconds.ok_or_else(|| "accepted: 1s to 1d".to_owned())
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    if let Some(text) = &arguments.filter
        && let Err(error) = text.parse::<Filter>()
    {
        let pointed = error.pointed(text).replace('\n', "\n  ");
        return Err(Failure::report(Exit::Misuse, format!("error: --filter, {error}\n  {pointed}")));
    }
    let query = CaptureQuery {
        port: arguments.port.clone(),
        filter: arguments.filter.clone(),
        count: arguments.count,
        seconds: arguments.seconds,
        snaplen: Some(arguments.snaplen),
    };
    let mut listener = Listener::new(arguments);
    let client = Client::new(&arguments.target.socket);
    let ended = block_on(async {
        tokio::select! {
            ended = client.capture(&query, |octets| Ok(listener.take(octets))) => ended,
            // Whoever interrupts wants to see what there is.
            () = interrupted() => Ok(()),
        }
    })?;
    listener.end(ended)
}

/// Where packets go.
enum Sink {
    /// To people or programs.
    Lines(Format),
    /// To a file that is made when the capture has begun.
    Unopened(PathBuf),
    /// To a file, by this name.
    File(PathBuf, BufWriter<File>),
    /// To another program.
    Pipe,
}

struct Listener {
    sink: Sink,
    reader: Reader,
    /// Names of the interfaces.
    ports: Vec<String>,
    /// Number of the last packet.
    packets: u64,
    lost: u64,
    trouble: Option<Failure>,
}

/// A frame in the shape of `--format json`.
#[derive(Serialize)]
struct Row<'a> {
    packet: u64,
    time: String,
    port: &'a str,
    way: &'a str,
    octets: u32,
    what: &'a str,
    comment: &'a str,
}

impl Listener {
    fn new(arguments: &Arguments) -> Listener {
        let sink = match &arguments.write {
            None => Sink::Lines(arguments.target.format),
            Some(path) if path == Path::new("-") => Sink::Pipe,
            Some(path) => Sink::Unopened(path.clone()),
        };
        Listener { sink, reader: Reader::default(), ports: Vec::new(), packets: 0, lost: 0, trouble: None }
    }

    /// Takes a piece of the stream; false when there is no use in more.
    fn take(&mut self, octets: &[u8]) -> bool {
        if let Err(trouble) = self.try_take(octets) {
            self.trouble = Some(trouble);
        }
        self.trouble.is_none()
    }

    fn try_take(&mut self, octets: &[u8]) -> Result<(), Failure> {
        if self.ports.is_empty() {
            // The router's first words are about its ports.
            output::remark("capturing; Ctrl-C ends it");
        }
        self.reader.push(octets);
        let mut wholes = Vec::new();
        let mut lines = String::new();
        while let Some((whole, block)) = self.reader.next_block()? {
            wholes.extend_from_slice(whole);
            match block {
                Block::Section => {}
                Block::Interface(name) => self.ports.push(name),
                Block::Packet(packet) => {
                    (self.packets, self.lost) = (packet.id, self.lost + packet.lost);
                    if let Sink::Lines(format) = self.sink {
                        lines += &line(format, &self.ports, &packet)?;
                    }
                }
                // Those that were lost after the last packet as well.
                Block::Statistics { interface: 0, lost, .. } => self.lost = lost,
                Block::Statistics { lost, .. } => self.lost += lost,
            }
        }
        self.write(&wholes, &lines)
    }

    fn write(&mut self, wholes: &[u8], lines: &str) -> Result<(), Failure> {
        if let Sink::Unopened(path) = &self.sink {
            // Only now, so that a capture that is refused leaves an older file as it was.
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
            let file = file.map_err(|error| Failure::new(&path.display().to_string(), &error))?;
            self.sink = Sink::File(path.clone(), BufWriter::new(file));
        }
        match &mut self.sink {
            Sink::File(path, file) => {
                let written = file.write_all(wholes).and_then(|()| file.flush());
                written.map_err(|error| Failure::new(&path.display().to_string(), &error))
            }
            Sink::Pipe => {
                let mut out = io::stdout().lock();
                match out.write_all(wholes).and_then(|()| out.flush()) {
                    // Whoever read it has seen enough.
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                        Err(Failure::report(Exit::Done, ""))
                    }
                    Err(error) => Err(Failure::new("cannot write to standard output", &error)),
                    Ok(()) => Ok(()),
                }
            }
            _ if lines.is_empty() => Ok(()),
            _ => output::print(lines),
        }
    }

    /// Says what there was.
    fn end(self, ended: Result<(), ClientError>) -> Result<Exit, Failure> {
        match (self.trouble, ended) {
            (Some(trouble), _) => return Err(trouble),
            (None, ended) => ended?,
        }
        let packets =
            |count| format!("{} packet{}", output::grouped(count), if count == 1 { "" } else { "s" });
        let mut text = format!("{} captured", packets(self.packets));
        if self.lost > 0 {
            text += &format!("; {} not captured: they came too fast", packets(self.lost));
        }
        output::remark(&text);
        Ok(Exit::Done)
    }
}

fn line(format: Format, ports: &[String], packet: &PacketBlock) -> Result<String, Failure> {
    let port = ports.get(packet.interface as usize).map_or("?", String::as_str);
    let way = match packet.way {
        Way::In => "in",
        Way::Out => "out",
        Way::Unknown => "-",
    };
    let what = what(&packet.octets);
    Ok(match format {
        Format::Json => {
            let row = Row {
                packet: packet.id,
                time: format!("{:.6}", output::timestamp(packet.time)),
                port,
                way,
                octets: packet.len,
                what: &what,
                comment: &packet.comment,
            };
            serde_json::to_string(&row)? + "\n"
        }
        Format::Table => format!(
            "{:.6} #{} {port} {way}  {what}, {} octets  [{}]\n",
            output::timestamp(packet.time),
            packet.id,
            packet.len,
            packet.comment
        ),
    })
}

/// A frame on one line: TCP and UDP shortly, everything else header by header.
fn what(frame: &[u8]) -> String {
    let facts = Facts::of(frame);
    let name = match facts.protocol {
        Some(Protocol::TCP) => "tcp",
        Some(Protocol::UDP) => "udp",
        _ => "",
    };
    if let (false, Some((source, destination)), Some((from, to))) =
        (name.is_empty(), facts.addresses, facts.ports)
    {
        let [source, destination] = [source, destination].map(std::net::Ipv4Addr::from_bits);
        return format!("{name} {source}:{from} > {destination}:{to}{}", flags(frame, facts.protocol));
    }
    output::headers(frame)
}

/// The flags of a TCP segment that say something.
fn flags(frame: &[u8], protocol: Option<Protocol>) -> String {
    let header = frame.get(14).map_or(0, |first| usize::from(first & 0x0f) * 4);
    let octet = frame.get(14 + header + 13).filter(|_| protocol == Some(Protocol::TCP));
    octet.map_or(String::new(), |octet| format!(" {}", genkan_engine::wire::tcp::TcpFlags(*octet)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use genkan_control::capture::pcapng;

    use super::*;

    fn frame() -> Vec<u8> {
        let mut frame = vec![0; 54];
        frame[12..14].copy_from_slice(&[8, 0]);
        (frame[14], frame[23]) = (0x45, 6);
        frame[26..34].copy_from_slice(&[198, 51, 100, 7, 203, 0, 113, 1]);
        frame[34..38].copy_from_slice(&[0x9c, 0x40, 0, 80]);
        frame[47] = 0x12;
        frame
    }

    fn packet() -> PacketBlock {
        PacketBlock {
            time: Duration::new(1_790_000_000, 5_000),
            octets: frame(),
            len: 60,
            way: Way::In,
            id: 3,
            lost: 2,
            comment: "sent out of home; forward web".to_owned(),
            ..PacketBlock::default()
        }
    }

    #[test]
    fn a_frame_is_a_line() {
        let ports = ["wan".to_owned()];
        assert_eq!(
            line(Format::Table, &ports, &packet()).expect("a line"),
            "2026-09-21T14:13:20.000005Z #3 wan in  tcp 198.51.100.7:40000 > 203.0.113.1:80 SYN|ACK, 60 octets  \
             [sent out of home; forward web]\n"
        );
        let json = line(Format::Json, &ports, &packet()).expect("a line");
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!((json["way"].as_str(), json["packet"].as_u64()), (Some("in"), Some(3)));
    }

    #[test]
    fn the_last_word_about_losses_is_that_of_the_end() {
        let mut file = Vec::new();
        pcapng::write_section(&mut file, "genkan", "");
        pcapng::write_interface(&mut file, "wan", 128);
        pcapng::write_interface(&mut file, "home", 128);
        pcapng::write_packet(&mut file, &packet());
        let path = std::env::temp_dir().join(format!("genkan-capture-{}.pcapng", std::process::id()));
        let mut listener = Listener {
            sink: Sink::Unopened(path.clone()),
            reader: Reader::default(),
            ports: Vec::new(),
            packets: 0,
            lost: 0,
            trouble: None,
        };
        let whole = file.len();
        pcapng::write_statistics(&mut file, 0, Duration::ZERO, 8, 4);
        pcapng::write_statistics(&mut file, 1, Duration::ZERO, 8, 1);
        // Half a block is not written: the file is whole at any moment.
        assert!(listener.take(&file[..whole + 4]));
        assert_eq!((listener.packets, listener.lost), (3, 2));
        assert_eq!(std::fs::read(&path).expect("made"), file[..whole]);
        assert!(listener.take(&file[whole + 4..]));
        assert_eq!(listener.lost, 5);
        assert_eq!(std::fs::read(&path).expect("made"), file);
        std::fs::remove_file(path).expect("ours");
        assert!(!listener.take(&[0xff; 12]), "no block of ours");
    }
}
