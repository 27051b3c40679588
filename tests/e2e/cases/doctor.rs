//! `genkan doctor`: set-ups that are broken for real, and whether the right cause is named first.
//!
//! A set-up is broken by changing one thing of a lab in which all is well, and mended again, so that many of them need
//! one router only.

use genkan_lab::Namespace;
use genkan_lab::topology::Role::{Console, Laptop, Nas, Remote, Router};
use serde_json::Value;

use crate::cases;
use crate::fixture::{Lab, WEB};
use crate::outcome::Outcome;
use crate::programs::{Said, run};
use crate::servers::{Server, connect, greeting};

cases![
    ;
    only_genkan:
    nothing_is_wrong_where_all_is_well,
    devices_of_another_namespace_are_not_the_router_s,
    it_speaks_of_what_fails_first,
];

/// What the doctor said.
pub(super) struct Diagnosis {
    pub(super) code: Option<i32>,
    pub(super) json: Value,
}

impl Diagnosis {
    fn of(said: &Said) -> Diagnosis {
        let json = serde_json::from_str(&said.stdout);
        Diagnosis { code: said.code, json: json.unwrap_or_else(|error| panic!("{error}: {said:#?}")) }
    }

    /// The causes, the first one first.
    pub(super) fn causes(&self) -> Vec<&str> {
        let findings = self.json["findings"].as_array().expect("there are findings");
        findings.iter().map(|finding| finding["cause"].as_str().expect("each has a cause")).collect()
    }

    /// Fails the test unless this cause is named first, as one that stops packets, with what would help.
    #[track_caller]
    pub(super) fn expect(&self, cause: &str) {
        assert_eq!(self.causes().first().copied(), Some(cause), "{:#}", self.json);
        let first = &self.json["findings"][0];
        assert_eq!((self.code, &first["certain"]), (Some(1), &Value::Bool(true)), "{:#}", self.json);
        assert!(!first["remedy"].as_str().expect("a text").is_empty());
    }

    #[track_caller]
    pub(super) fn expect_nothing(&self) {
        assert_eq!((self.causes(), self.code), (vec![], Some(0)), "{:#}", self.json);
    }
}

/// The doctor, at the router.
pub(super) fn doctor(lab: &Lab, arguments: &[&str]) -> Diagnosis {
    Diagnosis::of(&lab.genkan(&[&["doctor", "--format", "json"], arguments].concat()))
}

/// The doctor, of a router that does not run.
pub(super) fn doctor_alone(lab: &Lab, arguments: &[&str]) -> Diagnosis {
    let config = lab.config_file();
    let config = config.to_str().expect("a plain path");
    let program = crate::setup::binary();
    let fixed = ["doctor", "--format", "json", "--socket", "/run/genkan-e2e/absent.sock", "--config", config];
    let arguments = [&fixed[..], arguments].concat();
    Diagnosis::of(&run(&lab.host(Router), program.to_str().expect("a plain path"), &arguments))
}

/// `ip ARGUMENTS` at a host.
#[track_caller]
pub(super) fn ip(host: &Namespace, arguments: &str) {
    run(host, "ip", &arguments.split(' ').collect::<Vec<_>>()).expect_ok();
}

/// What everyday hosts do: they use the internet by this router.
pub(super) fn go_out(lab: &Lab, role: genkan_lab::topology::Role) {
    let far = Server::tcp(&lab.host(Remote), 7);
    let to = std::net::SocketAddrV4::new(lab.address.remote, 7);
    greeting(&mut connect(&lab.host(role), to).expect("it has a way out"));
    drop(far);
}

pub(super) const GAME: &str = r#"
[[forward]]
name = "game"
protocol = "udp"
port = 5000
to = "192.168.0.50"
"#;

fn nothing_is_wrong_where_all_is_well() -> Outcome {
    for workers in ["", "[router]\nworkers = 2\n"] {
        let lab = Lab::start(&format!("{WEB}{GAME}{workers}"));
        let web = Server::tcp(&lab.host(Nas), 8080);
        let _game = Server::udp(&lab.host(Console), 5000);
        let told = doctor(&lab, &[]);
        told.expect_nothing();
        for walk in told.json["walks"].as_array().expect("there are walks") {
            let steps = walk["steps"].as_array().expect("it has steps");
            assert!(steps.iter().all(|step| step["state"] == "well"), "{walk:#}");
        }
        doctor(&lab, &["web", "--from", "192.168.0.20"]).expect_nothing();
        // What the target answered to an address of nobody has not left by the wan, and the connection was refused.
        let sessions = lab.genkan(&["sessions", "--format", "json"]).expect_ok();
        assert!(!sessions.stdout.contains("192.0.2."), "{}", sessions.stdout);
        assert!(web.seen().iter().all(|peer| *peer.ip() == lab.address.lan), "{:?}", web.seen());
        connect(&lab.host(Remote), lab.wan(80)).expect("it works indeed");
    }
    Ok(())
}

/// From another network namespace the router is asked, and the devices there are none of its business.
fn devices_of_another_namespace_are_not_the_router_s() -> Outcome {
    let lab = Lab::start(WEB);
    let _web = Server::tcp(&lab.host(Nas), 8080);
    let mut asked = lab.router(|router| router.command(&["doctor", "--format", "json"]));
    let told = Diagnosis::of(&Said::from(lab.host(Laptop).output(&mut asked).expect("the program is there")));
    told.expect_nothing();
    let devices = &told.json["walks"][0]["steps"][1];
    assert_eq!((&devices["step"], &devices["state"]), (&"devices".into(), &"unknown".into()), "{devices}");
    Ok(())
}

fn it_speaks_of_what_fails_first() -> Outcome {
    let lab = Lab::start(WEB);
    let said = lab.genkan(&["doctor", "web"]);
    assert_eq!(said.code, Some(1), "{said:#?}");
    let first = said.stdout.lines().next().unwrap_or_default();
    assert!(first.starts_with("✗ web: nothing listens at 192.168.0.10:8080 by tcp"), "{first}");
    assert!(first.contains("genkan.toml:"), "{first}");
    let mut japanese = lab.router(|router| router.command(&["doctor", "web"]));
    japanese.env("LC_ALL", "ja_JP.UTF-8");
    let said = Said::from(lab.host(Router).output(&mut japanese).expect("the program is there"));
    assert!(
        said.stdout.starts_with("✗ web: 192.168.0.10:8080 では tcp で何も待ち受けていない"),
        "{}",
        said.stdout
    );
    let said = lab.genkan(&["doctor", "nonsense"]);
    assert!(said.code == Some(2) && said.stderr.contains("there are: web"), "{said:#?}");
    Ok(())
}
