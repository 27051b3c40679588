//! From words to steps.

use std::iter::Peekable;
use std::net::Ipv4Addr;
use std::vec::IntoIter;

use super::words::{Word, words};
use super::{FilterError, MAX_PRIMITIVES, Named, Primitive, Side, Step, What};

const TERM: &str =
    "ip, ip6, arp, tcp, udp, icmp, src, dst, host, net, port, portrange, an address, `not`, `(`";
const AFTER_TERM: &str = "`and`, `or`, `)`, or the end";
const VALUE_TYPE: &str = "host, net, port, portrange, or an address";
const ADDRESS: &str = "an IPv4 address such as 192.168.0.10";
const NET: &str = "an address with a prefix length such as 192.168.0.0/24, without bits behind the prefix";
const PORT: &str = "a port from 0 to 65535";
const PORT_RANGE: &str = "a range such as 6000-6010";

/// What a value alone takes over from the one before it.
type Kind = (Option<Named>, Side, Type);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Host,
    Net,
    Port,
    PortRange,
}

struct Parser {
    words: Peekable<IntoIter<Word>>,
    /// Where the text ends, for what is missing there.
    end: Word,
    steps: Vec<Step>,
    primitives: usize,
    open: usize,
    before: Option<Kind>,
}

pub(super) fn parse(text: &str) -> Result<Vec<Step>, FilterError> {
    let words = words(text)?;
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let end = Word { text: String::new(), at: text.chars().count() + 1 };
    let mut parser = Parser {
        words: words.into_iter().peekable(),
        end,
        steps: Vec::new(),
        primitives: 0,
        open: 0,
        before: None,
    };
    parser.filter()?;
    match parser.words.next() {
        None => Ok(parser.steps),
        Some(word) => Err(word.error(format!("`{}` does not follow here", word.text), AFTER_TERM)),
    }
}

impl Parser {
    /// The next word's text, nothing at the end.
    fn ahead(&mut self) -> &str {
        self.words.peek().map_or("", |word| word.text.as_str())
    }

    fn next(&mut self) -> Word {
        self.words.next().unwrap_or_else(|| self.end.clone())
    }

    /// Takes the next word if it is one of these.
    fn take(&mut self, texts: &[&str]) -> Option<Word> {
        self.words.next_if(|word| texts.contains(&word.text.as_str()))
    }

    fn filter(&mut self) -> Result<(), FilterError> {
        self.term()?;
        loop {
            let step = match self.ahead() {
                "and" | "&&" => Step::And,
                "or" | "||" => Step::Or,
                _ => return Ok(()),
            };
            self.next();
            self.term()?;
            self.steps.push(step);
        }
    }

    fn term(&mut self) -> Result<(), FilterError> {
        let mut turned = false;
        while self.take(&["not", "!"]).is_some() {
            turned = !turned;
        }
        if let Some(parenthesis) = self.take(&["("]) {
            self.open += 1;
            if self.open > MAX_PRIMITIVES {
                return Err(parenthesis.error("too many parentheses within each other", "64 of them"));
            }
            self.filter()?;
            let close = self.next();
            if close.text != ")" {
                let problem = format!("the `(` of character {} is not closed", parenthesis.at);
                return Err(close.error(problem, "`and`, `or`, or `)`"));
            }
            self.open -= 1;
        } else {
            self.primitive()?;
        }
        if turned {
            self.steps.push(Step::Not);
        }
        Ok(())
    }

    fn primitive(&mut self) -> Result<(), FilterError> {
        if self.words.peek().is_some_and(Word::is_value) {
            let kind = self.before.unwrap_or((None, Side::Either, Type::Host));
            return self.value(kind);
        }
        let start = self.words.peek().unwrap_or(&self.end).clone();
        let protocol = self.protocol();
        let side = self.side()?;
        let word = self.words.peek().unwrap_or(&self.end).clone();
        let kind = match word.text.as_str() {
            "host" => Some(Type::Host),
            "net" => Some(Type::Net),
            "port" => Some(Type::Port),
            "portrange" => Some(Type::PortRange),
            _ => None,
        };
        match kind {
            Some(kind) => {
                self.next();
                check(protocol, kind, &word)?;
                self.value((protocol, side.unwrap_or(Side::Either), kind))
            }
            None if side.is_some() || (protocol.is_some() && word.is_value()) => {
                if !word.is_value() {
                    return Err(word.error(missing(&word), VALUE_TYPE));
                }
                check(protocol, Type::Host, &word)?;
                self.value((protocol, side.unwrap_or(Side::Either), Type::Host))
            }
            None if protocol.is_some() => {
                // A value alone after it is a host, as at the beginning.
                self.before = None;
                self.push(&start, Primitive { protocol, side: Side::Either, what: What::Anything })
            }
            None => Err(word.error(missing(&word), TERM)),
        }
    }

    fn protocol(&mut self) -> Option<Named> {
        let known = [Named::Ip, Named::Ip6, Named::Arp, Named::Tcp, Named::Udp, Named::Icmp];
        let found = known.into_iter().find(|named| self.ahead() == named.name())?;
        self.next();
        Some(found)
    }

    fn side(&mut self) -> Result<Option<Side>, FilterError> {
        let side = match self.ahead() {
            "src" => Side::Source,
            "dst" => Side::Destination,
            _ => return Ok(None),
        };
        self.next();
        let other = if side == Side::Source { "dst" } else { "src" };
        let both = match self.ahead() {
            "or" | "||" => Side::Either,
            "and" | "&&" => Side::Both,
            _ => return Ok(Some(side)),
        };
        self.next();
        let word = self.next();
        match word.text == other {
            true => Ok(Some(both)),
            false if other == "dst" => Err(word.error(missing(&word), "`dst`, after `src and` or `src or`")),
            false => Err(word.error(missing(&word), "`src`, after `dst and` or `dst or`")),
        }
    }

    fn value(&mut self, (protocol, side, kind): Kind) -> Result<(), FilterError> {
        let word = self.next();
        let what = match kind {
            Type::Host => word.text.parse().ok().map(|host: Ipv4Addr| What::Net(host.to_bits(), u32::MAX)),
            Type::Net => net(&word.text),
            Type::Port => word.text.parse().ok().map(|port| What::Ports(port, port)),
            Type::PortRange => word.text.split_once('-').and_then(|(first, last)| {
                let (first, last) = (first.parse().ok()?, last.parse().ok()?);
                (first <= last).then_some(What::Ports(first, last))
            }),
        };
        let Some(what) = what else {
            let accepted = match kind {
                Type::Host => ADDRESS,
                Type::Net => NET,
                Type::Port => PORT,
                Type::PortRange => PORT_RANGE,
            };
            return Err(word.error(missing(&word), accepted));
        };
        self.before = Some((protocol, side, kind));
        self.push(&word, Primitive { protocol, side, what })
    }

    fn push(&mut self, word: &Word, primitive: Primitive) -> Result<(), FilterError> {
        self.primitives += 1;
        if self.primitives > MAX_PRIMITIVES {
            return Err(word.error("the filter asks too much", "64 hosts, nets, ports and protocols"));
        }
        self.steps.push(Step::Test(primitive));
        Ok(())
    }
}

/// What is wrong with a word that cannot stand where it does.
fn missing(word: &Word) -> String {
    match word.text.as_str() {
        "" => "the filter ends too early".to_owned(),
        text => format!("`{text}` is not understood here"),
    }
}

/// What goes together is what libpcap takes.
fn check(protocol: Option<Named>, kind: Type, word: &Word) -> Result<(), FilterError> {
    match (protocol, kind) {
        (Some(protocol @ (Named::Tcp | Named::Udp | Named::Icmp)), Type::Host | Type::Net) => {
            let problem = format!("`{protocol}` says nothing about addresses");
            Err(word.error(problem, "`and` between the two, as in `tcp and host 192.168.0.10`"))
        }
        (Some(protocol @ (Named::Arp | Named::Icmp)), Type::Port | Type::PortRange) => {
            Err(word.error(format!("`{protocol}` has no ports"), "`tcp`, `udp` or `ip` before a port"))
        }
        (Some(Named::Ip6), _) => {
            Err(word.error("IPv6 is not looked into", "`ip6` alone, for all frames of IPv6"))
        }
        _ => Ok(()),
    }
}

fn net(text: &str) -> Option<What> {
    let (address, length) = text.split_once('/')?;
    let (address, length): (Ipv4Addr, u32) = (address.parse().ok()?, length.parse().ok()?);
    let mask = if length == 0 { 0 } else { u32::MAX.checked_shl(32u32.checked_sub(length)?)? };
    (address.to_bits() & !mask == 0).then_some(What::Net(address.to_bits(), mask))
}
