//! Which addresses a name has, as a resolver tells: one question, and its answer.

use std::net::IpAddr;

use super::dns_message;
use super::dns_name::DnsName;
use super::entry::Family;

/// NOERROR.
const WELL: u16 = 0;

/// The question for the addresses of a name, with recursion (RFC 1035 section 4.1); over TCP its length goes before it
/// (section 4.2.2).
pub fn question(id: u16, name: &DnsName, family: Family) -> Vec<u8> {
    dns_message::query(id, name, dns_message::address_type(family), true)
}

/// What the answer to that says; `None` when it is no answer to it, or says that there is none.
pub fn addresses(answer: &[u8], question: &[u8]) -> Option<Vec<IpAddr>> {
    let reply = dns_message::reply(answer, question).ok().filter(|reply| reply.rcode == WELL)?;
    Some(reply.addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_addresses_of_the_name_that_was_asked_for() {
        let name = DnsName::parse("home.example.net").expect("a name");
        let question = question(0x1234, &name, Family::V4);
        // ID; RD; one question.
        assert_eq!(question[..12], [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        let mut answer = question.clone();
        // A response, RD and RA; one answer.
        (answer[2], answer[3], answer[7]) = (0x81, 0x80, 1);
        // The name by reference, A, IN, a minute, four octets.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 9]);
        assert_eq!(addresses(&answer, &question), Some(vec![IpAddr::from([203, 0, 113, 9])]));
        // AAAA in place of A.
        let of_ipv6 = super::question(0x1234, &name, Family::V6);
        assert_eq!((of_ipv6.len(), of_ipv6[of_ipv6.len() - 3]), (question.len(), 28));
        // SERVFAIL, another ID.
        let with = |at: usize, octet| {
            let mut other = answer.clone();
            other[at] = octet;
            addresses(&other, &question)
        };
        assert_eq!((with(3, 0x82), with(1, 0x35)), (None, None));
    }
}
