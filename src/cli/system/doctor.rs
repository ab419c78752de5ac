//! `system doctor`, `doctor`.

use serde_json::json;

use super::super::output::Out;
use crate::base::{Error, Result};
use crate::operations::doctor::{self, Grade, Step};
use crate::operations::session::Session;

/// Check this machine by doing what containers need
///
/// Makes namespaces, maps ids, mounts each storage driver, starts a container of the built-in
/// image, connects a network and publishes a port on the loopback. Names each finding, what it
/// costs and the one command that mends it. The exit code is 0 when containers run, 1 when not.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
    /// Do one step in this process
    #[arg(long, hide = true)]
    step: Option<String>,
}

/// Runs `doctor`; answers 1 when containers do not run.
///
/// # Errors
/// Only when nothing can be examined at all.
pub fn run(args: DoctorArgs, session: &mut Session, out: &mut Out) -> Result<u8> {
    if let Some(word) = &args.step {
        let step = Step::parse(word)
            .ok_or_else(|| Error::invalid(format!("doctor has no step {word:?}")))?;
        out.json(&json!(doctor::perform(session, step)))?;
        return Ok(0);
    }
    let report = doctor::examine(session)?;
    if args.json {
        out.json(&json!({
            "ok": report.is_good(),
            "findings": report.findings,
        }))?;
    } else {
        for f in &report.findings {
            let mark = match f.grade {
                Grade::Ok => "ok  ",
                Grade::Warn => "warn",
                Grade::Fail => "FAIL",
            };
            out.line(format!(
                "{mark}  {:<16} {}",
                f.name,
                super::super::output::clean(&f.found)
            ))?;
            if let Some(costs) = &f.costs {
                out.line(format!("{:>22} costs: {costs}", ""))?;
            }
            if let Some(mend) = &f.mend {
                out.line(format!("{:>22} mend:  {mend}", ""))?;
            }
        }
        let (warn, fail) = (report.count(Grade::Warn), report.count(Grade::Fail));
        out.line(match (fail, warn) {
            (0, 0) => "\nContainers run here, and nothing is missing.".to_owned(),
            (0, n) => format!("\nContainers run here; {n} thing(s) could be better."),
            (n, _) => format!("\nContainers do not run here: {n} thing(s) to mend."),
        })?;
    }
    Ok(u8::from(!report.is_good()))
}
