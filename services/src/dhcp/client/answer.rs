//! What a server says.

use std::time::Duration;

use dhcproto::v4::MessageType;
use genkan_engine::Timestamp;

use super::machine::back_off;
use super::message::Reply;
use super::{Client, Exchange, Ignored, Lease, Lost, State};

impl Client {
    /// A datagram that came to UDP port 68, by broadcast or to whatever address. Until an address is bound, servers
    /// send to the offered one.
    ///
    /// # Errors
    /// Why it was no answer; then nothing has changed.
    pub fn handle_datagram(&mut self, now: Timestamp, octets: &[u8]) -> Result<(), Ignored> {
        self.advance(now);
        let exchange = match &self.state {
            State::Selecting(exchange) | State::Renewing(exchange) | State::Rebinding(exchange) => *exchange,
            State::Requesting { exchange, .. } | State::Rebooting { exchange, .. } => *exchange,
            State::Idle | State::Init | State::Probing { .. } | State::Bound => {
                return Err(Ignored::NotExpected);
            }
        };
        let reply = Reply::decode(octets, exchange.xid, &self.identity)?;
        match (&self.state, reply.kind) {
            (State::Selecting(_), MessageType::Offer) => self.offered(exchange, &reply),
            (State::Selecting(_), _) => Err(Ignored::MessageType),
            (_, MessageType::Ack) => self.acknowledged(exchange, &reply),
            (_, MessageType::Nak) => self.refused(&reply),
            _ => Err(Ignored::MessageType),
        }
    }

    fn offered(&mut self, exchange: Exchange, reply: &Reply) -> Result<(), Ignored> {
        if exchange.sent < 2 && self.broken == Some(reply.server) {
            return Err(Ignored::BrokenPromise);
        }
        let offer = Lease::from_reply(self.now, reply, self.now, &mut self.rng)?;
        if offer.is_too_short() {
            return Err(Ignored::LeaseTime);
        }
        let exchange = Exchange { sent_at: self.now, sent: 0, ..exchange };
        self.state = State::Requesting { exchange, offer };
        self.repeat();
        Ok(())
    }

    fn acknowledged(&mut self, exchange: Exchange, reply: &Reply) -> Result<(), Ignored> {
        let requested = match &self.state {
            State::Requesting { offer, .. } if offer.server != reply.server => {
                return Err(Ignored::OtherServer);
            }
            State::Requesting { offer, .. } => Some(offer.address()),
            State::Rebooting { address, .. } => Some(*address),
            _ => self.held.as_ref().map(Lease::address),
        };
        if requested != Some(reply.address) {
            return Err(Ignored::OtherAddress);
        }
        let lease = Lease::from_reply(self.now, reply, exchange.sent_at, &mut self.rng)?;
        match self.state {
            State::Requesting { .. } if lease.is_too_short() => return Err(Ignored::LeaseTime),
            // However short: it may be the rest of the lease, whose end the server leaves as it is.
            State::Renewing(_) | State::Rebinding(_) => self.take(lease),
            _ => self.probe(lease, true),
        }
        Ok(())
    }

    fn refused(&mut self, reply: &Reply) -> Result<(), Ignored> {
        let (asked, address) = match &self.state {
            State::Requesting { offer, .. } => (Some(offer.server), Some(offer.address())),
            State::Renewing(_) => {
                (self.held.as_ref().map(|lease| lease.server), self.held.as_ref().map(Lease::address))
            }
            State::Rebooting { address, .. } => (None, Some(*address)),
            _ => (None, self.held.as_ref().map(Lease::address)),
        };
        if asked.is_some_and(|server| server != reply.server) {
            return Err(Ignored::OtherServer);
        }
        let wait = match self.state {
            // A server that offers and refuses in turn would otherwise be asked as fast as it answers.
            State::Requesting { .. } => {
                self.broken = Some(reply.server);
                let wait = back_off(self.naks);
                self.naks = self.naks.saturating_add(1);
                self.about(wait)
            }
            _ => Duration::ZERO,
        };
        if self.held.as_ref().map(Lease::address) == address {
            self.lose(Lost::Refused);
        }
        self.remembered = None;
        self.hint = None;
        self.init(wait);
        Ok(())
    }
}
