//! Changes to a file that a person wrote: what they change, what they leave alone, what they refuse.

use std::time::Instant;

use genkan_config::{Edit, EditError, ForwardKeys, Loaded, edit};
use proptest::prelude::*;

const FILE: &str = r#"# The club's router.
[wan]   # the fibre
device = "eth0"
address = "203.0.113.1/24"

[[lan]]
name    = "home"   # aligned by hand
device  = "eth1"
address = "192.168.0.1/24"

# ------------------------------ forwards
# one paragraph about all of them

# The web server.
[[forward]]
name = "web"
protocol = "tcp"   # no QUIC
port = 80
to = "192.168.0.10:8080"

# The game of the week.
[[forward]]
name = "game"
protocol = ["tcp", "udp"]
port = "10000-10010"
enabled = true     # on weekends
to = "192.168.0.20"
# ask before closing it

# ------------------------------ the rest
[nat]
hairpin = true
# the end
"#;

fn keys(port: &str) -> ForwardKeys {
    ForwardKeys {
        protocols: Some(vec!["tcp".to_owned()]),
        ports: Some(vec![port.to_owned()]),
        to: Some("192.168.0.30".to_owned()),
        ..ForwardKeys::default()
    }
}

fn forward(name: &str, port: &str) -> Edit {
    Edit::AddForward { name: name.to_owned(), keys: keys(port) }
}

fn change(name: &str, keys: ForwardKeys) -> Edit {
    Edit::ChangeForward { name: name.to_owned(), keys }
}

fn enable(name: &str, enabled: bool) -> Edit {
    change(name, ForwardKeys { enabled: Some(enabled), ..ForwardKeys::default() })
}

#[track_caller]
fn edited(text: &str, change: &Edit) -> Loaded {
    edit(text, "genkan.toml", change).unwrap_or_else(|error| panic!("{error}"))
}

fn text(loaded: &Loaded) -> &str {
    loaded.places.file.text()
}

/// Lines that went and lines that came, in order.
#[track_caller]
fn lines(before: &str, after: &str) -> (Vec<String>, Vec<String>) {
    let gone = before.lines().filter(|line| !after.lines().any(|other| other == *line));
    let new = after.lines().filter(|line| !before.lines().any(|other| other == *line));
    (gone.map(str::to_owned).collect(), new.map(str::to_owned).collect())
}

#[test]
fn a_forward_is_written_behind_the_others() {
    let full = ForwardKeys {
        protocols: Some(vec!["tcp".to_owned(), "udp".to_owned()]),
        ports: Some(vec!["22".to_owned(), "100-110".to_owned()]),
        address: Some(Some("203.0.113.1".to_owned())),
        from: Some(vec!["198.51.100.0/24".to_owned()]),
        enabled: Some(false),
        expires: Some(Some("2030-01-01T00:00:00Z".to_owned())),
        temporary: Some(true),
        schedule: Some(Some("Mon-Fri 18:00-23:00".to_owned())),
        max_sessions: Some(Some(50)),
        max_new_per_source: Some(Some("20/min".to_owned())),
        log: Some(true),
        ..keys("")
    };
    let after = edited(FILE, &Edit::AddForward { name: "we \"quote\"".to_owned(), keys: full });
    let expected = "\n[[forward]]\nname = 'we \"quote\"'\nprotocol = [\"tcp\", \"udp\"]\nport = [22, \"100-110\"]\n\
        to = \"192.168.0.30\"\naddress = \"203.0.113.1\"\nfrom = [\"198.51.100.0/24\"]\nenabled = false\n\
        expires = 2030-01-01T00:00:00Z\ntemporary = true\nschedule = \"Mon-Fri 18:00-23:00\"\nmax_sessions = 50\n\
        max_new_per_source = \"20/min\"\nlog = true\n";
    let at = text(&after).find(expected).unwrap_or_else(|| panic!("{}", text(&after)));
    assert_eq!(text(&after).replacen(expected, "", 1), FILE);
    assert!(text(&after)[..at].contains("name = \"game\"") && text(&after)[at..].contains("[nat]"));
    assert_eq!(after.plan.forwards.len(), 3);
    assert!(after.config.temporary.contains("we \"quote\""));
}

#[test]
fn a_forward_goes_with_its_own_comment_only() {
    let after = edited(FILE, &Edit::RemoveForward { name: "game".to_owned() });
    let (gone, new) = lines(FILE, text(&after));
    assert!(new.is_empty(), "{new:?}");
    assert!(gone.contains(&"# The game of the week.".to_owned()), "{gone:?}");
    assert!(
        text(&after).contains("# ask before closing it\n\n# ------------------------------ the rest\n[nat]")
    );
    assert!(text(&after).ends_with("# the end\n"));

    // What stands above the first one may be about all.
    let after = edited(FILE, &Edit::RemoveForward { name: "web".to_owned() });
    let (gone, _) = lines(FILE, text(&after));
    assert_eq!(
        gone,
        ["name = \"web\"", "protocol = \"tcp\"   # no QUIC", "port = 80", "to = \"192.168.0.10:8080\""]
    );
    let both = Edit::RemoveExpired { names: vec!["web".into(), "game".into(), "never was".into()] };
    let after = edited(FILE, &both);
    assert!(after.plan.forwards.is_empty());
    assert!(text(&after).contains("# one paragraph about all of them\n"), "{}", text(&after));
}

#[test]
fn values_change_in_their_place() {
    let after = edited(FILE, &enable("game", false));
    assert_eq!(text(&after), FILE.replace("enabled = true     # on", "enabled = false     # on"));
    assert_eq!(text(&edited(text(&after), &enable("game", true))), FILE);
    let after = edited(FILE, &enable("web", false));
    assert_eq!(text(&after), FILE.replace(":8080\"\n", ":8080\"\nenabled = false\n"));
    let on = enable("web", true);
    assert_eq!(text(&edited(FILE, &on)), FILE);
    assert_eq!(text(&edited(text(&after), &on)), FILE.replace(":8080\"\n", ":8080\"\nenabled = true\n"));

    let until = |expires| change("web", ForwardKeys { expires: Some(expires), ..ForwardKeys::default() });
    let after = edited(FILE, &until(Some("2030-01-01T00:00:00Z".to_owned())));
    assert_eq!(text(&after), FILE.replace(":8080\"\n", ":8080\"\nexpires = 2030-01-01T00:00:00Z\n"));
    assert_eq!(text(&edited(text(&after), &until(None))), FILE);
    let tomorrow = edit(FILE, "genkan.toml", &until(Some("tomorrow".to_owned()))).expect_err("no date");
    assert!(tomorrow.to_string().contains("such as 2026-12-31T23:59:59Z"), "{tomorrow}");
}

#[test]
fn every_key_can_change_and_go() {
    let all = ForwardKeys {
        protocols: Some(vec!["udp".to_owned()]),
        ports: Some(vec!["81".to_owned()]),
        to: Some("192.168.0.11".to_owned()),
        address: Some(Some("203.0.113.1".to_owned())),
        from: Some(vec!["198.51.100.0/24".to_owned()]),
        schedule: Some(Some("daily 00:00-24:00".to_owned())),
        max_sessions: Some(Some(5)),
        max_new_per_source: Some(Some("1/s".to_owned())),
        log: Some(true),
        ..ForwardKeys::default()
    };
    let after = edited(FILE, &change("web", all));
    let expected = "name = \"web\"\nprotocol = \"udp\"   # no QUIC\nport = 81\nto = \"192.168.0.11\"\n\
        address = \"203.0.113.1\"\nfrom = [\"198.51.100.0/24\"]\nschedule = \"daily 00:00-24:00\"\n\
        max_sessions = 5\nmax_new_per_source = \"1/s\"\nlog = true\n\n";
    assert!(text(&after).contains(expected), "{}", text(&after));
    let away = ForwardKeys {
        protocols: Some(vec!["tcp".to_owned()]),
        ports: Some(vec!["80".to_owned()]),
        to: Some("192.168.0.10:8080".to_owned()),
        address: Some(None),
        from: Some(Vec::new()),
        schedule: Some(None),
        max_sessions: Some(None),
        max_new_per_source: Some(None),
        log: Some(false),
        ..ForwardKeys::default()
    };
    let back = edited(text(&after), &change("web", away));
    assert_eq!(text(&back), FILE.replace(":8080\"\n", ":8080\"\nlog = false\n"));
}

#[test]
fn the_dmz_comes_and_goes() {
    let to = |host: &str| Edit::SetDmz { to: host.to_owned() };
    let set = edited(FILE, &to("192.168.0.50"));
    assert_eq!(set.plan.dmz, Some([192, 168, 0, 50].into()));
    assert_eq!(text(&set).replacen("\n[dmz]\nto = \"192.168.0.50\"\n", "", 1), FILE);
    let commented =
        text(&set).replace("[dmz]\nto = \"192.168.0.50\"", "# big box\n[dmz]\nto = \"192.168.0.50\" # hers");
    let moved = edited(&commented, &to("192.168.0.51"));
    assert_eq!(text(&moved), commented.replace("0.50", "0.51"));
    let cleared = edited(&commented, &Edit::ClearDmz);
    assert_eq!(cleared.plan.dmz, None);
    assert!(text(&cleared).contains("# big box"));
    assert_eq!(text(&edited(FILE, &Edit::ClearDmz)), FILE);
}

#[test]
fn other_ways_to_write_a_file() {
    let inline = "wan = { device = \"eth0\", address = \"203.0.113.1/24\" }\n\
        lan = [{ device = \"eth1\", address = \"192.168.0.1/24\" }]\n\
        forward = [{ name = \"web\", protocol = \"tcp\", port = 80, to = \"192.168.0.10\" }]\n";
    let after = edited(inline, &forward("more", "81"));
    assert_eq!(after.plan.forwards.len(), 2);
    let after = edited(text(&after), &enable("more", false));
    assert!(!after.plan.forwards[1].enabled);
    let after = edited(text(&after), &Edit::RemoveForward { name: "web".into() });
    assert_eq!(after.plan.forwards[0].name, "more");

    let windows = FILE.replace('\n', "\r\n");
    let after = edited(&windows, &forward("more", "81"));
    assert_eq!(text(&after).matches('\n').count(), text(&after).matches("\r\n").count());
    let after = edited(text(&after), &Edit::RemoveForward { name: "more".into() });
    assert_eq!(text(&after), windows);

    // Without a line end at the end, and without any forward yet.
    let bare = "[wan]\ndevice = \"eth0\"\naddress = \"203.0.113.1/24\"\n[[lan]]\ndevice = \"eth1\"\naddress = \"192.168.0.1/24\"";
    let after = edited(bare, &forward("web", "80"));
    assert!(text(&after).starts_with(bare) && after.plan.forwards.len() == 1);
}

const LIST: &str = r#"forward = [
  # the web
  { name = "web", protocol = "tcp", port = 80, to = "192.168.0.10" }, # open since May
  # the shell
  { name = "ssh", protocol = "tcp", port = 22, to = "192.168.0.10" }, # ask her
  { name = "dns", protocol = "udp", port = 53, to = "192.168.0.10" }, # the last
  # more of them here
]
wan = { device = "eth0", address = "203.0.113.1/24" }
lan = [{ device = "eth1", address = "192.168.0.1/24" }]
"#;

#[test]
fn a_list_keeps_its_lines_and_their_comments() {
    let remove = |name: &str| edited(LIST, &Edit::RemoveForward { name: name.to_owned() });
    let without = |lines: &[&str]| {
        let is_left = |line: &&str| !lines.iter().any(|gone| line.contains(gone));
        LIST.lines().filter(is_left).map(|line| format!("{line}\n")).collect::<String>()
    };
    assert_eq!(text(&remove("web")), without(&["# the web", "\"web\""]));
    assert_eq!(text(&remove("ssh")), without(&["# the shell", "\"ssh\""]));
    assert_eq!(text(&remove("dns")), without(&["\"dns\""]));

    let added = edited(LIST, &forward("more", "81"));
    let line = "  { name = \"more\", protocol = \"tcp\", port = 81, to = \"192.168.0.30\" },\n";
    assert_eq!(text(&added), LIST.replace("# the last\n", &format!("# the last\n{line}")));
    let back = edited(text(&added), &Edit::RemoveForward { name: "more".to_owned() });
    assert_eq!(text(&back), LIST);

    let off = edited(LIST, &enable("ssh", false));
    let enabled = "port = 22, to = \"192.168.0.10\", enabled = false }, # ask her";
    assert_eq!(text(&off), LIST.replace("port = 22, to = \"192.168.0.10\" }, # ask her", enabled));

    // However it is written, what is left can be read.
    for list in
        [LIST.to_owned(), LIST.replace("]\nwan", "  ]\nwan").replace(" }, # the last\n", " } # the last\n")]
    {
        let lists = [list.clone(), list.replace('\n', "\r\n")];
        for list in lists {
            for order in [["web", "ssh", "dns"], ["dns", "ssh", "web"], ["ssh", "dns", "web"]] {
                let mut left = list.clone();
                for name in order {
                    left = text(&edited(&left, &Edit::RemoveForward { name: name.to_owned() })).to_owned();
                }
                let added = edited(&left, &forward("more", "81"));
                assert_eq!(added.plan.forwards.len(), 1, "{}", text(&added));
            }
        }
    }
}

#[test]
fn refusals_name_what_was_meant() {
    let error = |change: &Edit| edit(FILE, "genkan.toml", change).expect_err("refused");
    let missing = error(&Edit::RemoveForward { name: "gmae".into() });
    assert!(matches!(&missing, EditError::NotFound { suggestion: Some(guess), .. } if guess == "game"));
    assert!(missing.to_string().contains("did you mean `game`?"), "{missing}");
    let taken = error(&forward("web", "81"));
    assert_eq!(taken, EditError::Exists { name: "web".into() });
    let EditError::Refused(diagnostics) = error(&forward("bad", "99999")) else {
        panic!("the port is none");
    };
    let line = diagnostics[0].position().expect("it points at the new text").line;
    assert_eq!(diagnostics[0].file.line(line), "port = 99999");
    let unknown = error(&Edit::SetDmz { to: "printer".into() });
    assert!(unknown.to_string().contains("no such `[[host]]`"), "{unknown}");
    assert!(
        matches!(edit("[wan", "x", &Edit::ClearDmz), Err(EditError::Refused(found)) if !found.is_empty())
    );
}

#[test]
fn ten_thousand_forwards_are_quick() {
    let mut file = FILE.to_owned();
    for index in 0..10_000u32 {
        let (port, host) = (20_000 + index, index % 200 + 10);
        file += &format!(
            "[[forward]]\nname = \"f{index}\"\nprotocol = \"udp\"\nport = {port}\nto = \"192.168.0.{host}\"\n"
        );
    }
    let started = Instant::now();
    let after = edited(&file, &Edit::RemoveForward { name: "f5000".into() });
    assert_eq!(after.plan.forwards.len(), 10_001);
    // Without optimisation, on a busy machine; a release build takes a fortieth of it.
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}

proptest! {
    /// Whatever is asked for, the outcome is a good file that has it, or a refusal; never a panic or a silent change.
    #[test]
    fn any_text_is_written_or_refused(name in "\\PC{0,12}|[a-z]{1,6}", port in "[0-9]{1,5}|\\PC{0,6}", to in "\\PC{0,8}|192\\.168\\.0\\.[0-9]{1,2}") {
        let wanted = ForwardKeys { to: Some(to), ..keys(&port) };
        match edit(FILE, "genkan.toml", &Edit::AddForward { name: name.clone(), keys: wanted }) {
            Ok(loaded) => {
                prop_assert_eq!(&loaded.plan.forwards[2].name, &name);
                let back = edited(text(&loaded), &Edit::RemoveForward { name });
                prop_assert_eq!(text(&back), FILE);
            }
            Err(EditError::Refused(diagnostics)) => prop_assert!(!diagnostics.is_empty()),
            Err(EditError::Exists { .. }) => prop_assert!(name == "web" || name == "game"),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
