//! Connections: RFC 5382.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};

use super::connection::{By, Connection, Flag};
use super::timers::Clock;
use crate::conformance::finding::{Finding, Outcome, judge, met, not_met, require};
use crate::conformance::packet::{Packet, Segment};
use crate::conformance::site::{EXTERNAL, SERVICE, Site};
use crate::conformance::wire::PATIENCE;

/// Octets that are moved each way over real sockets.
const AMOUNT: usize = 200_000;

/// RFC 5382 REQ-2: the sockets of two kernels, and a connection through a forward, segment by segment.
pub(crate) fn whole_connections(site: &Site) -> Outcome {
    sockets(site).map_err(|error| not_met(format!("between real sockets: {error}")))?;
    from_outside(site)?;
    let mut connection = Connection::open(site)?;
    for by in [By::Inside, By::Outside] {
        require(connection.send(site, by, Flag::None, &site.token())?, "data does not pass")?;
    }
    connection.close(site)?;
    Ok(met(
        "from inside between real sockets, through a forward from outside: opened, used both ways, closed",
    ))
}

fn sockets(site: &Site) -> std::io::Result<()> {
    let listener = site.isp.run(|| TcpListener::bind((site.isp_address, SERVICE)))?;
    let text: Vec<u8> = (0..AMOUNT).map(|index| index.to_le_bytes()[1]).collect();
    let echo = move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        impatient(&stream)?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        stream.write_all(&all)
    };
    let to = SocketAddrV4::new(site.isp_address, SERVICE);
    // Connected at first: else nobody ends the other thread's waiting.
    let mut stream = site.nas.run(|| TcpStream::connect_timeout(&to.into(), PATIENCE))?;
    let server = std::thread::spawn(echo);
    impatient(&stream)?;
    stream.write_all(&text)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back)?;
    server.join().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()))?;
    if back == text { Ok(()) } else { Err(std::io::Error::other("other data came back than was sent")) }
}

/// Gives up on a device that lets nothing more through.
fn impatient(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}

fn from_outside(site: &Site) -> Result<(), Finding> {
    let (external, target, internal) = site.forward()?;
    let remote = site.outside_host()?;
    let own = remote.at(site.port());
    let (one, two) = (site.sequence(), site.sequence());
    let segment = |sequence, acknowledgment, (syn, ack, fin)| Segment {
        sequence,
        acknowledgment,
        syn,
        ack,
        fin,
        ..Segment::default()
    };
    let inward = |segment| (&remote, Packet::tcp(own, external, &segment), target);
    let outward = |segment| (target, Packet::tcp(internal, own, &segment), &remote);
    let steps = [
        inward(segment(one, 0, (true, false, false))),
        outward(segment(two, one + 1, (true, true, false))),
        inward(segment(one + 1, two + 1, (false, true, false))),
        outward(segment(two + 1, one + 1, (false, true, true))),
        inward(segment(one + 1, two + 2, (false, true, true))),
        outward(segment(two + 2, one + 2, (false, true, false))),
    ];
    for (number, (from, packet, to)) in steps.into_iter().enumerate() {
        from.send(&packet);
        // The same target serves other probes: it is this remote's segment that counts.
        let arrived = to.wait(|seen| seen.is_copy_of(&packet) && (seen.from() == own || seen.to() == own));
        require(arrived.is_some(), &format!("through the forward, segment {} is lost", number + 1))?;
    }
    Ok(())
}

/// RFC 5382 REQ-2a: both ways to open a connection.
pub(crate) fn openings(site: &Site) -> Outcome {
    handshake(site)?;
    simultaneous_open(site)?;
    Ok(met("SYN and SYN-ACK, each sent twice, and ACK pass; so do two SYNs that cross, and both answers"))
}

fn handshake(site: &Site) -> Result<(), Finding> {
    let (inner, remote) = (site.inside_host()?, site.outside_host()?);
    let (own, to) = (inner.at(site.port()), remote.at(SERVICE));
    let syn = Packet::tcp(own, to, &Segment { sequence: 5_000, syn: true, ..Segment::default() });
    let first = site.pass_out(&inner, &syn, &remote)?;
    let again = site.pass_out(&inner, &syn, &remote)?;
    require(first.from() == again.from(), "a SYN that is sent again leaves from another endpoint")?;
    let answer =
        Segment { sequence: 6_000, acknowledgment: 5_001, syn: true, ack: true, ..Segment::default() };
    for _ in 0..2 {
        let answer = Packet::tcp(to, first.from(), &answer);
        require(site.tried(&remote, &answer, &inner)?.is_some(), "the answer to a SYN does not get in")?;
    }
    let end = Segment { sequence: 5_001, acknowledgment: 6_001, ack: true, ..Segment::default() };
    site.pass_out(&inner, &Packet::tcp(own, to, &end), &remote)?;
    Ok(())
}

fn simultaneous_open(site: &Site) -> Result<(), Finding> {
    let (inner, remote) = (site.inside_host()?, site.outside_host()?);
    let (own, to) = (inner.at(site.port()), remote.at(SERVICE));
    let syn = |sequence| Segment { sequence, syn: true, ..Segment::default() };
    let both = |sequence, acknowledgment| Segment {
        sequence,
        acknowledgment,
        syn: true,
        ack: true,
        ..Segment::default()
    };
    let external = site.pass_out(&inner, &Packet::tcp(own, to, &syn(7_000)), &remote)?.from();
    let inward = |segment: &Segment| site.tried(&remote, &Packet::tcp(to, external, segment), &inner);
    require(inward(&syn(8_000))?.is_some(), "the other side's SYN does not get in")?;
    let answer = site.pass_out(&inner, &Packet::tcp(own, to, &both(7_000, 8_001)), &remote)?;
    require(answer.from() == external, "the answer leaves from another endpoint")?;
    require(inward(&both(8_000, 7_001))?.is_some(), "the other side's answer does not get in")
}

/// Seconds in which nobody may be told of a SYN that came unasked.
const UNASKED: u64 = 6;

/// RFC 5382 REQ-4: a SYN comes unasked; some of the SYNs are followed by one from inside, which opens the connection.
pub(crate) fn unsolicited_syn(site: &Site) -> Outcome {
    let (inner, remote) = (site.inside_host()?, site.outside_host()?);
    let (expected, lonely) = (site.port(), site.port());
    let clock = Clock::start();
    for port in [expected, lonely] {
        let syn = Segment { sequence: 100, syn: true, ..Segment::default() };
        remote.send(&Packet::tcp(remote.at(SERVICE), SocketAddrV4::new(EXTERNAL, port), &syn));
    }
    clock.wait_millis(1000);
    let syn = Segment { sequence: 200, syn: true, ..Segment::default() };
    let packet = Packet::tcp(inner.at(expected), remote.at(SERVICE), &syn);
    site.pass_out(&inner, &packet, &remote)?;
    clock.wait_millis(UNASKED * 1000);
    site.settle()?;
    Ok(judge(
        remote.take(|_| true).is_none(),
        &format!("nothing within {UNASKED} s, and a SYN from inside meanwhile passes"),
        &format!("there is an answer within {UNASKED} s"),
    ))
}

/// RFC 5382 REQ-4a.
pub(crate) fn unsolicited_syn_in_silence(site: &Site) -> Outcome {
    let remote = site.outside_host()?;
    let clock = Clock::start();
    for _ in 0..3 {
        let syn = Segment { sequence: 100, syn: true, ..Segment::default() };
        remote.send(&Packet::tcp(remote.at(SERVICE), SocketAddrV4::new(EXTERNAL, site.port()), &syn));
    }
    clock.wait_millis(UNASKED * 1000 + 1500);
    site.settle()?;
    Ok(judge(
        remote.take(|_| true).is_none(),
        &format!("no answer, nor one after the {UNASKED} s"),
        "there is an answer",
    ))
}

/// RFC 5382 REQ-6: what ALGs would look at, FTP left out.
pub(crate) fn payloads_untouched(site: &Site) -> Outcome {
    // An ALG looks at the port first.
    let mut connections = [Connection::open_to(site, 554)?, Connection::open_to(site, 6667)?];
    let [rtsp, irc] = connections.each_ref().map(|connection| connection.ends().0);
    let texts = [
        format!(
            "SETUP rtsp://a RTSP/1.0\r\nTransport: RTP/AVP;unicast;client_port=5000-5001;destination={}\r\n\r\n",
            rtsp.ip()
        ),
        format!("PRIVMSG b :\u{1}DCC SEND f {} {}\u{1}\r\n", irc.ip().to_bits(), irc.port()),
    ];
    for (connection, text) in connections.iter_mut().zip(texts) {
        for by in [By::Inside, By::Outside] {
            let passed = connection.send(site, by, Flag::None, text.as_bytes())?;
            require(passed, "a payload with addresses in it does not pass unchanged")?;
        }
    }
    Ok(met("RTSP, DCC and addresses in payloads pass unchanged, both ways"))
}

/// RFC 5382 REQ-9.
pub(crate) fn unreachable(site: &Site) -> Outcome {
    let connection = Connection::open(site)?;
    let (inner, remote) = connection.hosts();
    let (seen, sent) = connection.seen_outside(site)?;
    for code in [0, 1, 2, 3, 4, 9, 10, 13] {
        let error = Packet::error(remote.address, (3, code), &seen, 8);
        let told = site.brings(remote, &error, inner, |packet| packet.icmp_kind() == Some((3, code)))?;
        let told = told.ok_or_else(|| not_met(format!("code {code} does not arrive")))?;
        let quoted =
            told.quoted().is_some_and(|quoted| (quoted.from(), quoted.to()) == (sent.from(), sent.to()));
        require(
            quoted && told.checksum_is_right(),
            &format!("code {code} arrives, but not about the host's own segment"),
        )?;
    }
    Ok(met("eight codes arrive, eight octets of TCP quoted, each about the segment as its sender sent it"))
}

/// RFC 5382 REQ-10.
pub(crate) fn errors_do_not_end_a_connection(site: &Site) -> Outcome {
    let mut connection = Connection::open(site)?;
    let (seen, _) = connection.seen_outside(site)?;
    let (inner, remote) = connection.hosts();
    let (own, to) = connection.ends();
    let inward = Packet::tcp(to, own, &Segment { sequence: 900_001, ack: true, ..Segment::default() });
    for kind in [(3, 0), (3, 1), (3, 2), (3, 3), (3, 13), (4, 0), (5, 1), (11, 0), (12, 0)] {
        remote.send(&Packet::error(remote.address, kind, &seen, 8));
        inner.send(&Packet::error(inner.address, kind, &inward, 8));
    }
    site.settle()?;
    let inward = connection.is_open_inward(site)?;
    let outward = connection.send(site, By::Inside, Flag::None, &site.token())?;
    Ok(judge(
        inward && outward,
        "nine kinds of errors from each side: data passes both ways",
        "after errors data does not pass",
    ))
}
