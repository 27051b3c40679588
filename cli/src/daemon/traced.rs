//! Packets that somebody makes up, against the router as it is: each is explained in a router of its own, made of what
//! the workers read out for it.

use std::net::SocketAddrV4;

use genkan_control::api::{ErrorBody, ErrorCode, TraceAnswer, TraceQuery};
use genkan_control::request::{WorkerError, WorkerRequest};
use genkan_control::server::Reply;
use genkan_engine::router::Excerpt;
use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::{PortId, Router, Timestamp, UnixTime};

use super::changes::wall_seconds;
use super::event_loop::Daemon;
use crate::simulation::Packet;
use crate::trace::{Asked, Moment, Scene};
use crate::words::{Language, Words};

impl Daemon {
    /// Asks the workers, and has the rest done beside the event loop.
    pub(super) async fn trace(&self, query: TraceQuery, reply: Reply<TraceAnswer>) {
        let wall = wall_seconds();
        let judgement = self.hours.openings().judge(&self.loaded, wall);
        let asked = match asked(&query, &Scene::running(&self.loaded, judgement.clone(), wall)) {
            Ok(asked) => asked,
            Err(message) => {
                let _ = reply.send(Err(ErrorBody { code: ErrorCode::BadRequest, message }));
                return;
            }
        };
        let frame = asked.packet.to_frame(MacAddr::ZERO);
        let port = asked.port;
        // Not one after the other with a change of the plan between: that comes by the same event loop.
        let told = match self.excerpts(port, &frame).await {
            Ok(told) => told,
            Err(error) => {
                let refusal = ErrorBody { code: ErrorCode::WorkerUnavailable, message: error.to_string() };
                let _ = reply.send(Err(refusal));
                return;
            }
        };
        let loaded = self.loaded.clone();
        tokio::task::spawn_blocking(move || {
            let scene = Scene::running(&loaded, judgement, wall);
            let _ = reply.send(answer(&scene, &asked, wall, told));
        });
    }

    /// What all workers read out about a frame.
    async fn excerpts(
        &self,
        port: PortId,
        frame: &[u8],
    ) -> Result<Vec<(Timestamp, Box<Excerpt>)>, WorkerError> {
        let ask = async |turns_round_from: Vec<SocketAddrV4>| {
            let question = |reply| WorkerRequest::Excerpt {
                port,
                frame: frame.to_vec(),
                turns_round_from: turns_round_from.clone(),
                reply,
            };
            self.control.worker.ask_all(question).await
        };
        let told = ask(Vec::new()).await?;
        let from: Vec<_> = told.iter().flat_map(|(_, told)| told.turns_round_from()).copied().collect();
        if told.len() > 1 && !from.is_empty() { ask(from).await } else { Ok(told) }
    }
}

/// What is asked, from its words.
fn asked(query: &TraceQuery, scene: &Scene<'_>) -> Result<Question, String> {
    let TraceQuery { port, protocol, from, to, flags, icmp, language } = query;
    let asked = Asked {
        protocol: protocol.parse()?,
        from: from.parse()?,
        to: to.parse()?,
        flags: flags.as_deref().map(str::parse).transpose()?,
        icmp: icmp.as_deref().map(str::parse).transpose()?,
    };
    let language = language.as_deref().map_or(Some(Language::English), Language::of_code);
    let language = language.ok_or("language: accepted: en, ja")?;
    Ok(Question { port: scene.known_port(port)?, packet: asked.packet()?, language })
}

/// A packet, and in which language it is to be told about.
struct Question {
    port: PortId,
    packet: Packet,
    language: Language,
}

fn answer(
    scene: &Scene<'_>,
    question: &Question,
    wall: UnixTime,
    told: Vec<(Timestamp, Box<Excerpt>)>,
) -> Result<TraceAnswer, ErrorBody> {
    let now = told.iter().map(|(now, _)| *now).max().unwrap_or(Timestamp::ZERO);
    let sessions = told.iter().map(|(_, excerpt)| excerpt.sessions_in_all()).sum();
    let excerpts = told.into_iter().map(|(_, excerpt)| *excerpt).collect();
    let Some(router) = Router::of_excerpts(now, wall, excerpts) else {
        let message = "the rules have changed meanwhile: ask again".to_owned();
        return Err(ErrorBody { code: ErrorCode::WorkerUnavailable, message });
    };
    let mut moment = Moment { router, now, sessions };
    let words = Words::new(question.language);
    Ok(scene.trace_running(&mut moment, question.port, question.packet, &words).into())
}
