//! Answers that are written here, not passed on.

use hickory_proto::op::{Message, MessageType, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, Record};
use hickory_proto::serialize::binary::BinDecodable;

use super::answer::Answer;
use super::message::{Body, RCODE_SERVER_FAILURE};
use super::name;

/// The answer to `question` with `answers` under its name, for `ttl` seconds.
pub(crate) fn records(question: &[u8], ttl: u32, answers: Vec<RData>) -> Body {
    body(question, ResponseCode::NoError, |message, asked| {
        message.add_answers(answers.into_iter().map(|data| Record::from_rdata(asked.clone(), ttl, data)));
        Some(())
    })
}

/// That there is nothing: no such name, or no such type of it. `zone` is where it would be; the SOA is that of RFC 6303
/// section 3, so that clients remember it for `ttl` seconds.
pub(crate) fn nothing(question: &[u8], name_exists: bool, zone: &[u8], ttl: u32) -> Body {
    let rcode = if name_exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
    body(question, rcode, |message, _| {
        message.add_authority(soa(zone, ttl)?);
        Some(())
    })
}

/// The SOA of a zone of ours as an answer.
pub(crate) fn zone_itself(question: &[u8], zone: &[u8], ttl: u32) -> Body {
    body(question, ResponseCode::NoError, |message, _| {
        message.add_answer(soa(zone, ttl)?);
        Some(())
    })
}

/// Nothing but a code.
pub(crate) fn bare(question: &[u8], rcode: u8) -> Body {
    let mut octets = vec![0; super::message::HEADER];
    octets[2] = super::message::QR;
    octets[3] = rcode;
    octets[5] = 1;
    octets.extend_from_slice(question);
    Body { octets: octets.into(), ttls: Box::default() }
}

/// A name as the codec has it.
pub(crate) fn to_name(octets: &[u8]) -> Option<Name> {
    Name::from_bytes(octets).ok()
}

fn soa(zone: &[u8], ttl: u32) -> Option<Record> {
    let zone = to_name(zone)?;
    let contact = to_name(&name::from_text("nobody.invalid")?)?;
    Some(Record::from_rdata(
        zone.clone(),
        ttl,
        RData::SOA(SOA::new(zone, contact, 1, 3600, 1200, 604_800, ttl)),
    ))
}

fn body(question: &[u8], rcode: ResponseCode, fill: impl FnOnce(&mut Message, &Name) -> Option<()>) -> Body {
    let built = || {
        let asked = Question::from_bytes(question).ok()?;
        let name = asked.name().clone();
        let mut message = Message::new(0, MessageType::Response, OpCode::Query);
        message.metadata.response_code = rcode;
        message.metadata.authoritative = true;
        message.add_query(asked);
        fill(&mut message, &name)?;
        let octets = message.to_vec().ok()?;
        Answer::parse(&octets).ok().filter(|answer| answer.question() == question).map(|answer| answer.body())
    };
    built().unwrap_or_else(|| bare(question, RCODE_SERVER_FAILURE))
}
