//! What an upstream sent, walked once: where its records are, what they hold and how long they may be kept.

use std::ops::Range;

use thiserror::Error;

use super::message::{
    Body, HEADER, QR, RCODE_NAME_ERROR, RCODE_NO_ERROR, TC, TYPE_ANY, TYPE_OPT, TYPE_SOA, skip_owner, u16_at,
    u32_at,
};
use super::name;

/// The longest that an answer is kept, in seconds, whatever its TTL (RFC 8767 section 4 leaves the choice).
pub(crate) const MAX_LIFETIME: u32 = 86_400;
/// The same for an answer that says that there is nothing (RFC 2308 section 5: one to three hours).
const MAX_NEGATIVE_LIFETIME: u32 = 10_800;

/// Octets that are no answer of ours to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Malformed {
    #[error("not a response to a standard query with one question")]
    Header,
    #[error("a name or a record runs over the end of the message")]
    Cut,
    #[error("octets behind the last record")]
    Trailing,
    #[error("an OPT record in a wrong place, or a second one")]
    Opt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Answer,
    Authority,
    Additional,
}

#[derive(Clone, Debug)]
pub(crate) struct Record {
    section: Section,
    pub(crate) kind: u16,
    /// Where its TTL is.
    ttl_at: usize,
    ttl: u32,
    /// Where its data is.
    pub(crate) data: Range<usize>,
}

/// A well-formed response. Its records are within its octets.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    octets: &'a [u8],
    question: &'a [u8],
    /// The header's and the OPT's part together.
    pub(crate) rcode: u16,
    /// Without the OPT and what stands behind it.
    pub(crate) records: Vec<Record>,
    /// Where these end.
    end: usize,
    additional: u16,
    /// Whether there is an OPT: the upstream knows EDNS.
    pub(crate) with_opt: bool,
}

impl<'a> Answer<'a> {
    /// Walks the octets. Names in data and targets of compression are passed on unread.
    ///
    /// # Errors
    /// When they are not one response with one question.
    pub(crate) fn parse(octets: &'a [u8]) -> Result<Answer<'a>, Malformed> {
        if octets.len() < HEADER || octets.len() > usize::from(u16::MAX) {
            return Err(Malformed::Header);
        }
        let count = |at| u16_at(octets, at).unwrap_or(0);
        if octets[2] & QR == 0 || octets[2] & 0x78 != 0 || count(4) != 1 {
            return Err(Malformed::Header);
        }
        let length = name::length(&octets[HEADER..]).ok_or(Malformed::Cut)?;
        let start = HEADER + length + 4;
        let question = octets.get(HEADER..start).ok_or(Malformed::Cut)?;
        let mut answer = Answer {
            octets,
            question,
            rcode: u16::from(octets[3] & 0x0f),
            records: Vec::new(),
            end: start,
            additional: 0,
            with_opt: false,
        };
        let mut at = start;
        let mut with_opt = false;
        let counts = [(Section::Answer, 6), (Section::Authority, 8), (Section::Additional, 10)];
        for (section, count) in counts.map(|(section, at)| (section, count(at))) {
            for _ in 0..count {
                let fixed = skip_owner(octets, at).ok_or(Malformed::Cut)?;
                let data = fixed + 10;
                let end = data + usize::from(u16_at(octets, fixed + 8).ok_or(Malformed::Cut)?);
                if end > octets.len() {
                    return Err(Malformed::Cut);
                }
                let kind = u16_at(octets, fixed).ok_or(Malformed::Cut)?;
                let ttl = u32_at(octets, fixed + 4).ok_or(Malformed::Cut)?;
                if kind == TYPE_OPT {
                    if section != Section::Additional || with_opt || fixed != at + 1 {
                        return Err(Malformed::Opt);
                    }
                    with_opt = true;
                    answer.rcode |= (ttl >> 24 << 4) as u16;
                } else if !with_opt {
                    answer.records.push(Record { section, kind, ttl_at: fixed + 4, ttl, data: data..end });
                    answer.additional += u16::from(section == Section::Additional);
                    answer.end = end;
                }
                at = end;
            }
        }
        answer.with_opt = with_opt;
        if at == octets.len() { Ok(answer) } else { Err(Malformed::Trailing) }
    }

    pub(crate) fn question(&self) -> &'a [u8] {
        self.question
    }

    pub(crate) fn truncated(&self) -> bool {
        self.octets[2] & TC != 0
    }

    /// The octets of a record's data.
    pub(crate) fn data(&self, record: &Record) -> &'a [u8] {
        &self.octets[record.data.clone()]
    }

    fn is_negative(&self) -> bool {
        let asked = u16_at(self.question, self.question.len() - 4).unwrap_or(0);
        let answers = |record: &Record| {
            record.section == Section::Answer && (record.kind == asked || asked == TYPE_ANY)
        };
        self.rcode == u16::from(RCODE_NAME_ERROR) || !self.records.iter().any(answers)
    }

    /// What the SOA allows a negative answer (RFC 2308 section 5), in seconds; nothing without a SOA.
    fn negative_ttl(&self) -> Option<u32> {
        let soa = self
            .records
            .iter()
            .find(|record| record.section == Section::Authority && record.kind == TYPE_SOA)?;
        // Two names of an octet at least, and five numbers of which the last is the minimum.
        let minimum = u32_at(self.data(soa), self.data(soa).len().checked_sub(4).filter(|&at| at >= 18)?)?;
        Some(minimum.min(soa.ttl))
    }

    /// For how many seconds it may be kept; 0 for what may not.
    pub(crate) fn lifetime(&self) -> u32 {
        let known = [u16::from(RCODE_NO_ERROR), u16::from(RCODE_NAME_ERROR)].contains(&self.rcode);
        if !known || self.truncated() {
            return 0;
        }
        let shortest = self.records.iter().map(|record| record.ttl).min();
        match (self.is_negative(), self.negative_ttl()) {
            (true, None) => 0,
            (true, Some(ttl)) => ttl.min(shortest.unwrap_or(0)).min(MAX_NEGATIVE_LIFETIME),
            (false, _) => shortest.unwrap_or(0).min(MAX_LIFETIME),
        }
    }

    /// The form in which it is kept and sent: without OPT; the SOA of a negative answer promises no more than it is kept
    /// for (RFC 2308 section 5).
    pub(crate) fn body(&self) -> Body {
        let mut octets: Box<[u8]> = self.octets[..self.end].into();
        octets[10..12].copy_from_slice(&self.additional.to_be_bytes());
        if let (true, Some(ttl)) = (self.is_negative(), self.negative_ttl()) {
            for soa in self.records.iter().filter(|record| record.kind == TYPE_SOA) {
                octets[soa.ttl_at..soa.ttl_at + 4].copy_from_slice(&soa.ttl.min(ttl).to_be_bytes());
            }
        }
        // Below 65,536, as the message is.
        let ttls = self.records.iter().map(|record| record.ttl_at as u16).collect();
        Body { octets, ttls }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
    const ADDRESS: &[u8] = b"\xc0\x0c\0\x01\0\x01\0\0\x01\x2c\0\x04\xc6\x33\x64\x07";

    /// A response to "a. A" with these counts and records.
    fn response(counts: [u8; 3], records: &[&[u8]]) -> Vec<u8> {
        let [answers, authorities, additionals] = counts;
        let header = [0, 9, 0x81, 0x80, 0, 1, 0, answers, 0, authorities, 0, additionals];
        [&header[..], b"\x01a\0\0\x01\0\x01", &records.concat()].concat()
    }

    #[test]
    fn the_opt_and_what_stands_behind_it_are_left_out() {
        let octets = response([1, 0, 3], &[ADDRESS, ADDRESS, OPT, ADDRESS]);
        let answer = Answer::parse(&octets).unwrap();
        assert_eq!((answer.rcode, answer.lifetime()), (0, 300));
        let body = answer.body();
        assert_eq!(*body.octets, *response([1, 0, 1], &[ADDRESS, ADDRESS]));
        assert_eq!(*body.ttls, [19 + 6, 19 + 16 + 6]);
    }

    #[test]
    fn what_runs_over_the_end_or_stops_before_it_is_no_answer() {
        let octets = response([1, 0, 1], &[ADDRESS, OPT]);
        for length in 0..octets.len() {
            assert!(Answer::parse(&octets[..length]).is_err(), "{length}");
        }
        let error = |counts, records: &[&[u8]]| Answer::parse(&response(counts, records)).err();
        assert_eq!(error([1, 0, 0], &[ADDRESS, b"x"]), Some(Malformed::Trailing));
        assert_eq!(error([0, 0, 2], &[OPT, OPT]), Some(Malformed::Opt));
        assert_eq!(error([1, 0, 0], &[OPT]), Some(Malformed::Opt));
    }

    #[test]
    fn the_opt_has_the_high_part_of_the_code() {
        let mut opt = OPT.to_vec();
        opt[5] = 1;
        assert_eq!(Answer::parse(&response([0, 0, 1], &[&opt])).unwrap().rcode, 16);
    }

    #[test]
    fn a_soa_that_is_too_short_allows_nothing() {
        let soa = |data: &[u8]| {
            let length = [0, data.len() as u8];
            let record = [&b"\0\0\x06\0\x01\0\0\x01\x2c"[..], &length, data].concat();
            Answer::parse(&response([0, 1, 0], &[&record])).unwrap().lifetime()
        };
        let mut data = [0; 22];
        data[21] = 60;
        assert_eq!(soa(&data), 60);
        assert_eq!(soa(&data[1..]), 0);
    }
}
