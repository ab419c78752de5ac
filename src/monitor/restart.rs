//! When a container that ended is started again, and after how long. Pure.

use std::time::Duration;

use crate::state::options::RestartPolicy;

/// The first delay; it doubles with every restart in a row. man docker-run, `--restart`.
const FIRST: Duration = Duration::from_millis(100);

/// The longest delay.
const LONGEST: Duration = Duration::from_secs(60);

/// A run at least this long was a good one: the next delay is the first again.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// Remembers what the delays depend on.
#[derive(Clone, Debug)]
pub struct Restarts {
    /// The policy; `update --restart` changes it while the container runs.
    pub policy: RestartPolicy,
    count: u32,
    delay: Duration,
}

impl Restarts {
    /// Begins with the first start.
    pub fn new(policy: RestartPolicy) -> Self {
        Self {
            policy,
            count: 0,
            delay: FIRST,
        }
    }

    /// How many restarts there were.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// A run of `ran` ended with `code`; `stopped` when somebody asked for that. Answers how long
    /// to wait before the next start, `None` when there is none.
    pub fn after(&mut self, code: i32, ran: Duration, stopped: bool) -> Option<Duration> {
        let again = !stopped
            && match self.policy {
                RestartPolicy::No => false,
                RestartPolicy::OnFailure(limit) => {
                    code != 0 && limit.is_none_or(|limit| self.count < limit)
                }
                RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            };
        if !again {
            return None;
        }
        if ran >= GOOD_RUN {
            self.delay = FIRST;
        }
        let delay = self.delay;
        self.delay = (delay * 2).min(LONGEST);
        self.count = self.count.saturating_add(1);
        Some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(5);

    #[test]
    fn policies_restart_as_documented() {
        use RestartPolicy::{Always, No, OnFailure, UnlessStopped};
        for (policy, code, stopped, again) in [
            (No, 1, false, false),
            (OnFailure(None), 0, false, false),
            (OnFailure(None), 1, false, true),
            (OnFailure(Some(0)), 1, false, false),
            (OnFailure(None), 137, true, false),
            (Always, 0, false, true),
            (Always, 0, true, false),
            (UnlessStopped, 0, false, true),
            (UnlessStopped, 0, true, false),
        ] {
            let got = Restarts::new(policy).after(code, SHORT, stopped).is_some();
            assert_eq!(got, again, "{policy:?} {code} {stopped}");
        }
    }

    #[test]
    fn on_failure_counts_its_restarts() {
        let mut restarts = Restarts::new(RestartPolicy::OnFailure(Some(2)));
        assert!(restarts.after(1, SHORT, false).is_some());
        assert!(restarts.after(1, SHORT, false).is_some());
        assert!(restarts.after(1, SHORT, false).is_none());
        assert_eq!(restarts.count(), 2);
    }

    #[test]
    fn delays_double_to_a_minute_and_a_good_run_resets_them() {
        let mut restarts = Restarts::new(RestartPolicy::Always);
        let delays: Vec<u128> = (0..12)
            .map(|_| restarts.after(1, SHORT, false).unwrap().as_millis())
            .collect();
        assert_eq!(&delays[..4], [100, 200, 400, 800]);
        assert_eq!(delays[11], 60_000);
        assert_eq!(restarts.after(0, GOOD_RUN, false), Some(FIRST));
    }
}
