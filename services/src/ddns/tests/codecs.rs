//! STUN (RFC 8489) and the HTTP echo.

use super::server::ip;
use crate::ddns::Family;
use crate::ddns::echo::{self, EchoError};
use crate::ddns::stun::{StunError, binding_request, binding_response, nonce};
use proptest::prelude::*;

const ID: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
/// RFC 5769 §2.2.
#[rustfmt::skip]
const RESPONSE: [u8; 80] = [
    0x01, 0x01, 0x00, 0x3c,                                     // binding success, 60 octets
    0x21, 0x12, 0xa4, 0x42,                                     // magic cookie
    0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
    0x80, 0x22, 0x00, 0x0b,                                     // SOFTWARE
    0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63, 0x74, 0x6f, 0x72, 0x20,
    0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43, // XOR-MAPPED-ADDRESS
    0x00, 0x08, 0x00, 0x14,                                     // MESSAGE-INTEGRITY
    0x2b, 0x91, 0xf5, 0x99, 0xfd, 0x9e, 0x90, 0xc3, 0x8c, 0x74, 0x89, 0xf9, 0x2a, 0xf9, 0xba, 0x53, 0xf0, 0x6b,
    0xe7, 0xd7,
    0x80, 0x28, 0x00, 0x04, 0xc0, 0x7d, 0x4c, 0x96,             // FINGERPRINT
];

#[test]
fn rfc_5769_section_2_2_ipv4_response() {
    assert_eq!(binding_response(&RESPONSE, ID), Ok("192.0.2.1:32853".parse().unwrap()));
}

#[test]
fn rfc_5769_section_2_3_ipv6_response() {
    let mut response = RESPONSE[..20].to_vec();
    response[3] = 24;
    response.extend_from_slice(&[0x00, 0x20, 0x00, 0x14, 0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa]);
    response.extend_from_slice(&[0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9]);
    assert_eq!(
        binding_response(&response, ID),
        Ok("[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap())
    );
}

#[test]
fn what_is_no_response() {
    let request = binding_request(ID, &[]);
    assert_eq!((request[..8].to_vec(), request.len()), (vec![0, 1, 0, 76, 0x21, 0x12, 0xa4, 0x42], 96));
    assert_eq!(binding_response(&request, ID), Err(StunError::Malformed));
    assert_eq!(binding_response(&RESPONSE, [0; 12]), Err(StunError::OtherTransaction));
    assert_eq!(binding_response(&RESPONSE[..79], ID), Err(StunError::Malformed));
    let mut error = RESPONSE[..20].to_vec();
    error[..4].copy_from_slice(&[0x01, 0x11, 0, 8]);
    error.extend_from_slice(&[0x00, 0x09, 0x00, 0x04, 0, 0, 4, 20]);
    assert_eq!(binding_response(&error, ID), Err(StunError::Refused(420)));
    assert_eq!(nonce(&error), None);
    error[3] += 8;
    error.extend_from_slice(&[0x00, 0x15, 0x00, 0x03, b'a', b'b', b'c', 0]);
    assert_eq!(
        (binding_response(&error, ID), nonce(&error)),
        (Err(StunError::Refused(420)), Some(&b"abc"[..]))
    );
    let again = binding_request(ID, b"abc");
    assert_eq!((again.len(), &again[20..28]), (104, &error[28..36]));
    let mut unknown = RESPONSE[..20].to_vec();
    unknown[3] = 4;
    unknown.extend_from_slice(&[0x12, 0x34, 0, 0]);
    assert_eq!(binding_response(&unknown, ID), Err(StunError::UnknownAttribute(0x1234)));
    unknown[20] = 0x92;
    assert_eq!(binding_response(&unknown, ID), Err(StunError::NoAddress));
}

#[test]
fn an_echo_holds_one_public_address() {
    let page = b"<html><body>Current IP Address: 203.0.113.7</body></html>\r\n";
    let v4 = |body: &[u8]| echo::address(body, Family::V4, false);
    let v6 = |body: &[u8]| echo::address(body, Family::V6, false);
    let seven = Ok("203.0.113.7".parse().unwrap());
    assert_eq!(v4(page), seven);
    assert_eq!(v4(b"{\"ip\":\"203.0.113.7\",\"v\":1.2}"), seven);
    assert_eq!(v4(b"203.0.113.7 203.0.113.7"), seven);
    assert_eq!(v4(b"203.0.113.7 203.0.113.8"), Err(EchoError::Several));
    // Some tell both.
    let both = b"{\"v4\":\"203.0.113.7\",\"v6\":\"2001:db8::7\"}";
    assert_eq!((v4(both), v6(both)), (seven, Ok("2001:db8::7".parse().unwrap())));
    let other = Err(EchoError::OtherFamily { wanted: Family::V4, address: ip("2001:db8::7") });
    assert_eq!((v6(b"2001:db8::7\n"), v4(b"2001:db8::7\n")), (v6(both), other));
    for sentence in
        ["You are 2001:db8::7.", "IP:2001:db8::7", "address: 2001:db8::7, port 1", "is 2001:db8::7:"]
    {
        assert_eq!(v6(sentence.as_bytes()), v6(both), "{sentence}");
    }
    assert_eq!(v4(b"IP:203.0.113.7."), seven);
    assert_eq!(v6(b"2001:db8::7 2001:db8::8"), Err(EchoError::Several));
    for none in ["", "none", "192.168.0.1", "100.64.0.1", "10.0.0.1", "127.0.0.1", "fe80::1", "fd00::1", "::"]
    {
        let expected = |family| match none.parse() {
            Ok(address) if Family::of(address) == family => EchoError::NotPublic(address),
            Ok(address) => EchoError::OtherFamily { wanted: family, address },
            Err(_) => EchoError::NoAddress,
        };
        assert_eq!(v4(none.as_bytes()), Err(expected(Family::V4)), "{none}");
        assert_eq!(v6(none.as_bytes()), Err(expected(Family::V6)), "{none}");
    }
    // Within a company.
    let private = |text: &str| echo::address(text.as_bytes(), Family::of(ip(text)), true);
    for text in ["192.168.0.1", "100.64.0.1", "fd00::1"] {
        assert_eq!(private(text), Ok(ip(text)));
    }
    for text in ["0.0.0.0", "::", "fe80::1", "ff02::1"] {
        assert_eq!(private(text), Err(EchoError::NotPublic(ip(text))));
    }
    assert_eq!(v4(&[b' '; echo::MAX_BODY + 1]), Err(EchoError::TooLong));
}

proptest! {
    #[test]
    fn no_octets_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = binding_response(&body, ID);
        let _ = (echo::address(&body, Family::V4, false), echo::address(&body, Family::V6, true));
    }

    #[test]
    fn no_changed_response_panics(at in 0usize..80, value: u8, length in 0usize..81) {
        let mut response = RESPONSE;
        response[at] = value;
        let _ = binding_response(&response[..length], ID);
    }
}
