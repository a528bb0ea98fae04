//! The guard over the Director's clock (D5).
//!
//! A device believes the time the Director signs and never goes back behind it. A server whose
//! clock says 2099 once would lock its whole fleet until the Director's root is rotated. So the
//! Director signs no time that lies further ahead than the time that verifiably passed since it
//! last signed, until an operator confirms the clock.
//!
//! Verifiably: by the monotonic clock, and across restarts of the process by the uptime of the
//! machine. Not here: the time of day. That is the [`Clock`]'s, and may be wrong.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::setup;

/// Where Linux names the present boot, and says how long ago it was.
const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";
const UPTIME_FILE: &str = "/proc/uptime";

/// One run of the machine, and how long it has lasted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Boot {
    /// Differs after every start of the machine.
    pub id: String,
    /// Time since that start in milliseconds.
    pub uptime_ms: u64,
}

impl Boot {
    /// Asks the kernel; `None` where it does not tell.
    pub fn now() -> Option<Self> {
        let id = std::fs::read_to_string(BOOT_ID_FILE).ok()?.trim().to_owned();
        let uptime = std::fs::read_to_string(UPTIME_FILE).ok()?;
        let (seconds, fraction) = uptime.split_whitespace().next()?.split_once('.')?;
        let hundredths: u64 = fraction.parse().ok()?;
        let seconds: u64 = seconds.parse().ok()?;
        Some(Self { id, uptime_ms: seconds * 1000 + hundredths * 10 })
    }
}

/// What is remembered on disk.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The latest time that may have been signed, in Unix milliseconds.
    wall_ms: u64,
    /// The machine's uptime at that time.
    boot: Option<Boot>,
}

impl Mark {
    /// Returns the latest time that may have been signed, in Unix milliseconds.
    pub const fn wall_ms(&self) -> u64 {
        self.wall_ms
    }
}

/// A time in which wall clock and monotonic clock were believed to agree.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    wall_ms: u64,
    monotonic: Duration,
}

/// Lets the Director sign the present time only if it is credible.
pub struct ClockGuard {
    clock: Arc<dyn Clock>,
    file: PathBuf,
    ahead_max: Duration,
    /// As the last process left it.
    found: Option<Mark>,
    /// The boot we run in, and our monotonic clock at that uptime.
    boot: Option<(Boot, Duration)>,
    anchor: Mutex<Anchor>,
}

impl ClockGuard {
    /// Takes up the guard where the last process left it; the very first one believes the clock.
    pub fn open(
        file: PathBuf,
        clock: Arc<dyn Clock>,
        ahead_max: Duration,
        boot: Option<Boot>,
    ) -> Result<Self, Error> {
        let (now_ms, monotonic) = (clock.now_ms(), clock.monotonic());
        let found = read(&file)?;
        let credible_ms = match &found {
            Some(mark) => mark.wall_ms.saturating_add(passed_ms(mark, boot.as_ref())),
            None => now_ms,
        };
        let anchor = Mutex::new(Anchor { wall_ms: credible_ms, monotonic });
        let boot = boot.map(|boot| (boot, monotonic));
        Ok(Self { clock, file, ahead_max, found, boot, anchor })
    }

    /// Returns the present time in Unix milliseconds, if it may be signed.
    pub fn now_ms(&self) -> Result<u64, ClockAhead> {
        let now_ms = self.clock.now_ms();
        let limit_ms = self.credible_ms().saturating_add(millis(self.ahead_max));
        if now_ms <= limit_ms { Ok(now_ms) } else { Err(ClockAhead { by_ms: now_ms - limit_ms }) }
    }

    /// Believes the clock from now on: an operator looked at it.
    pub fn confirm(&self) {
        let anchor = Anchor { wall_ms: self.clock.now_ms(), monotonic: self.clock.monotonic() };
        *self.anchor.lock().unwrap_or_else(PoisonError::into_inner) = anchor;
    }

    /// Returns the mark that the last process left; `None` if this is the first one.
    pub const fn found(&self) -> Option<&Mark> {
        self.found.as_ref()
    }

    /// Returns the latest time that may have been signed by now; `None` while the clock is wrong.
    pub fn mark(&self) -> Option<Mark> {
        let now_ms = self.now_ms().ok()?;
        // A clock set back must not lower the mark: devices have seen the later time.
        Some(Mark { wall_ms: now_ms.max(self.credible_ms()), boot: self.boot() })
    }

    /// Remembers a mark. Blocks on the disk.
    pub fn save(&self, mark: &Mark) -> Result<(), Error> {
        let json = serde_json::to_vec(mark)
            .map_err(|error| Error::Mark { file: self.file.clone(), source: error.into() })?;
        setup::write_atomically(&self.file, &json).map_err(Error::Write)
    }

    /// Returns the time that verifiably passed, in Unix milliseconds: no earlier than what was signed.
    pub fn credible_ms(&self) -> u64 {
        let anchor = *self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = self.clock.monotonic().saturating_sub(anchor.monotonic);
        anchor.wall_ms.saturating_add(millis(passed))
    }

    fn boot(&self) -> Option<Boot> {
        let (boot, at) = self.boot.as_ref()?;
        let passed = self.clock.monotonic().saturating_sub(*at);
        Some(Boot { id: boot.id.clone(), uptime_ms: boot.uptime_ms + millis(passed) })
    }
}

/// Returns how much time verifiably passed since the mark: none, if the machine was restarted.
fn passed_ms(mark: &Mark, now: Option<&Boot>) -> u64 {
    match (&mark.boot, now) {
        (Some(then), Some(now)) if then.id == now.id => {
            now.uptime_ms.saturating_sub(then.uptime_ms)
        }
        _ => 0,
    }
}

fn read(file: &PathBuf) -> Result<Option<Mark>, Error> {
    let damaged = |source| Error::Mark { file: file.clone(), source };
    match std::fs::read(file) {
        Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|e| damaged(e.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(damaged(error)),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The clock is further ahead than time can have passed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the clock is {by_ms} ms further ahead than time has passed since the Director last signed; \
     check it, then start once with --confirm-clock"
)]
pub struct ClockAhead {
    /// How far beyond the limit, in milliseconds.
    pub by_ms: u64,
}

/// Why the guard cannot remember.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is unreadable. It is not replaced: that would believe any clock.
    #[error("{file}: not the Director's clock mark; check the clock, then remove the file")]
    Mark {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("the Director's clock mark cannot be kept")]
    Write(#[source] setup::Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::FakeClock;

    const START_MS: u64 = 1_795_167_000_000;
    const AHEAD_MAX: Duration = Duration::from_mins(1);
    const HOUR: Duration = Duration::from_hours(1);

    /// A machine: its wall clock, its uptime, and the folder that survives.
    struct Machine {
        folder: tempfile::TempDir,
    }

    impl Machine {
        fn start(&self, clock: &Arc<SteppedClock>, boot: Option<(&str, Duration)>) -> ClockGuard {
            let boot =
                boot.map(|(id, uptime)| Boot { id: id.to_owned(), uptime_ms: millis(uptime) });
            let file = self.folder.path().join("clock.json");
            ClockGuard::open(file, clock.clone(), AHEAD_MAX, boot).unwrap()
        }
    }

    /// A fake clock whose wall time can be stepped.
    struct SteppedClock {
        fake: FakeClock,
        step_ms: Mutex<u64>,
    }

    impl SteppedClock {
        fn new(start_ms: u64) -> Arc<Self> {
            Arc::new(Self { fake: FakeClock::new(start_ms), step_ms: Mutex::new(0) })
        }

        fn step(&self, by: Duration) {
            *self.step_ms.lock().unwrap() += millis(by);
        }
    }

    impl Clock for SteppedClock {
        fn now_ms(&self) -> u64 {
            self.fake.now_ms() + *self.step_ms.lock().unwrap()
        }

        fn monotonic(&self) -> Duration {
            self.fake.monotonic()
        }
    }

    fn keep(guard: &ClockGuard) {
        if let Some(mark) = guard.mark() {
            guard.save(&mark).unwrap();
        }
    }

    fn machine() -> Machine {
        Machine { folder: tempfile::tempdir().unwrap() }
    }

    #[test]
    fn time_that_passes_may_be_signed() {
        let clock = SteppedClock::new(START_MS);
        let guard = machine().start(&clock, None);
        clock.fake.advance(1000 * HOUR);
        assert_eq!(guard.now_ms(), Ok(clock.now_ms()));
    }

    #[test]
    fn a_clock_that_jumps_ahead_stops_signing_until_confirmed() {
        let clock = SteppedClock::new(START_MS);
        let guard = machine().start(&clock, None);
        clock.step(AHEAD_MAX);
        assert!(guard.now_ms().is_ok());
        clock.step(HOUR);
        assert_eq!(guard.now_ms(), Err(ClockAhead { by_ms: millis(HOUR) }));
        guard.confirm();
        assert_eq!(guard.now_ms(), Ok(clock.now_ms()));
    }

    #[test]
    fn small_jumps_do_not_add_up_to_a_large_one() {
        let clock = SteppedClock::new(START_MS);
        let guard = machine().start(&clock, None);
        let allowed = (0..10).filter(|_| {
            clock.step(AHEAD_MAX / 2);
            guard.now_ms().is_ok()
        });
        assert_eq!(allowed.count(), 2);
    }

    #[test]
    fn a_restart_of_the_process_counts_the_uptime_of_the_machine() {
        let machine = machine();
        let clock = SteppedClock::new(START_MS);
        keep(&machine.start(&clock, Some(("boot-1", HOUR))));
        let later = SteppedClock::new(START_MS + millis(HOUR));
        assert!(machine.start(&later, Some(("boot-1", 2 * HOUR))).now_ms().is_ok());
        assert!(machine.start(&later, Some(("boot-1", HOUR))).now_ms().is_err());
    }

    #[test]
    fn after_a_restart_of_the_machine_a_later_clock_needs_an_operator() {
        let machine = machine();
        let clock = SteppedClock::new(START_MS);
        keep(&machine.start(&clock, Some(("boot-1", HOUR))));
        let later = SteppedClock::new(START_MS + millis(HOUR));
        assert!(machine.start(&later, Some(("boot-2", HOUR))).now_ms().is_err());
        let soon = SteppedClock::new(START_MS + millis(AHEAD_MAX));
        assert!(machine.start(&soon, Some(("boot-2", HOUR))).now_ms().is_ok());
    }

    #[test]
    fn a_refused_time_is_never_remembered() {
        let machine = machine();
        let clock = SteppedClock::new(START_MS);
        let guard = machine.start(&clock, None);
        keep(&guard);
        clock.step(1000 * HOUR);
        keep(&guard);
        assert!(machine.start(&clock, None).now_ms().is_err());
    }

    #[test]
    fn a_damaged_mark_stops_the_server() {
        let machine = machine();
        let file = machine.folder.path().join("clock.json");
        std::fs::write(&file, "{").unwrap();
        let clock = SteppedClock::new(START_MS);
        assert!(matches!(ClockGuard::open(file, clock, AHEAD_MAX, None), Err(Error::Mark { .. })));
    }

    #[test]
    fn the_kernel_tells_its_uptime() {
        assert!(Boot::now().is_some_and(|boot| boot.uptime_ms > 0 && !boot.id.is_empty()));
    }
}
