//! How a build is shown on standard error: a live tree on a terminal, plain lines elsewhere, JSON
//! for programs.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use super::clean;
use crate::base::{Error, Result};
use crate::config::env::Env;
use crate::operations::build::{Event, Outcome, Watch};

/// The form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Live lines at the bottom of a terminal.
    Tree,
    /// A line for each thing that happens.
    Plain,
    /// A JSON object for each thing that happens.
    Json,
    /// Nothing but errors.
    Quiet,
}

impl Form {
    /// Reads `--progress`.
    ///
    /// # Errors
    /// `Invalid` for an unknown form.
    pub fn parse(text: &str, env: &Env) -> Result<Self> {
        let terminal =
            std::io::stderr().is_terminal() && env.text("TERM").is_some_and(|t| t != "dumb");
        Ok(match text {
            "" | "auto" if terminal => Self::Tree,
            "" | "auto" | "plain" => Self::Plain,
            "tty" => Self::Tree,
            "json" | "rawjson" => Self::Json,
            "quiet" | "none" => Self::Quiet,
            other => {
                return Err(Error::invalid(format!("invalid progress {other:?}"))
                    .hint("use auto, plain, tty, json or quiet"));
            }
        })
    }
}

/// How many of a step's last lines a live tree shows.
const LINES: usize = 5;

/// A piece of output without a line end that is longer is shown as it is.
const LINE: usize = 4096;

struct Step {
    name: String,
    began: Instant,
    /// Output that has no line end yet.
    rest: Vec<u8>,
    last: Vec<String>,
}

/// Shows a build.
pub struct Show {
    form: Form,
    sink: Box<dyn Write + Send>,
    steps: BTreeMap<usize, Step>,
    began: Instant,
    drawn: usize,
    columns: usize,
    rows: usize,
    done: usize,
}

impl Show {
    /// On standard error.
    pub fn new(form: Form) -> Self {
        let stderr = std::io::stderr();
        let size = rustix::termios::tcgetwinsize(&stderr).ok();
        let or =
            |given: Option<u16>, default| given.filter(|n| *n > 0).map_or(default, usize::from);
        Self {
            columns: or(size.map(|s| s.ws_col), 80),
            rows: or(size.map(|s| s.ws_row), 24),
            ..Self::to(form, Box::new(stderr))
        }
    }

    /// On whatever a test hands in, as a terminal of 80 columns.
    pub fn to(form: Form, sink: Box<dyn Write + Send>) -> Self {
        Self {
            form,
            sink,
            steps: BTreeMap::new(),
            began: Instant::now(),
            drawn: 0,
            columns: 80,
            rows: 24,
            done: 0,
        }
    }

    fn say(&mut self, text: &str) {
        // Nobody is left to tell when standard error fails.
        drop(self.sink.write_all(text.as_bytes()));
        drop(self.sink.flush());
    }

    /// Takes the live lines away.
    pub fn clear(&mut self) {
        if self.drawn > 0 {
            let text = format!("\x1b[{}A\r\x1b[J", self.drawn);
            self.drawn = 0;
            self.say(&text);
        }
    }

    fn draw(&mut self, above: &str) {
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A\r\x1b[J", self.drawn));
        }
        text.push_str(above);
        let room = self.columns.saturating_sub(1);
        let mut lines = vec![format!(
            "[+] {} done, {} under way, {}",
            self.done,
            self.steps.len(),
            seconds(self.began.elapsed())
        )];
        for step in self.steps.values() {
            let time = seconds(step.began.elapsed());
            let left = room.saturating_sub(time.len() + 6);
            let name: String = clean(&step.name).chars().take(left).collect();
            lines.push(format!(" => {name:<left$} {time}"));
            for line in &step.last {
                lines.push(format!("    {}", line.trim_end()));
            }
        }
        lines.truncate(self.rows.saturating_sub(2).max(1));
        self.drawn = lines.len();
        for line in lines {
            text.extend(line.chars().take(room));
            text.push('\n');
        }
        self.say(&text);
    }

    fn output(&mut self, id: usize, bytes: &[u8]) {
        let Some(step) = self.steps.get_mut(&id) else {
            return;
        };
        step.rest.extend_from_slice(bytes);
        let time = step.began.elapsed();
        let mut text = String::new();
        let mut lines = Vec::new();
        while let Some(end) = step
            .rest
            .iter()
            .position(|b| *b == b'\n')
            .or_else(|| (step.rest.len() > LINE).then_some(LINE))
        {
            let rest = step.rest.split_off((end + 1).min(step.rest.len()));
            let line = std::mem::replace(&mut step.rest, rest);
            let line = String::from_utf8_lossy(&line);
            // A line that was drawn over shows its last state.
            let line = line.trim_end_matches(['\n', '\r']);
            let line = clean(line.rsplit('\r').next().unwrap_or(line));
            text.push_str(&format!("#{id} {:.3} {line}\n", time.as_secs_f64()));
            lines.push(line);
        }
        step.last.extend(lines);
        let from = step.last.len().saturating_sub(LINES);
        step.last.drain(..from);
        if self.form == Form::Plain && !text.is_empty() {
            self.say(&text);
        }
    }

    fn json(&mut self, value: &serde_json::Value) {
        self.say(&format!("{value}\n"));
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "DONE",
        Outcome::Cached => "CACHED",
        Outcome::Failed => "ERROR",
        Outcome::Canceled => "CANCELED",
    }
}

impl Watch for Show {
    fn is_live(&self) -> bool {
        self.form == Form::Tree
    }

    fn event(&mut self, event: &Event<'_>) {
        if self.form == Form::Quiet {
            return;
        }
        if self.form == Form::Json {
            let value = match event {
                Event::Begin { id, name } => json!({"event": "begin", "step": id, "name": name}),
                Event::Output { id, bytes } => {
                    json!({"event": "output", "step": id, "text": String::from_utf8_lossy(bytes)})
                }
                Event::Note { id, text } => json!({"event": "note", "step": id, "text": text}),
                Event::End { id, outcome, took } => json!({
                    "event": "end", "step": id, "outcome": word(*outcome).to_ascii_lowercase(),
                    "seconds": took.as_secs_f64(),
                }),
                Event::Warning(text) => json!({"event": "warning", "text": text}),
                Event::Tick => return,
            };
            self.json(&value);
            return;
        }
        let plain = self.form == Form::Plain;
        match event {
            Event::Begin { id, name } => {
                self.steps.insert(
                    *id,
                    Step {
                        name: (*name).to_owned(),
                        began: Instant::now(),
                        rest: Vec::new(),
                        last: Vec::new(),
                    },
                );
                match plain {
                    true => self.say(&format!("#{id} {}\n", clean(name))),
                    false => self.draw(""),
                }
            }
            Event::Output { id, bytes } => self.output(*id, bytes),
            Event::Note { id, text } => match plain {
                true => self.say(&format!("#{id} {}\n", clean(text))),
                false => self.draw(&format!("    {}\n", clean(text))),
            },
            Event::End { id, outcome, took } => {
                // What has no line end is a line all the same.
                if self.steps.get(id).is_some_and(|s| !s.rest.is_empty()) {
                    self.output(*id, b"\n");
                }
                let Some(step) = self.steps.remove(id) else {
                    return;
                };
                self.done += 1;
                let took = match outcome {
                    Outcome::Cached => String::new(),
                    _ => format!(" {}", seconds(*took)),
                };
                match plain {
                    true => self.say(&format!("#{id} {}{took}\n\n", word(*outcome))),
                    false => {
                        let mut text = String::new();
                        if *outcome == Outcome::Failed {
                            for line in &step.last {
                                text.push_str(&format!("    {line}\n"));
                            }
                        }
                        text.push_str(&format!(
                            " => {}{} {}\n",
                            match outcome {
                                Outcome::Done => "",
                                _ => word(*outcome),
                            },
                            took.trim_start(),
                            clean(&step.name)
                        ));
                        self.draw(&text);
                    }
                }
            }
            Event::Warning(text) => match plain {
                true => self.say(&format!("WARN: {}\n", clean(text))),
                false => self.draw(&format!("WARN: {}\n", clean(text))),
            },
            Event::Tick => self.draw(""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

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

    fn shown(form: Form) -> String {
        let screen = Screen::default();
        let mut show = Show::to(form, Box::new(screen.clone()));
        show.event(&Event::Begin {
            id: 1,
            name: "[a 1/1] RUN x\x1b[2J",
        });
        show.event(&Event::Output {
            id: 1,
            bytes: b"one\nover\rtwo\nhalf \x1b[31m",
        });
        show.event(&Event::End {
            id: 1,
            outcome: Outcome::Done,
            took: Duration::from_millis(1200),
        });
        show.event(&Event::Warning("w"));
        show.clear();
        let bytes = screen.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn plain_lines_have_the_step_and_no_control_characters() {
        let text = shown(Form::Plain);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "#1 [a 1/1] RUN x[2J");
        assert!(
            lines[1].ends_with(" one") && lines[2].ends_with(" two"),
            "{text}"
        );
        assert!(lines[3].ends_with(" half [31m"), "{text}");
        assert!(
            text.contains("#1 DONE 1.2s\n") && text.ends_with("WARN: w\n"),
            "{text}"
        );
    }

    #[test]
    fn a_tree_is_drawn_over_and_taken_away() {
        let text = shown(Form::Tree);
        assert!(text.contains("[+] 1 done, 0 under way"), "{text}");
        assert!(text.ends_with("\x1b[J"), "{text:?}");
        assert!(!text.contains("\x1b[31m"));
    }

    #[test]
    fn programs_get_json_and_quiet_is_quiet() {
        for line in shown(Form::Json).lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(value["event"].is_string());
        }
        assert_eq!(shown(Form::Quiet), "");
    }
}
