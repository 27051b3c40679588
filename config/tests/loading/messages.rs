//! What is said about mistakes, in text and in JSON.

use genkan_config::{Code, Severity};

use crate::MINIMAL;

#[test]
fn json_places_every_word() {
    let errors = genkan_config::parse(&format!("{MINIMAL}reaches = [\"*\", \"ü\"]\n"), "g.toml")
        .expect_err("a mistake");
    let json = genkan_config::json(&errors);
    let first = &json[0];
    assert_eq!(first["severity"], "error");
    assert_eq!(first["code"], "conflict");
    assert_eq!(first["file"], "g.toml");
    assert_eq!((first["line"].as_u64(), first["column"].as_u64()), (Some(8), Some(17)));
    assert_eq!(first["primary"]["end"]["column"], 20);
    assert_eq!(first["related"][0]["text"], "this one");
    assert!(first["help"][0].as_str().is_some_and(|help| help.contains("reaches")));
}

#[test]
fn a_file_that_cannot_be_read() {
    let directory = std::env::temp_dir();
    for path in [directory.join("genkan-no-such-file.toml"), directory] {
        let errors = genkan_config::load(&path).expect_err("no file");
        assert_eq!(
            (errors.len(), errors[0].code, errors[0].severity),
            (1, Code::Unreadable, Severity::Error)
        );
        let text = genkan_config::render(&errors, false);
        assert!(text.contains("cannot read"), "{text}");
        assert!(genkan_config::json(&errors)[0]["line"].is_null());
    }
}

#[test]
fn colours_only_when_asked_for() {
    let errors = genkan_config::parse("", "g.toml").expect_err("mistakes");
    assert!(!genkan_config::render(&errors, false).contains('\u{1b}'));
    assert!(genkan_config::render(&errors, true).contains('\u{1b}'));
}

#[test]
fn what_is_no_toml_at_all_ends_somewhere() {
    let text = "line of something else\n".repeat(60);
    let errors = genkan_config::parse(&text, "g.toml").expect_err("mistakes");
    assert_eq!(errors.len(), 50);
    assert_eq!(
        errors[49].notes.last().map(String::as_str),
        Some("more mistakes may follow: they are shown when these are mended")
    );
    assert!(errors[48].notes.iter().all(|note| !note.contains("follow")));
}

/// Windows line ends are neither shown nor counted.
#[test]
fn carriage_returns_stay_out_of_messages() {
    let text = MINIMAL.replace("eth1", "eth0");
    let dos = text.replace('\n', "\r\n");
    let shown = |text: &str| {
        genkan_config::render(&genkan_config::parse(text, "g.toml").expect_err("a mistake"), false)
    };
    assert_eq!(shown(&dos), shown(&text));
}

#[test]
fn one_line_form() {
    let errors = genkan_config::parse(&format!("{MINIMAL}mtu = 1\n"), "g.toml").expect_err("a mistake");
    assert_eq!(errors[0].to_string(), "g.toml:8:7: error: `lan.mtu` cannot be 1: it is too small");
}
