//! What the flags that have passed tell of a TCP connection (RFC 5382 §5, RFC 6146 §3.5.2, RFC 7857 §2).

use genkan_tests::lab::Flags;

/// A side of the NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Inside,
    Outside,
}

/// Facts about a connection, by [`Side`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Connection {
    syn: [bool; 2],
    fin: [bool; 2],
    reset: bool,
}

impl Connection {
    /// One that `opener` has sent a SYN for.
    pub(crate) fn opened_by(opener: Side) -> Connection {
        let mut connection = Connection::default();
        connection.syn[opener as usize] = true;
        connection
    }

    /// A segment passes.
    pub(crate) fn pass(&mut self, from: Side, flags: Flags) {
        let established = self.syn == [true; 2];
        let (syn, fin) = (flags.contains(Flags::SYN), flags.contains(Flags::FIN));
        if flags.contains(Flags::RST) {
            // Once both sides have closed there is nothing that it could shorten.
            self.reset |= !self.both_fins();
        } else if self.reset {
            // The inside goes on as if there had been no RST (RFC 7857 §2.2), if there was something to go on with.
            if from == Side::Inside && !syn && established {
                *self = Connection { syn: self.syn, fin: [fin, false], reset: false };
            }
        } else if !established {
            self.syn[from as usize] |= syn;
        } else {
            self.fin[from as usize] |= fin;
        }
    }

    /// A SYN of the other side is awaited.
    pub(crate) fn is_opening(&self) -> bool {
        self.syn != [true; 2] && !self.reset
    }

    /// Both sides have said goodbye.
    pub(crate) fn both_fins(&self) -> bool {
        self.fin == [true; 2]
    }

    /// A SYN may begin a new connection.
    pub(crate) fn is_closing(&self) -> bool {
        self.reset || self.both_fins()
    }

    /// Both sides speak, or one still may.
    pub(crate) fn is_open(&self) -> bool {
        !self.is_opening() && !self.is_closing()
    }

    /// As listings call it.
    pub(crate) fn name(&self) -> &'static str {
        match (self.syn, self.fin, self.reset) {
            ([true, true], _, true) => "reset",
            (_, _, true) => "refused",
            (_, [true, true], _) => "both-fin",
            (_, [true, false], _) => "outbound-fin",
            (_, [false, true], _) => "inbound-fin",
            ([true, true], ..) => "established",
            ([true, false], ..) => "outbound-syn",
            _ => "inbound-syn",
        }
    }
}
