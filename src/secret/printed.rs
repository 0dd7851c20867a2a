//! A password that a command prints: kept for as long as it is good, and renewed before its end while it is in use.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::error::SecretError;
use super::output::{Output, OutputError, understand};
use super::run::run;
use super::same;
use crate::config::PasswordCommand;
use crate::metrics::{Metrics, PasswordSource, RenewalResult};

/// The pause after the first fruitless run; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause between fruitless runs.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The longest that any password is believed to be good for: adding it to a clock never overflows.
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a command printed last. However many connections need it, one run is under way at a time, in a task of its own: a
/// connection that gives up does not take it away from the others.
pub(super) struct Printed {
    command: PasswordCommand,
    /// Who logs in with it, for the log.
    login: String,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    /// Changes whenever a run has ended.
    ended: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    running: bool,
    /// Runs since PostgreSQL last took a password that brought nothing, or that a refusal had caused.
    fruitless: u32,
    /// No run begins before, for the last ones were fruitless.
    paused_until: Option<Instant>,
    /// Why the last run brought nothing.
    failure: Option<SecretError>,
}

struct Held {
    password: SecretString,
    renew_at: Instant,
    expires: Instant,
    /// Somebody has logged in with it. What nobody uses is not renewed.
    used: bool,
}

/// Why a command is run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// There is no password, or it ends soon.
    Due,
    /// PostgreSQL did not take the one there is.
    Refusal,
}

impl State {
    fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    /// The password, if there is one that is still good.
    fn good(&mut self, now: Instant) -> Option<&mut Held> {
        self.held.as_mut().filter(|held| now < held.expires)
    }

    /// Whether a run is to begin now, for none is under way; from here on one is.
    fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.running, true)
    }

    fn pause(&mut self, now: Instant) -> Instant {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.fruitless.min(10));
        self.fruitless = self.fruitless.saturating_add(1);
        *self.paused_until.insert(now + doubled.min(LONGEST_PAUSE))
    }
}

impl Printed {
    pub(super) fn new(command: PasswordCommand, login: String, metrics: Arc<Metrics>) -> Arc<Self> {
        let ended = watch::Sender::new(());
        Arc::new(Self { command, login, metrics, state: Mutex::default(), ended })
    }

    /// The password there is, or a new one, which is waited for.
    pub(super) async fn current(self: &Arc<Self>) -> Result<SecretString, SecretError> {
        // Before looking: an end in between is not missed.
        let mut ended = self.ended.subscribe();
        if let Some(known) = self.look() {
            return known;
        }
        // The sender lives as long as self.
        let _ = ended.changed().await;
        let mut state = self.state.lock();
        match state.good(Instant::now()) {
            Some(held) => {
                held.used = true;
                Ok(held.password.clone())
            }
            None => Err(state.failure.clone().unwrap_or(SecretError::GivenUp)),
        }
    }

    /// What can be said at once; otherwise a run is under way.
    fn look(self: &Arc<Self>) -> Option<Result<SecretString, SecretError>> {
        let now = Instant::now();
        let (known, begins) = {
            let mut state = self.state.lock();
            let paused = state.is_paused(now);
            if let Some(held) = state.good(now) {
                held.used = true;
                let password = held.password.clone();
                let due = now >= held.renew_at && !paused;
                (Some(Ok(password)), due && state.begins())
            } else if let (true, false, Some(failure)) = (paused, state.running, &state.failure) {
                (Some(Err(failure.clone())), false)
            } else {
                (None, state.begins())
            }
        };
        if begins {
            self.start(Cause::Due);
        }
        known
    }

    /// A newer password than `refused`; `None` if there is none, or the last runs brought none.
    pub(super) async fn anew(self: &Arc<Self>, refused: &SecretString) -> Option<SecretString> {
        let newer = |state: &mut State, now| {
            let held = state.good(now).filter(|held| !same(&held.password, refused))?;
            held.used = true;
            Some(held.password.clone())
        };
        // A run that was under way may have begun before the password was changed: then one more tells. Whichever a refusal
        // has caused is followed by a pause, so this ends.
        loop {
            let mut ended = self.ended.subscribe();
            let begins = {
                let now = Instant::now();
                let mut state = self.state.lock();
                if let Some(password) = newer(&mut state, now) {
                    return Some(password);
                }
                if !state.running && state.is_paused(now) {
                    return None;
                }
                state.begins()
            };
            if begins {
                self.start(Cause::Refusal);
            }
            let _ = ended.changed().await;
        }
    }

    /// PostgreSQL has taken a password: what it refused before is over.
    pub(super) fn accepted(&self) {
        let mut state = self.state.lock();
        // While the command fails, it is the last password that was taken.
        if state.failure.is_none() {
            (state.fruitless, state.paused_until) = (0, None);
        }
    }

    /// The run that is to begin. Never under the lock: a runtime that shuts down drops it at once, which ends it.
    fn start(self: &Arc<Self>, cause: Cause) {
        let flight = Flight(Arc::clone(self));
        tokio::spawn(async move {
            let began = Instant::now();
            let outcome = run(&flight.0.command).await;
            flight.0.land(outcome, began, cause);
        });
    }

    /// Takes in what a run brought.
    fn land(self: &Arc<Self>, outcome: Result<Vec<u8>, SecretError>, began: Instant, cause: Cause) {
        let held = outcome.and_then(|stdout| self.understood(&stdout, began));
        let now = Instant::now();
        let mut state = self.state.lock();
        let result = match &held {
            Ok(_) => RenewalResult::Ok,
            Err(SecretError::TimedOut { .. }) => RenewalResult::Timeout,
            Err(_) => RenewalResult::Failed,
        };
        self.metrics.password_renewal(PasswordSource::Command, result);
        let next = match held {
            Ok(held) => {
                let good_for = held.expires.saturating_duration_since(now);
                tracing::debug!(login = self.login, ?good_for, "password renewed");
                (state.failure, state.paused_until) = (None, None);
                if cause == Cause::Refusal {
                    state.pause(now);
                }
                state.held.insert(held).renew_at
            }
            Err(error) => {
                let last_is_good_for = state.good(now).map(|held| held.expires - now);
                tracing::warn!(login = self.login, %error, ?last_is_good_for, "no new password for PostgreSQL");
                state.failure = Some(error);
                state.pause(now)
            }
        };
        drop(state);
        self.renew_later(next);
    }

    /// The password in what the run that began at `began` has printed.
    fn understood(&self, stdout: &[u8], began: Instant) -> Result<Held, SecretError> {
        let wrong = |problem| SecretError::Output { program: self.command.command[0].clone(), problem };
        let Output { password, lifetime } = understand(stdout, SystemTime::now()).map_err(wrong)?;
        let now = Instant::now();
        // A life that is not told is counted from before it can have begun.
        let expires = lifetime.map_or(began + self.command.valid_for, |left| now + left.min(LONGEST_LIFE));
        if expires <= now {
            return Err(wrong(OutputError::Expired));
        }
        let half = now + (expires - now) / 2;
        let early = expires.checked_sub(self.command.refresh_before).unwrap_or(half);
        Ok(Held { password, renew_at: early.max(half), expires, used: false })
    }

    /// Renews what is in use without waiting for somebody to need it.
    fn renew_later(self: &Arc<Self>, at: Instant) {
        let printed = Arc::downgrade(self);
        tokio::spawn(async move {
            sleep_until(at).await;
            let Some(printed) = printed.upgrade() else { return };
            let begins = {
                let now = Instant::now();
                let mut state = printed.state.lock();
                let due = state.good(now).is_some_and(|held| held.used && held.renew_at <= now);
                due && !state.is_paused(now) && state.begins()
            };
            if begins {
                printed.start(Cause::Due);
            }
        });
    }
}

/// A run under way; it has ended when this is dropped, however that came.
struct Flight(Arc<Printed>);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.state.lock().running = false;
        self.0.ended.send_replace(());
    }
}
