//! `genkan lab demo`: what a NAT router does, shown with real sockets and the real router.

use std::net::SocketAddrV4;
use std::time::Instant;

use genkan_lab::topology::Role;
use genkan_lab::{Capture, Namespace, Options, RouterProcess, Topology};

use super::comparison::{self, Packet};
use super::hosts::{self, Knock, PATIENCE, Visitors};
use super::probe;
use super::screen::Screen;
use crate::output::{self, Exit, Failure};

const PICTURE: &str = "
        remote   198.51.100.7       somewhere on the internet
           │
          isp    203.0.113.2        your provider
           │
     ┌─────┴─────┐
     │  genkan   │ 203.0.113.1      the router, as `genkan run` runs it
     └─────┬─────┘ 192.168.0.1
           │
    ┌──────┼─────────┐              your home, 192.168.0.0/24
   nas   laptop   console
   .10    .20       .50
";

/// What the web server at the nas says.
const PAGE: &str = "Welcome to the nas!";

/// Where the web server at the nas listens.
const WEB_PORT: u16 = 8080;

/// Where the echo servers listen.
const ECHO_PORT: u16 = 7;

/// A service of the console that no rule mentions.
const GAME_PORT: u16 = 27015;

/// The actors.
struct Stage {
    lab: Topology,
    router: RouterProcess,
    remote: Namespace,
    nas: Namespace,
    laptop: Namespace,
    console: Namespace,
    screen: Screen,
}

/// Runs the demonstration, in private namespaces already.
pub(crate) fn run(fast: bool) -> Result<Exit, Failure> {
    let start = Instant::now();
    let screen = Screen::new(fast);
    output::print(&format!(
        "{}: five computers and a router, made of network namespaces.\n\
         Everything in it is real, nothing outside of it is touched, and nothing stays.\n{PICTURE}",
        screen.strong("The Genkan lab")
    ))?;
    let lab = Topology::up("lab", &Options::default())?;
    let config = super::configuration(&lab);
    let router = RouterProcess::start(
        &lab.namespace(Role::Router)?,
        &super::binary(),
        &super::directory("lab"),
        &config,
    )?;
    let mut stage = Stage {
        router,
        remote: lab.namespace(Role::Remote)?,
        nas: lab.namespace(Role::Nas)?,
        laptop: lab.namespace(Role::Laptop)?,
        console: lab.namespace(Role::Console)?,
        lab,
        screen,
    };
    stage.play(config)?;

    let (passed, all) = stage.screen.score();
    output::print(&format!(
        "\n{} in {:.1} s; the lab is gone.\n",
        stage.screen.strong(&format!("{passed} of {all} as expected")),
        start.elapsed().as_secs_f64()
    ))?;
    if passed != all {
        output::remark(&format!("the router said:\n{}", stage.router.log()));
        return Ok(Exit::No);
    }
    output::print("Sit down at one of its computers:   genkan lab shell laptop\n")?;
    Ok(Exit::Done)
}

impl Stage {
    fn play(&mut self, mut config: String) -> Result<(), Failure> {
        let page = hosts::web_server(&self.nas, WEB_PORT, PAGE)?;
        let asked = hosts::echo_server(&self.remote, ECHO_PORT)?;
        hosts::web_server(&self.console, GAME_PORT, "Welcome to the console!")?;

        self.nobody_comes_in()?;
        self.everybody_gets_out(&asked)?;
        let forward = super::web_forward(&self.lab);
        config = format!("{config}\n{forward}");
        let visit = self.open_a_port(&config, &forward, &page)?;
        self.one_packet(&visit)?;
        self.hairpin(&page)?;
        self.dmz(&config)?;
        self.ping_and_hops()
    }

    /// An endpoint at the router's external address.
    fn external(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.lab.addresses.wan, port)
    }

    fn nobody_comes_in(&mut self) -> Result<(), Failure> {
        const PORTS: [u16; 5] = [22, 80, 443, 3389, 8080];
        self.screen.step("Nobody comes in unasked")?;
        self.screen.say("remote knocks at 203.0.113.1, ports 22, 80, 443, 3389 and 8080.")?;
        let knocks = hosts::knock(&self.remote, self.lab.addresses.wan, &PORTS);
        let silent = knocks.iter().all(|knock| *knock == Knock::Silence);
        self.screen.check(
            silent,
            "Silence: from outside nobody seems to live here.",
            &format!("Got {knocks:?}."),
        )
    }

    fn everybody_gets_out(&mut self, asked: &Visitors) -> Result<(), Failure> {
        self.screen.step("Everybody inside gets out")?;
        let to = SocketAddrV4::new(self.lab.addresses.remote, ECHO_PORT);
        self.screen.say(&format!("laptop sends a datagram to {to}, which sends it back."))?;
        let own = hosts::echo(&self.laptop, to);
        let seen = asked.last();
        let found = format!("laptop: {own:?}; remote saw {seen:?}.");
        match (&own, seen) {
            (Ok(own), Some(seen)) => {
                let text = format!("The answer came. remote saw {seen}, never {own}.");
                self.screen.check(seen.ip() == self.lab.addresses.wan, &text, &found)
            }
            _ => self.screen.check(false, "The answer comes.", &found),
        }
    }

    /// Returns what passed the router's two devices meanwhile.
    fn open_a_port(&mut self, config: &str, forward: &str, page: &Visitors) -> Result<Visit, Failure> {
        self.screen.step("You open a port")?;
        self.screen.say("Four lines in the configuration, then `genkan reload`:")?;
        self.screen.quote(forward)?;
        self.reload(config)?;
        let inside = self.lab.namespace(Role::Router)?;
        let is_syn = |frame: &[u8]| Packet::from_syn(frame).is_some();
        let on_wan = Capture::start(&inside, &self.lab.wan_device, is_syn)?;
        let on_lan = Capture::start(&inside, &self.lab.lan_device, is_syn)?;
        let to = self.external(80);
        let got = hosts::fetch(&self.remote, to, PATIENCE);
        let text = format!("remote opens http://{}/ and reads: {PAGE}", to.ip());
        self.screen.check(got.as_deref().is_ok_and(|got| got == PAGE), &text, &format!("Got {got:?}."))?;
        let seen = page.last();
        let text = format!("nas saw the visitor's own address, {}.", self.lab.addresses.remote);
        let genuine = seen.is_some_and(|seen| seen.ip() == self.lab.addresses.remote);
        self.screen.check(genuine, &text, &format!("It saw {seen:?}."))?;
        let syns =
            |capture: Capture| capture.stop().iter().filter_map(|frame| Packet::from_syn(frame)).collect();
        Ok(Visit { on_wan: syns(on_wan), on_lan: syns(on_lan) })
    }

    fn one_packet(&mut self, visit: &Visit) -> Result<(), Failure> {
        self.screen.step("The first packet of that visit, before and after the router")?;
        let before = visit.on_wan.iter().find(|packet| packet.destination() == self.external(80));
        let after = before.and_then(|before| visit.on_lan.iter().find(|after| after.is_same_segment(before)));
        let (Some(before), Some(after)) = (before, after) else {
            return self.screen.check(false, "It passes both devices.", &format!("Captured: {visit:?}."));
        };
        for line in comparison::table(before, after, |text| self.screen.strong(text)) {
            self.screen.say(&line)?;
        }
        let target = SocketAddrV4::new(self.lab.addresses.nas, WEB_PORT);
        let right = after.destination() == target
            && after.source() == before.source()
            && after.is_in_order_after(before);
        self.screen.check(
            right,
            "Address and port are rewritten, the checksums with them; the rest is untouched.",
            &format!("Captured: {visit:?}."),
        )
    }

    fn hairpin(&mut self, page: &Visitors) -> Result<(), Failure> {
        self.screen.step("The same address works at home (hairpin)")?;
        let got = hosts::fetch(&self.laptop, self.external(80), PATIENCE);
        let text = "laptop opens http://203.0.113.1/ and reads the same page.";
        self.screen.check(got.as_deref().is_ok_and(|got| got == PAGE), text, &format!("Got {got:?}."))?;
        let seen = page.last();
        let text = "nas saw 203.0.113.1, so its answers take the same way back.";
        let turned = seen.is_some_and(|seen| seen.ip() == self.lab.addresses.wan);
        self.screen.check(turned, text, &format!("It saw {seen:?}."))
    }

    fn dmz(&mut self, config: &str) -> Result<(), Failure> {
        self.screen.step("A DMZ host takes what no rule takes")?;
        let rule = format!("[dmz]\nto = \"{}\"", self.lab.addresses.console);
        self.screen.quote(&rule)?;
        self.reload(&format!("{config}\n{rule}\n"))?;
        let got = hosts::fetch(&self.remote, self.external(GAME_PORT), PATIENCE);
        let text = format!("remote tries port {GAME_PORT} and reads: Welcome to the console!");
        let taken = got.as_deref().is_ok_and(|got| got == "Welcome to the console!");
        self.screen.check(taken, &text, &format!("Got {got:?}."))?;
        let got = hosts::fetch(&self.remote, self.external(80), PATIENCE);
        let text = "Port 80 still leads to the nas: forwards come first.";
        self.screen.check(got.as_deref().is_ok_and(|got| got == PAGE), text, &format!("Got {got:?}."))
    }

    fn ping_and_hops(&mut self) -> Result<(), Failure> {
        self.screen.step("Ping, and the way there")?;
        let remote = self.lab.addresses.remote;
        let round_trip = probe::ping(&self.laptop, remote);
        let text = match &round_trip {
            Ok(time) => format!("laptop pings remote: {:.2} ms.", time.as_secs_f64() * 1e3),
            Err(_) => "laptop pings remote.".to_owned(),
        };
        self.screen.check(round_trip.is_ok(), &text, &format!("Got {round_trip:?}."))?;
        let way = probe::hops(&self.laptop, remote);
        let expected = [self.lab.addresses.lan, self.lab.addresses.isp, remote];
        let text =
            format!("The way: {} (genkan), {} (isp), {} (remote).", expected[0], expected[1], expected[2]);
        self.screen.check(way.as_deref().is_ok_and(|way| way == expected), &text, &format!("Got {way:?}."))
    }

    /// Changes the running router, as its owner would.
    fn reload(&self, config: &str) -> Result<(), Failure> {
        std::fs::write(self.router.config_file(), config)?;
        let output = self.router.command(&["reload"]).output()?;
        if !output.status.success() {
            return Err(Failure::message(format!(
                "genkan reload refused:\n{}",
                String::from_utf8_lossy(&output.stderr)
            )));
        }
        Ok(())
    }
}

/// The SYNs that passed the router's devices during the visit.
#[derive(Debug)]
struct Visit {
    on_wan: Vec<Packet>,
    on_lan: Vec<Packet>,
}
