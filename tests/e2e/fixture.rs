//! The lab of one test: topology, router, hosts.

use std::cell::{Cell, RefCell};
use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use genkan_lab::topology::{Addresses, Role};
use genkan_lab::{Namespace, Options, RouterError, RouterProcess, Topology};
use nix::sys::signal::Signal;

use crate::programs::{self, Background, Said};
use crate::{outcome, setup};

/// How long something that is to happen may take. Nobody waits so long but for a failure: this is for a machine that is
/// ten times as slow and has other things to do, not a promise of the router's.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long to listen for something that is not to happen; never how long an answer may take.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

/// A forward of port 80 to the nas.
pub(crate) const WEB: &str = r#"
[[forward]]
name = "web"
protocol = "tcp"
port = 80
to = "192.168.0.10:8080"
"#;

thread_local! {
    static BACKEND: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Runs a test whose routers have this back end on every port that the test says nothing about.
pub(crate) fn with_backend<T>(word: &'static str, test: impl FnOnce() -> T) -> T {
    let before = BACKEND.replace(Some(word));
    let result = test();
    BACKEND.set(before);
    result
}

fn backend() -> Option<String> {
    BACKEND.get().map(str::to_owned).or_else(|| std::env::var("GENKAN_E2E_BACKEND").ok())
}

/// A lab with a router in it.
pub(crate) struct Lab {
    // Fields are dropped in this order: the router before the devices that it has to put back.
    captures: Vec<Background>,
    router: RefCell<Option<RouterProcess>>,
    directory: PathBuf,
    two_lans: bool,
    /// The program that is the router; `None`: the one under test.
    program: Option<PathBuf>,
    /// Who has which address.
    pub(crate) address: Addresses,
    /// The namespaces and devices.
    pub(crate) topology: Topology,
}

impl Lab {
    /// A lab with three hosts on one lan, and a router with these rules beside its `[wan]` and `[[lan]]`.
    pub(crate) fn start(rules: &str) -> Lab {
        Lab::with(&Options::default(), rules)
    }

    /// A lab of another shape. With two lans the second one is called `guests`.
    pub(crate) fn with(options: &Options, rules: &str) -> Lab {
        let mut lab = Lab::without_router(options);
        lab.capture_if_wanted();
        lab.start_router(rules).unwrap_or_else(|error| panic!("{error}"));
        lab
    }

    /// Only the wires and hosts.
    pub(crate) fn without_router(options: &Options) -> Lab {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("e2e-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let topology = Topology::up(&prefix, options).unwrap_or_else(|error| panic!("no lab: {error}"));
        let directory = PathBuf::from("/run/genkan-e2e").join(&prefix);
        fs::create_dir_all(&directory).expect("/run is ours in here");
        Lab {
            captures: Vec::new(),
            router: RefCell::new(None),
            directory,
            two_lans: options.lans == 2,
            program: None,
            address: topology.addresses.clone(),
            topology,
        }
    }

    /// The configuration of this lab's router.
    pub(crate) fn config(&self, rules: &str) -> String {
        let address = &self.address;
        let mut text = format!("[wan]\ndevice  = \"{}\"\n", self.topology.wan_device);
        // A rule set may bring further keys of [wan] on lines of their own, before its first table.
        let first_table = if rules.starts_with('[') { Some(0) } else { rules.find("\n[") };
        let (wan, rules) = rules.split_at(first_table.unwrap_or(rules.len()));
        // ... and among them another address.
        if !wan.lines().any(|line| line.starts_with("address = ")) {
            text += &format!("address = \"{}/24\"\ngateway = \"{}\"\n", address.wan, address.isp);
        }
        let backend = backend().map(|word| format!("backend = \"{word}\"\n")).unwrap_or_default();
        text += &backend;
        text += wan;
        for (name, device, lan, present) in [
            ("home", &self.topology.lan_device, address.lan, true),
            ("guests", &self.topology.lan2_device, address.lan2, self.two_lans),
        ] {
            // A rule set that describes a lan itself replaces the default.
            if present && !rules.contains(&format!("name = \"{name}\"\ndevice")) {
                text += &format!(
                    "\n[[lan]]\nname = \"{name}\"\ndevice = \"{device}\"\naddress = \"{lan}/24\"\n{backend}"
                );
            }
        }
        text += "\n";
        // A test about a back end says itself with what it goes together: AF_XDP has one worker.
        match setup::workers().filter(|_| BACKEND.get().is_none()) {
            None => text + rules,
            // Nor are there others where a test is about their number.
            Some(_) if rules.contains("\nworkers = ") => text + rules,
            Some(workers) if rules.contains("[router]\n") => {
                text + &rules.replace("[router]\n", &format!("[router]\nworkers = {workers}\n"))
            }
            Some(workers) => text + rules + &format!("\n[router]\nworkers = {workers}\n"),
        }
    }

    /// Starts the router (again).
    pub(crate) fn start_router(&self, rules: &str) -> Result<(), RouterError> {
        if setup::kernel_stands_in() {
            self.start_kernel(rules);
            return Ok(());
        }
        let namespace = self.host(Role::Router);
        let config = self.config(rules);
        let program = self.program.clone().unwrap_or_else(setup::binary);
        let router = RouterProcess::start(&namespace, &program, &self.directory, &config)?;
        *self.router.borrow_mut() = Some(router);
        Ok(())
    }

    /// Starts the router with the file as it was left.
    pub(crate) fn start_router_again(&self) -> Result<(), RouterError> {
        let config = fs::read_to_string(self.config_file()).expect("there is a file");
        let program = self.program.clone().unwrap_or_else(setup::binary);
        let router = RouterProcess::start(&self.host(Role::Router), &program, &self.directory, &config)?;
        *self.router.borrow_mut() = Some(router);
        Ok(())
    }

    /// The configuration file, also while no router runs.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.directory.join("genkan.toml")
    }

    /// Has the next router be another file of the program under test, in a folder of its own where it may be replaced.
    /// Returns its path.
    pub(crate) fn use_own_program(&mut self) -> PathBuf {
        let folder = self.directory.join("program");
        fs::create_dir_all(&folder).expect("/run is ours in here");
        let program = folder.join("genkan");
        put_program(&program);
        self.program = Some(program.clone());
        program
    }

    fn start_kernel(&self, rules: &str) {
        let rules: toml::Table = rules.parse().expect("the rules are TOML");
        let text = |table: &toml::Table, key: &str| -> String {
            match table.get(key) {
                Some(toml::Value::Integer(number)) => number.to_string(),
                Some(toml::Value::String(text)) => text.clone(),
                other => panic!("the stand-in does not know {key} = {other:?}"),
            }
        };
        let mut arguments = vec!["up".to_owned(), self.topology.prefix().to_owned()];
        for forward in rules.get("forward").and_then(toml::Value::as_array).into_iter().flatten() {
            let forward = forward.as_table().expect("a forward is a table");
            let (port, to) = (text(forward, "port"), text(forward, "to"));
            let to = if to.contains(':') { to } else { format!("{to}:{port}") };
            arguments.extend(["--forward".into(), format!("{}:{port}:{to}", text(forward, "protocol"))]);
        }
        if let Some(dmz) = rules.get("dmz").and_then(toml::Value::as_table) {
            arguments.extend(["--dmz".into(), text(dmz, "to")]);
        }
        let script = setup::root().join("netns-scripts/kernel-nat.sh");
        let status = Command::new(script).args(&arguments).status().expect("the script is there");
        assert!(status.success(), "the kernel's NAT cannot be set up");
    }

    fn capture_if_wanted(&mut self) {
        let Some(directory) = std::env::var_os("GENKAN_E2E_PCAP") else { return };
        let name = outcome::running().replace("::", "-");
        let router = self.host(Role::Router);
        for device in [self.topology.wan_device.clone(), self.topology.lan_device.clone()] {
            let file = PathBuf::from(&directory).join(format!("{name}-{device}.pcap"));
            let file = file.to_string_lossy();
            self.captures.push(Background::start(
                &router,
                "tcpdump",
                &["--immediate-mode", "-U", "-i", &device, "-w", &file],
            ));
        }
        // tcpdump says nothing that could be waited for.
        thread::sleep(Duration::from_millis(500));
    }

    /// The namespace of a host.
    pub(crate) fn host(&self, role: Role) -> Namespace {
        self.topology.namespace(role).unwrap_or_else(|error| panic!("{error}"))
    }

    /// An external endpoint.
    pub(crate) fn wan(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.address.wan, port)
    }

    /// Does something with the router's process.
    #[track_caller]
    pub(crate) fn router<T>(&self, work: impl FnOnce(&mut RouterProcess) -> T) -> T {
        work(self.router.borrow_mut().as_mut().expect("the router runs"))
    }

    /// `genkan ARGUMENTS --socket ...`, as somebody at the router types it.
    #[track_caller]
    pub(crate) fn genkan(&self, arguments: &[&str]) -> Said {
        let mut command = self.router(|router| router.command(arguments));
        Said::from(self.host(Role::Router).output(&mut command).expect("the program is there"))
    }

    /// Writes other rules to the configuration file without telling the router.
    pub(crate) fn write_rules(&self, rules: &str) {
        let file = self.router(|router| router.config_file());
        fs::write(file, self.config(rules)).expect("the file can be written");
    }

    /// Changes the rules with `genkan reload`.
    #[track_caller]
    pub(crate) fn reload(&self, rules: &str) {
        self.write_rules(rules);
        self.genkan(&["reload"]).expect_ok();
    }

    /// Kills the router without a chance to clean up.
    pub(crate) fn kill_router(&self) {
        let mut router = self.router.borrow_mut().take().expect("the router runs");
        router.signal(Signal::SIGKILL).expect("it runs");
        let status = router.wait(PATIENCE).expect("it is our child");
        assert!(status.is_some(), "the router outlived SIGKILL");
    }

    /// Ends the router properly and returns its exit code.
    pub(crate) fn stop_router(&self) -> Option<i32> {
        let mut router = self.router.borrow_mut().take().expect("the router runs");
        router.stop().expect("it is our child").and_then(|status| status.code())
    }

    /// How many packets the router dropped for this reason.
    #[track_caller]
    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        let said = self.genkan(&["counters", "--format", "json"]).expect_ok();
        let report: serde_json::Value = serde_json::from_str(&said.stdout).expect("it is JSON");
        let rows = report["drops"].as_array().expect("there are drop reasons");
        let row = rows.iter().find(|row| row["name"] == reason);
        // Reasons that never came up are left out.
        row.and_then(|row| row["value"].as_u64()).unwrap_or(0)
    }

    /// Runs a program at a host.
    #[track_caller]
    pub(crate) fn run(&self, role: Role, program: &str, arguments: &[&str]) -> Said {
        programs::run(&self.host(role), program, arguments)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking()
            && let Ok(router) = self.router.try_borrow()
            && let Some(router) = router.as_ref()
        {
            eprintln!("--- the router said\n{}", router.log());
            for listing in ["status", "counters", "sessions", "mappings"] {
                let output = self.host(Role::Router).output(&mut router.command(&[listing]));
                let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
                eprintln!("--- genkan {listing}\n{}", text.unwrap_or_default());
            }
        }
    }
}

/// Puts the program under test to another place in /run. It is large, so it is copied there once.
pub(crate) fn put_program(to: &Path) {
    static COPY: LazyLock<PathBuf> = LazyLock::new(|| {
        let copy = PathBuf::from("/run/genkan-e2e/program-under-test");
        fs::copy(setup::binary(), &copy).expect("there is room in /run");
        copy
    });
    fs::hard_link(&*COPY, to).expect("/run is ours in here");
}

/// Waits until something is so.
///
/// # Panics
/// When it is not so within [`PATIENCE`].
#[track_caller]
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
        thread::sleep(Duration::from_millis(10));
    }
}
