//! The picture: lines of text for a width and a height, so that it comes out whole on any terminal.

use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::Paragraph;

use super::rates::Snapshot;
use super::sheet::{Sheet, scaled};
use super::state::{State, View};
use crate::output;

/// Rows of a terminal from which on blank lines keep the tables apart.
const ROOMY: usize = 20;

/// Silence of the router that is worth a word.
const SILENCE: Duration = Duration::from_secs(3);

const HELP: [&str; 11] = [
    "Tab, 1-4     overview, hosts, forwards, drops",
    "s, S         sort by the next column, by the one before",
    "r            the other way round",
    "/            show only rows with this text; Enter keeps it, Esc clears it",
    "p, space     pause, go on",
    "+, -         read less often, more often",
    "arrows, PgUp, PgDn, Home, End   scroll",
    "?, h         this help",
    "q, Ctrl-C    quit",
    "",
    "Frames: a super-frame counts once. Octets are not counted by host.",
];

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, now: Instant) {
    let area = frame.area();
    let lines = lines(state, usize::from(area.width), usize::from(area.height), now);
    frame.render_widget(Paragraph::new(Text::from(lines)), area);
}

fn lines(state: &State, width: usize, height: usize, now: Instant) -> Vec<Line<'static>> {
    if width == 0 || height == 0 {
        return Vec::new();
    }
    let mut lines = header(state, width, now);
    // A small terminal has them among the problems, when something is wrong.
    if state.view == View::Overview && !state.help && height >= ROOMY {
        lines.extend(services(state, width));
    }
    // The last line is for the keys, unless there is no other.
    let room = (height - 1).max(1);
    lines.truncate(room);
    let body = room - lines.len();
    lines.extend(if state.help { help(width) } else { tables(state, width, body, height >= ROOMY) });
    lines.truncate(room);
    lines.resize(room, Line::default());
    if height > 1 {
        lines.push(footer(state, width));
    }
    lines
}

fn header(state: &State, width: usize, now: Instant) -> Vec<Line<'static>> {
    let snapshot = &state.snapshot;
    let alarm = Style::new().bold().red();
    let pace = match state.pace.paused {
        true => "PAUSED".to_owned(),
        false => format!("every {} s", state.pace.interval.as_secs_f64()),
    };
    let first = format!("{}  {pace}  {}", title(snapshot), state.view.name());
    let first = Line::styled(
        output::cut(&first, width),
        if snapshot.forwarding { Style::new().bold() } else { alarm },
    );
    let mut lines = vec![first, Line::raw(output::cut(&totals(snapshot), width))];
    let silence = now.saturating_duration_since(state.answered);
    let trouble = match &state.trouble {
        Some(why) => Some(format!("no answer for {}: {why}", output::duration(silence.as_secs()))),
        None if !state.pace.paused && silence > SILENCE + state.pace.interval * 2 => {
            Some(format!("no answer for {}", output::duration(silence.as_secs())))
        }
        None => problems(snapshot),
    };
    lines.extend(trouble.map(|text| Line::styled(output::cut(&text, width), alarm)));
    lines
}

/// A line for each service.
fn services(state: &State, width: usize) -> impl Iterator<Item = Line<'static>> {
    state.snapshot.services.lines().into_iter().map(move |line| {
        let style = if line.is_bad { Style::new().red() } else { Style::new() };
        Line::styled(output::cut(&line.text, width), style)
    })
}

fn title(snapshot: &Snapshot) -> String {
    let state = if snapshot.forwarding { "forwarding packets" } else { "NOT forwarding packets" };
    format!("genkan {}  up {}  {state}", snapshot.version, output::duration(snapshot.uptime_seconds))
}

fn totals(snapshot: &Snapshot) -> String {
    format!(
        "{} of {} sessions  {}/s new  {} mappings  {}/s dropped",
        output::grouped(snapshot.sessions.into()),
        output::grouped(snapshot.max_sessions.into()),
        scaled(snapshot.new_sessions_per_second),
        output::grouped(snapshot.mappings.into()),
        scaled(snapshot.drops_per_second),
    )
}

fn problems(snapshot: &Snapshot) -> Option<String> {
    let first = snapshot.problems.first()?;
    Some(match snapshot.problems.len() {
        1 => format!("problem: {first}"),
        count => format!("{count} problems, see genkan status: {first}"),
    })
}

/// The sheets of the view, each with as many rows as there is room for.
fn tables(state: &State, width: usize, room: usize, is_roomy: bool) -> Vec<Line<'static>> {
    let sheets = match state.view {
        View::Overview => {
            let rest = [View::Drops, View::Forwards, View::Hosts].map(|view| state.sheet(view));
            let rest = rest.into_iter().filter(|sheet| sheet.len() > 0);
            std::iter::once(state.sheet(View::Overview)).chain(rest).collect()
        }
        view => vec![state.sheet(view)],
    };
    let gap = usize::from(is_roomy);
    let wanted: Vec<usize> = sheets.iter().map(|sheet| sheet.len().max(1) + 1 + gap).collect();
    let mut lines = Vec::new();
    for (sheet, share) in sheets.into_iter().zip(shares(&wanted, room)) {
        // A head without a row says nothing.
        let Some(rows) = share.checked_sub(1 + gap).filter(|rows| *rows > 0) else { continue };
        lines.extend(std::iter::repeat_n(Line::default(), gap));
        let skip = if state.view == View::Overview { 0 } else { state.scroll };
        let is_empty = sheet.len() == 0;
        let layout = sheet.window(skip, rows).layout(Some(width));
        lines.push(Line::styled(
            layout.head,
            Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
        ));
        lines.extend(layout.rows.into_iter().map(Line::raw));
        if is_empty {
            lines.push(Line::raw(output::cut("none", width)));
        }
    }
    lines
}

/// Divides `room` so that nobody gets more than wanted, and what one leaves goes to the others.
fn shares(wanted: &[usize], room: usize) -> Vec<usize> {
    let mut shares = vec![0; wanted.len()];
    let mut left = room;
    while left > 0 {
        let hungry: Vec<usize> = (0..wanted.len()).filter(|&index| shares[index] < wanted[index]).collect();
        let Some(count) = std::num::NonZero::new(hungry.len()) else { break };
        let each = (left / count).max(1);
        for index in hungry {
            let given = each.min(wanted[index] - shares[index]).min(left);
            shares[index] += given;
            left -= given;
        }
    }
    shares
}

fn help(width: usize) -> Vec<Line<'static>> {
    let lines = std::iter::once("").chain(HELP);
    lines.map(|line| Line::raw(output::cut(line, width))).collect()
}

fn footer(state: &State, width: usize) -> Line<'static> {
    if state.typing {
        let text = output::cut(&format!("/{}", state.filter), width.saturating_sub(1));
        return Line::from(vec![Span::raw(text), Span::styled(" ", Style::new().reversed())]);
    }
    let mut text = String::from("q quit  Tab view  / filter  p pause  ? help");
    if let Some(column) = state.sorted_by() {
        let way = if state.order(state.view).reversed { "reversed" } else { "s next" };
        text = format!("q quit  Tab view  sorted by {column} ({way})  / filter  p pause  ? help");
    }
    if !state.filter.is_empty() {
        text = format!("only '{}' (Esc: all)  {text}", state.filter);
    }
    Line::styled(output::cut(&text, width), Style::new().dim())
}

/// The same without a terminal: everything, at most `rows` rows of each kind, nothing cut.
pub(super) fn text(snapshot: &Snapshot, sheets: impl IntoIterator<Item = Sheet>, rows: usize) -> String {
    let mut text = format!("{}\n{}\n", title(snapshot), totals(snapshot));
    for problem in &snapshot.problems {
        text.push_str(&format!("problem: {problem}\n"));
    }
    for line in snapshot.services.lines() {
        text.push_str(&format!("{}\n", line.text));
    }
    for sheet in sheets.into_iter().filter(|sheet| sheet.len() > 0) {
        let layout = sheet.window(0, rows).layout(None);
        text.push_str(&format!("\n{}\n", layout.head));
        layout.rows.iter().for_each(|row| text.push_str(&format!("{row}\n")));
    }
    text
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::KeyCode;

    use super::super::fixture;
    use super::*;

    fn state() -> State {
        let (before, after) = fixture::samples();
        let mut state = State::new(Duration::from_secs(1), before);
        state.take(Ok(after));
        state
    }

    fn picture(state: &State, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal in memory");
        terminal.draw(|frame| draw(frame, state, state.answered)).expect("nothing fails in memory");
        let buffer = terminal.backend().buffer();
        let line = |row: u16| {
            let cells = (0..width).map(|column| buffer[(column, row)].symbol());
            cells.collect::<String>().trim_end().to_owned()
        };
        (0..height).map(line).collect()
    }

    #[test]
    fn the_overview_shows_everything_at_once() {
        let shown = picture(&state(), 100, 24);
        let expected = [
            "genkan 0.1.0  up 1h1m  forwarding packets  every 1 s  overview",
            "1,234 of 1,000,000 sessions  20/s new  77 mappings  5/s dropped",
            "",
            "PORT  LINK  IN BIT/S  OUT BIT/S  IN FRAMES/S  OUT FRAMES/S  LOST/S",
            "wan   up       80.0M      8.00M        10.0k         5.00k       0",
            "home  up       8.00M      80.0M        5.00k         10.0k       0",
            "",
            "DROP REASON  PER SECOND  TOTAL  WHAT IT MEANS",
            "filtered              5    110  no mapping admits the source",
        ];
        assert_eq!(shown[..9], expected, "{shown:#?}");
        assert!(shown[10].starts_with("FORWARD"), "{shown:#?}");
        assert!(shown[11].starts_with("web ") && shown[12].starts_with("玄"), "{shown:#?}");
        assert!(shown[23].starts_with("q quit"), "{shown:#?}");
    }

    #[test]
    fn services_have_lines_where_there_is_room() {
        let (before, after) = fixture::with_services();
        let mut state = State::new(Duration::from_secs(1), before);
        state.take(Ok(after));
        let shown = picture(&state, 60, 24);
        let starts = shown[2..6].iter().map(|line| line.split(' ').next().unwrap_or_default());
        assert_eq!(starts.collect::<Vec<_>>(), ["wan", "dhcp", "dns", "ddns"], "{shown:#?}");
        assert!(shown[3].ends_with('…') && shown[7].starts_with("PORT"), "{shown:#?}");
        assert!(shown.iter().any(|line| line.starts_with("HOST")), "{shown:#?}");
        let small = picture(&state, 40, 10);
        assert!(!small.iter().any(|line| line.starts_with("ddns")), "{small:#?}");
        state.press(KeyCode::Char('2').into());
        let hosts = picture(&state, 60, 24);
        assert!(hosts[3].starts_with("HOST"), "the views are theirs: {hosts:#?}");
        let sheets = View::ALL.map(|view| state.sheet(view));
        let text = text(&state.snapshot, sheets, 1);
        assert!(
            text.contains(
                "\nddns  www.example.net FAILED  home.example.net good  home.example.net (IPv6) good\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn no_size_is_too_small() {
        let mut state = state();
        for help in [false, true] {
            state.help = help;
            for view in View::ALL {
                state.view = view;
                for (width, height) in
                    [(1, 1), (2, 1), (1, 5), (5, 2), (12, 3), (40, 10), (40, 4), (300, 100)]
                {
                    let shown = picture(&state, width, height);
                    assert!(height < 10 || shown.iter().any(|line| line.len() > 5), "{shown:#?}");
                }
            }
        }
        assert!(lines(&state, 0, 0, state.answered).is_empty());
    }

    #[test]
    fn a_small_terminal_has_the_rates_and_the_way_out() {
        let shown = picture(&state(), 40, 10);
        assert!(shown[0].starts_with("genkan 0.1.0  up 1h1m"), "{shown:#?}");
        assert!(shown.iter().any(|line| line.contains("80.0M")), "{shown:#?}");
        assert!(!shown[8].starts_with("HOST"), "no head without a row: {shown:#?}");
        assert!(shown[9].starts_with("q quit"), "{shown:#?}");
    }

    #[test]
    fn one_view_has_the_whole_height_and_scrolls() {
        let mut state = state();
        for key in ['3', 'j'] {
            state.press(KeyCode::Char(key).into());
        }
        let shown = picture(&state, 80, 12);
        assert!(shown[0].ends_with("forwards") && shown[2].starts_with("FORWARD"), "{shown:#?}");
        assert!(shown[3].starts_with("玄"), "{shown:#?}");
        assert!(shown[11].contains("sorted by in bit/s"), "{shown:#?}");
    }

    #[test]
    fn trouble_and_pauses_are_plain_to_see() {
        let mut state = state();
        state.take(Err("no router answers at /run/genkan/control.sock".to_owned()));
        state.press(KeyCode::Char('p').into());
        let shown = picture(&state, 80, 24);
        assert!(shown[0].contains("PAUSED"), "{shown:#?}");
        assert!(shown[2].starts_with("no answer for 0s: no router answers at"), "{shown:#?}");
        assert!(shown.iter().any(|line| line.contains("80.0M")), "the last picture stays: {shown:#?}");
    }

    #[test]
    fn what_is_filtered_is_said() {
        let mut state = state();
        for key in "2/lap".chars() {
            state.press(KeyCode::Char(key).into());
        }
        assert_eq!(picture(&state, 80, 10)[9], "/lap");
        state.press(KeyCode::Enter.into());
        let shown = picture(&state, 80, 10);
        assert!(shown[9].starts_with("only 'lap' (Esc: all)  q quit"), "{shown:#?}");
        assert!(shown[3].starts_with("laptop") && shown[4].is_empty(), "{shown:#?}");
    }

    #[test]
    fn room_is_shared_by_need() {
        assert_eq!(shares(&[3, 100, 2], 20), [3, 15, 2]);
        assert_eq!(shares(&[5, 5], 100), [5, 5]);
        assert_eq!(shares(&[9, 9, 9], 2), [1, 1, 0]);
        assert_eq!(shares(&[], 5), [] as [usize; 0]);
    }

    #[test]
    fn without_a_terminal_everything_is_text() {
        let state = state();
        let sheets = View::ALL.map(|view| state.sheet(view));
        let text = text(&state.snapshot, sheets, 1);
        assert!(text.contains("192.168.0.10:8080") && !text.contains('…'), "{text}");
        assert!(!text.contains("192.168.0.100") && !text.contains('\u{1b}'), "one row of each: {text}");
    }
}
