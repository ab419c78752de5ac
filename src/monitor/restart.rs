//! When a container or an uplink that ended is started again, and after how long. Pure.

use std::time::Duration;

use crate::state::options::RestartPolicy;

/// The first delay; it doubles with every restart in a row. man docker-run, `--restart`.
const FIRST: Duration = Duration::from_millis(100);

/// The longest delay.
const LONGEST: Duration = Duration::from_secs(60);

/// A run at least this long was a good one: the next delay is the first again.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// How often in a row an uplink is started again: for some eight minutes.
const UPLINK_TRIES: u32 = 14;

/// Delays that double, until a good run.
#[derive(Clone, Debug)]
struct Delay(Duration);

impl Delay {
    /// After a run of `ran`.
    fn next(&mut self, ran: Duration) -> Duration {
        if ran >= GOOD_RUN {
            self.0 = FIRST;
        }
        let delay = self.0;
        self.0 = (delay * 2).min(LONGEST);
        delay
    }
}

/// When an uplink that ended is started again.
#[derive(Clone, Debug)]
pub struct UplinkRestarts {
    tries: u32,
    delay: Delay,
}

impl Default for UplinkRestarts {
    fn default() -> Self {
        Self {
            tries: 0,
            delay: Delay(FIRST),
        }
    }
}

impl UplinkRestarts {
    /// It ended after `ran`, or could not be started. Answers how long to wait before the next
    /// try, `None` when there were enough in a row.
    pub fn after(&mut self, ran: Duration) -> Option<Duration> {
        if ran >= GOOD_RUN {
            self.tries = 0;
        }
        self.tries += 1;
        let delay = self.delay.next(ran);
        (self.tries <= UPLINK_TRIES).then_some(delay)
    }
}

/// Remembers what the delays depend on.
#[derive(Clone, Debug)]
pub struct Restarts {
    /// The policy; `update --restart` changes it while the container runs.
    pub policy: RestartPolicy,
    count: u32,
    delay: Delay,
}

impl Restarts {
    /// Begins with the first start.
    pub fn new(policy: RestartPolicy) -> Self {
        Self {
            policy,
            count: 0,
            delay: Delay(FIRST),
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
        self.count = self.count.saturating_add(1);
        Some(self.delay.next(ran))
    }

    /// How long a container on demand rests after a run of `ran`.
    pub fn pause(&mut self, ran: Duration) -> Duration {
        self.delay.next(ran)
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

    #[test]
    fn an_uplink_is_tried_for_minutes_and_a_good_run_begins_anew() {
        let mut restarts = UplinkRestarts::default();
        let delays: Vec<Duration> = std::iter::from_fn(|| restarts.after(SHORT)).collect();
        assert_eq!(delays.len(), UPLINK_TRIES as usize);
        assert_eq!(delays[0], FIRST);
        let all: Duration = delays.iter().sum();
        assert!(all > Duration::from_secs(300), "{all:?}");
        assert_eq!(restarts.after(GOOD_RUN), Some(FIRST));
    }
}
