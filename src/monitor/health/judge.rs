//! What follows from the results of checks: state, next check, what is done. Pure.
//!
//! man podman-run, `--health-*`; Docker's reference of HEALTHCHECK. Where the two disagree:
//! docs/decisions/0018-health-checks.md.

use std::time::Duration;

use crate::state::health::{CheckResult, Checks, Health, HealthRecord, OnFailure, Probe};

/// What is to be done with the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// SIGKILL.
    Kill,
    /// Stop it, and start it again.
    Restart,
    /// Stop it.
    Stop,
}

/// The checks of one run.
#[derive(Clone, Debug)]
pub struct Judge {
    checks: Checks,
    /// What is known.
    pub record: HealthRecord,
    /// Successes and failures in a row of the startup check; `None` once it is over.
    startup: Option<(u32, u32)>,
}

/// What a result means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The state is another one than before.
    pub changed: bool,
    /// What is to be done.
    pub action: Option<Action>,
}

impl Judge {
    /// A run that begins.
    pub fn new(checks: Checks) -> Self {
        Self {
            startup: checks.startup.as_ref().map(|_| (0, 0)),
            checks,
            record: HealthRecord::default(),
        }
    }

    /// Other checks from now on; what is known stays.
    pub fn change(&mut self, checks: Checks) {
        if checks.startup.is_none() || self.record.status != Health::Starting {
            self.startup = None;
        }
        self.checks = checks;
    }

    /// The checks.
    pub fn checks(&self) -> &Checks {
        &self.checks
    }

    /// What is looked at next, and for how long.
    pub fn next(&self) -> (&Probe, Duration) {
        match (&self.checks.startup, self.startup) {
            (Some(startup), Some(_)) => (&startup.probe, startup.timeout),
            _ => (&self.checks.probe, self.checks.timeout),
        }
    }

    /// How long to wait for the first check; `None`: on demand only.
    pub fn first(&self) -> Option<Duration> {
        self.pause(Duration::ZERO).map(|_| Duration::ZERO)
    }

    /// How long to wait between a check that ended so long after the start and the next one;
    /// `None`: on demand only.
    pub fn pause(&self, since_start: Duration) -> Option<Duration> {
        let usual = self.checks.interval;
        match (&self.checks.startup, self.startup) {
            (Some(startup), Some(_)) => usual.map(|_| startup.interval),
            _ if self.may_still_start(since_start) => usual.map(|_| self.checks.start_interval),
            _ => usual,
        }
    }

    fn may_still_start(&self, since_start: Duration) -> bool {
        self.record.status == Health::Starting && since_start < self.checks.start_period
    }

    /// Takes up the result of a check that began so long after the start.
    pub fn take(&mut self, mut result: CheckResult, since_start: Duration) -> Verdict {
        let before = self.record.status;
        let good = result.exit_code == 0;
        let mut action = None;
        match (&self.checks.startup, self.startup) {
            (Some(startup), Some((_, failures))) if !good => {
                let failures = failures + 1;
                self.startup = Some((0, failures));
                if startup.retries > 0 && failures >= startup.retries {
                    action = Some(Action::Restart);
                }
            }
            (Some(startup), Some((successes, failures))) => {
                let successes = successes + 1;
                self.startup = (successes < startup.success).then_some((successes, failures));
                if self.startup.is_none() {
                    self.record.status = Health::Healthy;
                    self.record.failing_streak = 0;
                }
            }
            _ if good => {
                self.record.status = Health::Healthy;
                self.record.failing_streak = 0;
            }
            _ if self.may_still_start(since_start) => {}
            _ => {
                self.record.failing_streak = self.record.failing_streak.saturating_add(1);
                if self.record.failing_streak >= self.checks.retries {
                    self.record.status = Health::Unhealthy;
                }
            }
        }
        let changed = before != self.record.status;
        if changed && self.record.status == Health::Unhealthy {
            action = match self.checks.on_failure {
                OnFailure::None => None,
                OnFailure::Kill => Some(Action::Kill),
                OnFailure::Restart => Some(Action::Restart),
                OnFailure::Stop => Some(Action::Stop),
            };
        }
        let size = self.checks.max_log_size as usize;
        if size > 0
            && let Some((end, _)) = result.output.char_indices().nth(size)
        {
            result.output.truncate(end);
        }
        self.record.log.push(result);
        let count = self.checks.max_log_count as usize;
        // Without a limit the record still has one: a reader refuses files that are too large.
        let count = if count == 0 { KEPT } else { count.min(KEPT) };
        let surplus = self.record.log.len().saturating_sub(count);
        self.record.log.drain(..surplus);
        let bytes = |r: &HealthRecord| r.log.iter().map(|l| l.output.len()).sum::<usize>();
        while bytes(&self.record) > BYTES && self.record.log.len() > 1 {
            self.record.log.remove(0);
        }
        Verdict { changed, action }
    }
}

/// No record has more results, or more bytes of output, whatever was asked for.
const KEPT: usize = 1000;
/// See [`KEPT`].
const BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Timestamp;
    use crate::state::health::{LogDestination, Startup};

    const SECOND: Duration = Duration::from_secs(1);

    fn checks() -> Checks {
        Checks {
            probe: Probe::Exec(vec!["main".into()]),
            interval: Some(30 * SECOND),
            timeout: 30 * SECOND,
            start_period: Duration::ZERO,
            start_interval: 5 * SECOND,
            retries: 3,
            startup: None,
            on_failure: OnFailure::None,
            log: LogDestination::Local,
            max_log_count: 5,
            max_log_size: 4,
        }
    }

    fn result(exit_code: i32) -> CheckResult {
        CheckResult {
            start: Timestamp(0),
            end: Timestamp(1),
            exit_code,
            output: "täglich".into(),
        }
    }

    #[test]
    fn it_is_unhealthy_after_so_many_failures_and_healthy_after_one_success() {
        let mut judge = Judge::new(checks());
        assert_eq!(judge.record.status, Health::Starting);
        assert_eq!(judge.first(), Some(Duration::ZERO));
        for _ in 0..2 {
            let verdict = judge.take(result(1), SECOND);
            assert_eq!(
                (verdict.changed, judge.record.status),
                (false, Health::Starting)
            );
        }
        assert!(judge.take(result(2), SECOND).changed);
        assert_eq!(
            (judge.record.status, judge.record.failing_streak),
            (Health::Unhealthy, 3)
        );
        assert!(!judge.take(result(-1), SECOND).changed);
        assert_eq!(judge.record.failing_streak, 4);
        assert!(judge.take(result(0), SECOND).changed);
        assert_eq!(
            (judge.record.status, judge.record.failing_streak),
            (Health::Healthy, 0)
        );
        assert_eq!(judge.pause(SECOND), Some(30 * SECOND));
    }

    #[test]
    fn failures_while_it_starts_do_not_count_until_the_first_success() {
        let mut judge = Judge::new(Checks {
            start_period: 10 * SECOND,
            retries: 1,
            ..checks()
        });
        judge.take(result(1), 9 * SECOND);
        assert_eq!(
            (judge.record.status, judge.record.failing_streak),
            (Health::Starting, 0)
        );
        assert_eq!(judge.pause(9 * SECOND), Some(5 * SECOND));
        assert_eq!(judge.pause(10 * SECOND), Some(30 * SECOND));
        let mut late = judge.clone();
        late.take(result(1), 10 * SECOND);
        assert_eq!(late.record.status, Health::Unhealthy);
        judge.take(result(0), 2 * SECOND);
        judge.take(result(1), 3 * SECOND);
        assert_eq!(judge.record.status, Health::Unhealthy);
    }

    #[test]
    fn the_startup_check_comes_first_and_may_start_the_container_anew() {
        let mut judge = Judge::new(Checks {
            startup: Some(Startup {
                probe: Probe::Exec(vec!["first".into()]),
                interval: 2 * SECOND,
                timeout: 3 * SECOND,
                retries: 2,
                success: 2,
            }),
            ..checks()
        });
        let program = |judge: &Judge| match judge.next().0 {
            Probe::Exec(words) => words[0].clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(judge.take(result(1), SECOND).action, None);
        assert_eq!(judge.pause(SECOND), Some(2 * SECOND));
        assert_eq!(judge.take(result(1), SECOND).action, Some(Action::Restart));
        judge.take(result(0), SECOND);
        assert_eq!(
            (program(&judge).as_str(), judge.next().1),
            ("first", 3 * SECOND)
        );
        assert!(judge.take(result(0), SECOND).changed);
        assert_eq!(program(&judge), "main");
        assert_eq!(judge.record.status, Health::Healthy);
    }

    #[test]
    fn turning_unhealthy_acts_once() {
        for (on_failure, action) in [
            (OnFailure::Kill, Some(Action::Kill)),
            (OnFailure::Restart, Some(Action::Restart)),
            (OnFailure::Stop, Some(Action::Stop)),
            (OnFailure::None, None),
        ] {
            let mut judge = Judge::new(Checks {
                on_failure,
                retries: 1,
                ..checks()
            });
            assert_eq!(judge.take(result(1), SECOND).action, action);
            assert_eq!(judge.take(result(1), SECOND).action, None);
        }
    }

    #[test]
    fn the_log_keeps_so_many_results_of_so_many_characters() {
        let mut judge = Judge::new(checks());
        for n in 0..9 {
            judge.take(result(n), SECOND);
        }
        assert_eq!(judge.record.log.len(), 5);
        assert_eq!(judge.record.log[0].exit_code, 4);
        assert_eq!(judge.record.log[0].output, "tägl");
        let mut judge = Judge::new(Checks {
            max_log_count: 0,
            max_log_size: 0,
            ..checks()
        });
        for n in 0..2000 {
            judge.take(result(n), SECOND);
        }
        assert_eq!(judge.record.log.len(), KEPT);
        assert_eq!(judge.record.log[0].output, "täglich");
    }

    #[test]
    fn without_an_interval_nothing_is_due() {
        let judge = Judge::new(Checks {
            interval: None,
            start_period: 9 * SECOND,
            ..checks()
        });
        assert_eq!((judge.first(), judge.pause(SECOND)), (None, None));
    }
}
