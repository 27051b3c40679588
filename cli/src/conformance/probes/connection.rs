//! A TCP connection, segment by segment.

use std::net::SocketAddrV4;

use crate::conformance::finding::{Finding, require};
use crate::conformance::packet::{Packet, Segment};
use crate::conformance::site::{SERVICE, Site};
use crate::conformance::wire::Host;

/// One end of a connection: where it is, whom it sees, what it sends next.
struct End {
    host: Host,
    own: SocketAddrV4,
    peer: SocketAddrV4,
    next: u32,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Inside,
    Outside,
}

/// Flags of a segment, beside ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    None,
    Fin,
    Rst,
}

/// A connection between an inside and an outside host.
pub(crate) struct Connection {
    inside: End,
    outside: End,
}

impl Connection {
    /// A SYN from inside, and no answer yet.
    pub(crate) fn half_open(site: &Site) -> Result<Connection, Finding> {
        Connection::half_open_to(site, SERVICE)
    }

    fn half_open_to(site: &Site, port: u16) -> Result<Connection, Finding> {
        let (inner, remote) = (site.inside_host()?, site.outside_host()?);
        let (own, to) = (inner.at(site.port()), remote.at(port));
        let (sequence, answer) = (1_000, 900_000);
        let syn = Packet::tcp(own, to, &Segment { sequence, syn: true, ..Segment::default() });
        let seen = site.pass_out(&inner, &syn, &remote)?;
        Ok(Connection {
            inside: End { host: inner, own, peer: to, next: sequence + 1 },
            outside: End { host: remote, own: to, peer: seen.from(), next: answer },
        })
    }

    /// An established connection.
    pub(crate) fn open(site: &Site) -> Result<Connection, Finding> {
        Connection::open_to(site, SERVICE)
    }

    /// An established connection to a port of the outside host.
    pub(crate) fn open_to(site: &Site, port: u16) -> Result<Connection, Finding> {
        let mut connection = Connection::half_open_to(site, port)?;
        require(connection.answer(site)?, "the answer to a SYN does not get in")?;
        require(
            connection.send(site, By::Inside, Flag::None, b"")?,
            "the end of the handshake does not get out",
        )?;
        Ok(connection)
    }

    /// The SYN and ACK from outside; whether it arrives.
    pub(crate) fn answer(&mut self, site: &Site) -> Result<bool, Finding> {
        let segment = Segment {
            sequence: self.outside.next,
            acknowledgment: self.inside.next,
            syn: true,
            ack: true,
            ..Segment::default()
        };
        let packet = Packet::tcp(self.outside.own, self.outside.peer, &segment);
        self.outside.next += 1;
        Ok(site.tried(&self.outside.host, &packet, &self.inside.host)?.is_some())
    }

    /// Sends a segment that acknowledges everything, and whether it arrives.
    pub(crate) fn send(&mut self, site: &Site, by: By, flag: Flag, data: &[u8]) -> Result<bool, Finding> {
        let (from, to) = match by {
            By::Inside => (&mut self.inside, &self.outside),
            By::Outside => (&mut self.outside, &self.inside),
        };
        let segment = Segment {
            sequence: from.next,
            acknowledgment: if flag == Flag::Rst { 0 } else { to.next },
            syn: false,
            ack: flag != Flag::Rst,
            fin: flag == Flag::Fin,
            rst: flag == Flag::Rst,
            data: data.to_vec(),
        };
        from.next += u32::try_from(data.len()).unwrap_or(0) + u32::from(flag == Flag::Fin);
        let packet = Packet::tcp(from.own, from.peer, &segment);
        let seen = site.tried(&from.host, &packet, &to.host)?;
        Ok(seen.is_some_and(|seen| seen.checksum_is_right() && (seen.from(), seen.to()) == (to.peer, to.own)))
    }

    /// Data from outside; whether it arrives.
    pub(crate) fn is_open_inward(&mut self, site: &Site) -> Result<bool, Finding> {
        let data = site.token();
        self.send(site, By::Outside, Flag::None, &data)
    }

    /// Both sides close, and acknowledge that.
    pub(crate) fn close(&mut self, site: &Site) -> Result<(), Finding> {
        let steps = [(By::Inside, Flag::Fin), (By::Outside, Flag::Fin), (By::Inside, Flag::None)];
        for (by, flag) in steps {
            require(self.send(site, by, flag, b"")?, "a FIN, or the answer to it, does not pass")?;
        }
        Ok(())
    }

    /// The last segment once more, as a host sends it that has not seen the answer to its FIN; whether it arrives.
    pub(crate) fn repeats_fin(&mut self, site: &Site) -> Result<bool, Finding> {
        self.outside.next -= 1;
        self.send(site, By::Outside, Flag::Fin, b"")
    }

    /// What the outside host sees of a segment from inside with nothing in it, to quote it in an error, and what the
    /// inside host sent.
    pub(crate) fn seen_outside(&self, site: &Site) -> Result<(Packet, Packet), Finding> {
        let segment = Segment {
            sequence: self.inside.next,
            acknowledgment: self.outside.next,
            ack: true,
            ..Segment::default()
        };
        let sent = Packet::tcp(self.inside.own, self.inside.peer, &segment);
        Ok((site.pass_out(&self.inside.host, &sent, &self.outside.host)?, sent))
    }

    /// Its hosts, the inside one first.
    pub(crate) fn hosts(&self) -> (&Host, &Host) {
        (&self.inside.host, &self.outside.host)
    }

    /// The two ends as the inside host knows them.
    pub(crate) fn ends(&self) -> (SocketAddrV4, SocketAddrV4) {
        (self.inside.own, self.inside.peer)
    }
}
