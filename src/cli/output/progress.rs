//! Progress of long work on standard error: moving lines on a terminal, plain lines elsewhere.
//!
//! On a terminal a block of lines, one for each piece of work in hand, is drawn over again at the
//! bottom; what is finished scrolls away above it. At most ten times a second, and never more
//! lines than the terminal has.

use std::io::{IsTerminal as _, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::clean;
use crate::base::progress::Progress;
use crate::base::size;
use crate::config::env::Env;

/// The time between two drawings.
const PAUSE: Duration = Duration::from_millis(100);

/// The progress that fits standard error.
pub fn for_standard_error(env: &Env) -> Box<dyn Progress> {
    let stderr = std::io::stderr();
    if !stderr.is_terminal() || env.text("TERM").is_none_or(|t| t == "dumb") {
        return Box::new(Plain);
    }
    // Asked each time: people change the size of their windows.
    let size = || {
        let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
        let or =
            |given: Option<u16>, default| given.filter(|n| *n > 0).map_or(default, usize::from);
        (
            or(size.map(|s| s.ws_col), 80),
            or(size.map(|s| s.ws_row), 24),
        )
    };
    Box::new(Bars::new(Box::new(stderr), Box::new(size)))
}

/// Plain lines: messages, and the end of each piece of work.
#[derive(Debug, Default)]
pub struct Plain;

impl Progress for Plain {
    fn message(&self, text: &str) {
        say(text);
    }
    fn update(&self, _key: &str, _label: &str, _done: u64, _total: u64) {}
    fn finish(&self, _key: &str, label: &str, outcome: &str) {
        say(&format!("{label} {outcome}"));
    }
}

fn say(text: &str) {
    // Nobody is left to tell when standard error fails.
    drop(std::io::stderr().write_all(format!("{}\n", clean(text)).as_bytes()));
}

/// Columns and rows of a terminal, now.
type Size = Box<dyn Fn() -> (usize, usize) + Send + Sync>;

/// Moving lines.
pub struct Bars {
    size: Size,
    state: Mutex<State>,
}

struct State {
    sink: Box<dyn Write + Send>,
    items: Vec<Item>,
    /// Widths of the lines of the block on the screen.
    drawn: Vec<usize>,
    last: Option<Instant>,
}

struct Item {
    key: String,
    label: String,
    done: u64,
    total: u64,
}

impl Bars {
    /// Draws on `sink`, a terminal of that size.
    pub fn new(sink: Box<dyn Write + Send>, size: Size) -> Self {
        Self {
            size,
            state: Mutex::new(State {
                sink,
                items: Vec::new(),
                drawn: Vec::new(),
                last: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere must not silence the progress.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws the block again, below `line` if there is one.
    fn draw(&self, state: &mut State, line: Option<&str>) {
        let mut text = String::new();
        let (columns, rows) = (self.size)();
        // A line that was drawn in a wider window takes several now.
        let up: usize = state.drawn.iter().map(|w| w.div_ceil(columns).max(1)).sum();
        if up > 0 {
            text.push_str(&format!("\x1b[{up}A\r\x1b[J"));
        }
        if let Some(line) = line {
            text.push_str(&clean(line));
            text.push('\n');
        }
        let shown = state.items.len().min(rows.saturating_sub(2).max(1));
        state.drawn.clear();
        for item in &state.items[state.items.len() - shown..] {
            let line = bar(item, columns);
            state.drawn.push(line.chars().count());
            text.push_str(&line);
            text.push('\n');
        }
        state.last = Some(Instant::now());
        // Nobody is left to tell when the terminal is gone.
        drop(
            state
                .sink
                .write_all(text.as_bytes())
                .and_then(|()| state.sink.flush()),
        );
    }
}

impl Progress for Bars {
    fn message(&self, text: &str) {
        self.draw(&mut self.state(), Some(text));
    }

    fn update(&self, key: &str, label: &str, done: u64, total: u64) {
        let mut state = self.state();
        let known = state.items.iter().position(|i| i.key == key);
        let at = known.unwrap_or_else(|| {
            state.items.push(Item {
                key: key.to_owned(),
                label: String::new(),
                done: 0,
                total: 0,
            });
            state.items.len() - 1
        });
        let item = &mut state.items[at];
        item.label = clean(label);
        (item.done, item.total) = (done, total);
        let due = state.last.is_none_or(|last| last.elapsed() >= PAUSE);
        if known.is_none() || due {
            self.draw(&mut state, None);
        }
    }

    fn finish(&self, key: &str, label: &str, outcome: &str) {
        let mut state = self.state();
        state.items.retain(|i| i.key != key);
        self.draw(&mut state, Some(&format!("{label} {outcome}")));
    }
}

/// One line, never as wide as the terminal, so that it does not wrap.
fn bar(item: &Item, columns: usize) -> String {
    let amount = match item.total {
        0 => size::human(item.done),
        total => format!("{} / {}", size::human(item.done), size::human(total)),
    };
    let room = columns.saturating_sub(1);
    let label: String = item.label.chars().take(room).collect();
    let left = room.saturating_sub(label.chars().count() + amount.chars().count() + 4);
    if item.total == 0 || left < 10 {
        let line = format!("{label} {amount}");
        return line.chars().take(room).collect();
    }
    let width = left.min(40);
    let filled =
        (u128::from(item.done.min(item.total)) * width as u128 / u128::from(item.total)) as usize;
    let tip = if filled < width { ">" } else { "" };
    format!(
        "{label} [{}{tip}{}] {amount}",
        "=".repeat(filled),
        " ".repeat(width - filled - tip.len())
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_bar_shows_how_much_is_done_and_never_wraps() {
        let item = |done, total| Item {
            key: String::new(),
            label: "blob 1234".to_owned(),
            done,
            total,
        };
        assert_eq!(
            bar(&item(500, 1000), 80),
            format!(
                "blob 1234 [{}>{}] 500B / 1kB",
                "=".repeat(20),
                " ".repeat(19)
            )
        );
        assert!(bar(&item(1000, 1000), 80).contains(&"=".repeat(40)));
        assert_eq!(bar(&item(700, 0), 80), "blob 1234 700B");
        for columns in [1, 5, 20, 30, 31, 32, 50] {
            assert!(bar(&item(5000, 1000), columns).chars().count() < columns.max(2));
        }
    }

    #[test]
    fn what_is_finished_scrolls_away_above_what_is_in_hand() {
        let screen = Screen::default();
        let bars = Bars::new(Box::new(screen.clone()), Box::new(|| (40, 10)));
        bars.message("Trying \x1b[2J");
        bars.update("a", "blob a", 0, 0);
        bars.update("b", "blob b", 0, 0);
        bars.finish("a", "blob a", "done");
        let text = String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            text,
            "Trying [2J\nblob a 0B\n\x1b[1A\r\x1b[Jblob a 0B\nblob b 0B\n\
             \x1b[2A\r\x1b[Jblob a done\nblob b 0B\n"
        );
    }

    #[test]
    fn a_window_that_shrinks_is_cleared_of_what_wraps_now() {
        let screen = Screen::default();
        let width = Arc::new(std::sync::atomic::AtomicUsize::new(40));
        let now = Arc::clone(&width);
        let size = move || (now.load(std::sync::atomic::Ordering::Relaxed), 10);
        let bars = Bars::new(Box::new(screen.clone()), Box::new(size));
        bars.update("a", "blob a", 5, 10);
        bars.update("b", "blob b", 5, 10);
        screen.0.lock().unwrap().clear();
        // 39 characters each take four lines of ten.
        width.store(10, std::sync::atomic::Ordering::Relaxed);
        bars.finish("a", "blob a", "done");
        let text = String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("\x1b[8A\r\x1b[J"), "{text:?}");
        assert!(
            text.lines().skip(1).all(|l| l.chars().count() < 10),
            "{text:?}"
        );
    }
}
