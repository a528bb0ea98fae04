//! Thousands of devices in one process.
//!
//! Each thread drives its share of them. What happens is counted, and can be followed line by line.

mod counters;
mod view;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime;
use tokio::sync::watch;
use tokio::task::LocalSet;
use waxwing_agent::network::Entropy as _;
use waxwing_agent::policy::Jitter;
use waxwing_wire::DeviceId;

pub use counters::{Counters, OfProfile};
pub use view::View;

use crate::device::{Device, DeviceError, Place};
use crate::happening::{Happening, What};
use crate::kit::Kit;
use crate::profile::{Mix, Profile};
use crate::random::SystemEntropy;
use crate::trouble::Trouble;
use counters::Last;

/// A fleet, before it starts.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// What its devices share.
    pub kit: Arc<Kit>,
    /// Its devices and their one-time tokens.
    pub devices: Vec<(DeviceId, String)>,
    /// What goes wrong around which of them.
    pub profiles: Mix,
    /// The same seed makes the same trouble.
    pub seed: u64,
    /// Over how long the starts are spread.
    pub spread: Duration,
    /// Whether what happens is printed, as NDJSON.
    pub print: bool,
}

/// What is known about a fleet while it runs. Clones are the same board.
#[derive(Clone, Debug, Default)]
pub struct Scoreboard(Arc<Mutex<Score>>);

#[derive(Debug, Default)]
struct Score {
    counters: Counters,
    devices: BTreeMap<DeviceId, Last>,
}

impl Scoreboard {
    /// Returns the counters of this moment.
    pub fn counters(&self) -> Counters {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).counters.clone()
    }

    fn count(&self, profile: Profile, happening: &Happening) {
        let mut score = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Score { counters, devices } = &mut *score;
        let last = devices.entry(happening.device.clone()).or_default();
        counters.count(profile, happening, last);
    }
}

impl Fleet {
    /// Runs the fleet on `threads` threads until `stop` says so.
    ///
    /// # Errors
    ///
    /// When a thread cannot be started.
    pub fn run(
        self,
        threads: usize,
        scoreboard: &Scoreboard,
        stop: &watch::Receiver<bool>,
    ) -> std::io::Result<()> {
        let threads = threads.max(1);
        std::thread::scope(|scope| {
            for share in 0..threads {
                let fleet = self.clone();
                let (scoreboard, stop) = (scoreboard.clone(), stop.clone());
                let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
                scope.spawn(move || fleet.run_share(&runtime, share, threads, &scoreboard, &stop));
            }
            Ok(())
        })
    }

    /// Runs every `threads`-th device, from number `share` on.
    fn run_share(
        self,
        runtime: &runtime::Runtime,
        share: usize,
        threads: usize,
        scoreboard: &Scoreboard,
        stop: &watch::Receiver<bool>,
    ) {
        let local = LocalSet::new();
        let count = u32::try_from(self.devices.len()).unwrap_or(u32::MAX).max(1);
        let numbered = (0..).zip(self.devices).skip(share).step_by(threads);
        for (number, (id, token)) in numbered {
            let start = self.spread / count * number;
            let member = Member {
                kit: Arc::clone(&self.kit),
                id,
                number,
                profile: self.profiles.of(number),
                seed: self.seed,
                token,
                print: self.print,
                scoreboard: scoreboard.clone(),
            };
            let mut stop = stop.clone();
            local.spawn_local(async move {
                tokio::select! {
                    // An error means that nobody is left who could say stop: stop.
                    _ = stop.wait_for(|stop| *stop) => {}
                    () = member.live(start) => {}
                }
            });
        }
        runtime.block_on(local);
    }
}

/// One device of a fleet.
struct Member {
    kit: Arc<Kit>,
    id: DeviceId,
    number: u32,
    profile: Profile,
    seed: u64,
    token: String,
    print: bool,
    scoreboard: Scoreboard,
}

impl Member {
    async fn live(self, start: Duration) {
        tokio::time::sleep(start).await;
        if let Err(error) = self.run().await {
            self.tell(What::Stopped { error: describe(&error) });
        }
    }

    async fn run(&self) -> Result<(), DeviceError> {
        // Nothing of it stays in memory once it is done.
        let mut device = Box::pin(self.enrol()).await?;
        self.tell(What::Enrolled);
        let mut observer = |happening: Happening| {
            self.observe(&happening);
            ControlFlow::Continue(())
        };
        device.run(&mut observer).await
    }

    /// Enrols, again and again while the server cannot answer.
    async fn enrol(&self) -> Result<Device, DeviceError> {
        let policy = self.kit.config.policy();
        let mut seed = [0; 8];
        SystemEntropy.fill(&mut seed);
        let mut jitter = Jitter::new(u64::from_le_bytes(seed));
        let mut failures = 0_u32;
        let place = self.place();
        loop {
            let (id, token) = (self.id.clone(), Some(self.token.as_str()));
            match Device::in_memory(&self.kit, id, token, place.clone()).await {
                Err(DeviceError::Enrolment(error)) if error.is_passing() => {
                    failures = failures.saturating_add(1);
                    tokio::time::sleep(policy.back_off(failures, jitter.draw())).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Each device has luck of its own, and the same in every run with this seed.
    fn place(&self) -> Place {
        let [fleet, member] = [self.seed, self.number.into()].map(|seed| Jitter::new(seed).draw());
        let seed = u64::from(fleet) << 32 | u64::from(member);
        Place { number: self.number, trouble: Trouble::new(self.profile, seed) }
    }

    fn tell(&self, what: What) {
        self.observe(&Happening { device: self.id.clone(), faults: 0, what });
    }

    fn observe(&self, happening: &Happening) {
        self.scoreboard.count(self.profile, happening);
        if self.print && !matches!(happening.what, What::Polled) {
            print_line(happening);
        }
    }
}

/// Prints a line of NDJSON. Whoever reads it may have gone: that is no reason to stop.
pub fn print_line(happening: &Happening) {
    if let Ok(line) = serde_json::to_string(happening) {
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}

/// An error and what caused it, in one line.
pub fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
