//! `POST /containers/{id}/wait`.
//!
//! The journal tells: also of a container that is gone the moment it ends, and of one that was started,
//! ended and started again. The header goes out as soon as nothing can be missed any more.

use serde_json::json;

use super::Cx;
use super::conn::{Conn, gone};
use crate::base::{Error, Kind, Result};
use crate::events::Filter;
use crate::operations::container::summary::Summary;
use crate::operations::events::{EventsOptions, events};
use crate::state::container::Container;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    NotRunning,
    NextExit,
    Removed,
}

impl Condition {
    fn parse(text: Option<&str>) -> Result<Self> {
        Ok(match text.unwrap_or("not-running") {
            "" | "not-running" | "stopped" | "exited" => Self::NotRunning,
            "next-exit" => Self::NextExit,
            "removed" => Self::Removed,
            other => return Err(Error::invalid(format!("invalid condition: {other:?}"))),
        })
    }
}

/// Waits and answers.
///
/// # Errors
/// `Invalid` for another condition; what the journal says.
pub fn wait(cx: &Cx<'_>, conn: &mut Conn, container: Container) -> Result<()> {
    let condition = Condition::parse(cx.head.value("condition"))?;
    let id = container.id().to_string();
    let options = EventsOptions {
        filter: Filter::parse(&[format!("container={id}")])?,
        stream: true,
    };
    cx.line.may_be_cut();
    let mut code = None;
    let mut done = false;
    let watched = events(cx.session, &options, &mut |event| {
        match event {
            Some(event) if event.id != id => {}
            Some(event) => match event.action.as_str() {
                "died" => {
                    code = Some(event.exit_code.unwrap_or(0));
                    done = condition != Condition::Removed;
                }
                "remove" => done = true,
                _ => {}
            },
            // All that happened is read, and what happens will be.
            None if !conn.has_begun() => {
                conn.begin_stream(200, &[("Content-Type", "application/json")])?;
                let state = container.state()?;
                let gone = !container.dir().exists();
                if gone || (condition == Condition::NotRunning && !state.is_active()) {
                    let last = Summary::of(container.clone()).map(|s| s.exit_code());
                    code = code.or(last.ok());
                    done = true;
                }
            }
            None => {}
        }
        match done {
            true => Err(Error::new(Kind::Interrupted, "done")),
            false => Ok(()),
        }
    });
    if !done {
        watched?;
    }
    if !conn.has_begun() {
        conn.begin_stream(200, &[("Content-Type", "application/json")])?;
    }
    let code = code.unwrap_or(0);
    let answer = match cx.libpod {
        true => json!(code),
        false => json!({"StatusCode": code}),
    };
    let text = format!("{answer}\n");
    std::io::Write::write_all(conn, text.as_bytes()).map_err(gone)?;
    conn.finish()
}
