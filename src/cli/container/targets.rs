//! Commands with several targets: each is reported, the others go on, the exit code says the worst.

use crate::base::{Kind, Result};
use crate::cli::output::{Out, report};
use crate::operations::container::select::Target;
use crate::state::container::{Container, State};

/// Does something to every container and prints what the person typed for it.
///
/// # Errors
/// When nobody reads standard output any more; a failure of one container only changes the exit
/// code.
pub(super) fn each(
    out: &mut Out,
    targets: Vec<Target>,
    act: &mut dyn FnMut(&Container, &mut Out) -> Result<()>,
) -> Result<u8> {
    let mut worst = 0;
    for target in targets {
        let done = target.container.and_then(|c| act(&c, out));
        match done {
            Ok(()) => {
                out.line(&target.shown)?;
                out.flush()?;
            }
            Err(e) => {
                out.error(&e);
                worst = join(worst, report::exit_code(&e));
            }
        }
    }
    Ok(worst)
}

/// One code for several failures: theirs when they agree.
fn join(before: u8, code: u8) -> u8 {
    match before {
        0 => code,
        same if same == code => code,
        _ => 125,
    }
}

/// Keeps the containers in one of `states`: what `--all` means for a verb.
///
/// # Errors
/// Damaged records.
pub(super) fn in_states(targets: Vec<Target>, states: &[State]) -> Result<Vec<Target>> {
    let mut kept = Vec::new();
    for target in targets {
        let keep = match &target.container {
            Ok(container) => states.contains(&container.state()?),
            Err(e) => e.kind() != Kind::NotFound,
        };
        if keep {
            kept.push(target);
        }
    }
    Ok(kept)
}

/// Seconds as `--time` takes them: -1 waits for ever (a year will do).
pub(super) fn seconds(text: i64) -> std::time::Duration {
    std::time::Duration::from_secs(u64::try_from(text).unwrap_or(365 * 24 * 3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_that_differ_become_125() {
        assert_eq!(join(0, 1), 1);
        assert_eq!(join(1, 1), 1);
        assert_eq!(join(1, 2), 125);
        assert_eq!(join(125, 1), 125);
    }
}
