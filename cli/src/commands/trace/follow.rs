//! `genkan trace --follow`: real packets of the running router, explained as they are judged.

use genkan_control::api::{ErrorCode, FollowEnd, FollowLine, FollowQuery};
use genkan_control::capture::Filter;
use genkan_control::client::{Client, ClientError};

use super::super::{block_on, interrupted};
use super::{Arguments, misuse, text};
use crate::output::{self, Exit, Failure, Format};
use crate::words::{Language, Words};

/// Does it.
pub(super) fn run(arguments: &Arguments, language: Language) -> Result<Exit, Failure> {
    if let Some(text) = &arguments.filter
        && let Err(error) = text.parse::<Filter>()
    {
        let pointed = error.pointed(text).replace('\n', "\n  ");
        return Err(misuse(format!("--match, {error}\n  {pointed}")));
    }
    let mut listener = Listener {
        format: arguments.format,
        words: Words::new(language),
        packets: 0,
        lost: 0,
        end: None,
        trouble: None,
    };
    let client = Client::new(&arguments.socket);
    let mut begins = "trace-follow-begins";
    loop {
        let query = FollowQuery {
            port: arguments.seen_at.clone(),
            filter: arguments.filter.clone(),
            count: arguments.count.map(|count| count - listener.packets),
            language: Some(language.code().to_owned()),
        };
        let ended = block_on(async {
            tokio::select! {
                ended = client.follow_packets(&query, |line| listener.take(line, begins)) => Some(ended),
                // Whoever interrupts has seen enough.
                () = interrupted() => None,
            }
        })?;
        if let Some(trouble) = listener.trouble {
            return Err(trouble);
        }
        match ended {
            None => break,
            Some(Err(ClientError::Refused(body))) if body.code == ErrorCode::BadRequest => {
                return Err(misuse(body.message));
            }
            // The other program listens already.
            Some(Err(error)) if error.is_refusal(ErrorCode::HandedOver) => continue,
            Some(ended) => ended?,
        }
        match listener.end.take() {
            Some(FollowEnd::Count) => break,
            // It may have come to that just before.
            Some(FollowEnd::HandedOver) if arguments.count == Some(listener.packets) => break,
            Some(FollowEnd::HandedOver) => begins = "trace-follow-again",
            // Also when it had no time to say so.
            Some(FollowEnd::RouterEnds) | None => {
                output::remark(&listener.words.say("trace-follow-ended", &[]));
                return Ok(Exit::No);
            }
        }
    }
    let (packets, lost) = (output::grouped(listener.packets), output::grouped(listener.lost));
    let id = if listener.lost > 0 { "trace-follow-sum-lost" } else { "trace-follow-sum" };
    output::remark(&listener.words.say(id, &[("packets", packets), ("lost", lost)]));
    Ok(Exit::Done)
}

struct Listener {
    format: Format,
    words: Words,
    packets: u64,
    lost: u64,
    end: Option<FollowEnd>,
    trouble: Option<Failure>,
}

impl Listener {
    /// Takes a line; false when there is no use in more.
    fn take(&mut self, line: FollowLine, begins: &str) -> bool {
        match &line {
            FollowLine::Following => output::remark(&self.words.say(begins, &[])),
            FollowLine::Packet(_) => self.packets += 1,
            FollowLine::Lost { packets } => self.lost += packets,
            FollowLine::End { by } => self.end = Some(*by),
        }
        if let Err(trouble) = self.print(&line) {
            self.trouble = Some(trouble);
        }
        self.trouble.is_none()
    }

    fn print(&self, line: &FollowLine) -> Result<(), Failure> {
        match (line, self.format) {
            (FollowLine::Following | FollowLine::End { .. }, _) => Ok(()),
            (line, Format::Json) => output::print(&(serde_json::to_string(line)? + "\n")),
            (FollowLine::Packet(packet), Format::Table) => {
                output::print(&format!("{}  {}\n", packet.time, text(&packet.told, &self.words)))
            }
            (FollowLine::Lost { packets }, Format::Table) => {
                let arguments = [("packets", output::grouped(*packets))];
                output::print(&format!("{}\n\n", self.words.say("trace-follow-lost", &arguments)))
            }
        }
    }
}
