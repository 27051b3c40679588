//! Answers of update services: the dyndns2 return codes, one line per name, and services with words of their own.

use super::providers::Answers;
use super::reason::{Reason, Verdict, of_http_status};
use std::net::IpAddr;
use std::time::Duration;

/// Longest part of a body that is read, in octets.
const MAX_BODY: usize = 4096;
/// The return codes' own rule: not before half an hour has gone.
const HALF_AN_HOUR: Duration = Duration::from_secs(1800);

/// What an answer to an update of `names` names to `address` means for each of them, in their order.
pub(super) fn verdicts(
    answers: Answers,
    (status, retry_after, body): (u16, Option<&str>, &[u8]),
    names: usize,
    address: IpAddr,
) -> Vec<Verdict> {
    let by_status = of_http_status(status, retry_after);
    let body = &body[..body.len().min(MAX_BODY)];
    let all = |verdict| vec![verdict; names];
    match answers {
        Answers::Status => all(by_status.unwrap_or(Verdict::Good { changed: true })),
        Answers::Words(words) => all(by_status.unwrap_or_else(|| {
            let word = words.iter().find(|(word, _)| contains(body, word.as_bytes()));
            word.map_or(Verdict::retry(Reason::Unintelligible), |(_, verdict)| *verdict)
        })),
        Answers::Dyndns2 => {
            let mut lines: Vec<Verdict> = body
                .split(|&o| o == b'\n')
                .map(<[u8]>::trim_ascii)
                .filter(|line| !line.is_empty())
                .take(names)
                .map(|line| return_code(line, address).unwrap_or(Verdict::retry(Reason::Unintelligible)))
                .collect();
            // Some services send their codes with a status that says failure too; the code tells more.
            let unread = lines.iter().all(|v| *v == Verdict::retry(Reason::Unintelligible));
            if let (Some(verdict), true) = (by_status, unread) {
                return all(verdict);
            }
            let good_with_failure =
                by_status.filter(|_| lines.iter().any(|v| matches!(v, Verdict::Good { .. })));
            if let Some(verdict) = good_with_failure {
                return all(verdict);
            }
            // What concerns the account is said once; so is success by services that take several names as one.
            if lines.len() < names {
                return all(lines.first().copied().unwrap_or(Verdict::retry(Reason::Unintelligible)));
            }
            lines.truncate(names);
            lines
        }
    }
}

fn contains(body: &[u8], word: &[u8]) -> bool {
    body.windows(word.len()).any(|window| window == word)
}

fn return_code(line: &[u8], address: IpAddr) -> Option<Verdict> {
    let line = std::str::from_utf8(line).ok()?;
    let (code, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let later = |reason| Verdict::Retry { reason, floor: HALF_AN_HOUR };
    Some(match code {
        "good" | "nochg" => {
            let said: Vec<IpAddr> = rest.split([',', ' ']).filter_map(|word| word.parse().ok()).collect();
            // Updates are sent over IPv4: a service that names such an address alone has taken the sender's for the IPv6
            // one that it did not understand.
            let ours = said.iter().filter(|a| address.is_ipv6() || a.is_ipv4()).collect::<Vec<_>>();
            if said.iter().any(IpAddr::is_loopback) && !address.is_loopback() {
                // How a service says that it ignored the update of an agent that it does not like.
                Verdict::Stop(Reason::BadAgent)
            } else if !ours.is_empty() && !ours.contains(&&address) {
                Verdict::retry(Reason::OtherAddress)
            } else {
                Verdict::Good { changed: code == "good" }
            }
        }
        "badauth" => Verdict::Stop(Reason::BadAuth),
        "!donator" => Verdict::Stop(Reason::NotDonator),
        "notfqdn" => Verdict::Stop(Reason::NotFqdn),
        "nohost" => Verdict::Stop(Reason::NoHost),
        "numhost" => Verdict::Stop(Reason::NumHost),
        "abuse" => Verdict::Stop(Reason::Abuse),
        "badagent" => Verdict::Stop(Reason::BadAgent),
        "dnserr" => later(Reason::DnsErr),
        "911" => later(Reason::ServiceDown),
        _ => return None,
    })
}
