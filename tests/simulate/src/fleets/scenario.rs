//! The scenarios: what is rolled out to whom, who misbehaves, and how it should end.
//!
//! Not here: how anybody misbehaves, see [`super::device`].

use std::ops::Range;

use waxwing_server::domain::rollout::plan::Timeouts;
use waxwing_server::domain::rollout::window::Window;
use waxwing_server::domain::rollout::{Change, Gate, PhasePlan, Plan, Size, State, Urgency};

use super::cast::{self, IMAGE_BYTES};

/// How a device behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Nature {
    /// As it should.
    Ordinary,
    /// It has never been switched on.
    NeverComes,
    /// It is on line from ten in the evening to six in the morning.
    NightsOnly,
    /// Downloads take it hours to days.
    SlowLink,
    /// It says that it is healthy without having switched.
    SaysHealthy,
    /// It keeps its reports to itself until the end, and then sends them twice and backwards.
    Backwards,
    /// It keeps its reports to itself for hours.
    Late,
    /// It reports what nobody asked for: unknown rollouts, other images, states of the server.
    Nonsense,
    /// It says that it takes part in all rollouts at once, whether it was offered anything or not.
    Everywhere,
    /// Its clock is wrong until it has heard the server's time.
    WrongClock,
    /// Its clock stays wrong whatever it hears.
    StubbornClock,
    /// It becomes healthy and goes back hours later.
    Flapping,
    /// Its downloads are broken off now and then, until it gives them up.
    BrokenLink,
    /// Its user puts the restart off, as often as may be.
    PutsOff,
}

impl Nature {
    /// Tells whether what it says may be untrue.
    pub(super) const fn lies(self) -> bool {
        matches!(self, Self::SaysHealthy | Self::Nonsense | Self::Everywhere)
    }

    /// Tells whether it waits for a time that the server knows, so that nothing has to happen before its next
    /// poll has an effect.
    pub(super) const fn waits_for_a_time(self) -> bool {
        matches!(self, Self::BrokenLink | Self::PutsOff)
    }

    /// Tells whether it keeps its reports until the end.
    pub(super) const fn holds_back(self) -> bool {
        matches!(self, Self::Backwards | Self::Late)
    }
}

/// A rollout of a scenario.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    /// The image that it brings.
    pub(super) image: u8,
    /// When it starts.
    pub(super) starts: Starts,
    /// The plan.
    pub(super) plan: Plan,
    /// How it must end.
    pub(super) ends: State,
}

/// When a rollout starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Starts {
    /// After so many hours.
    At(u64),
    /// An hour after the rollout of this number halted: it is the way back from it.
    BackFrom(u32),
}

/// What is simulated.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What it is, in words.
    pub(crate) about: &'static str,
    /// Who misbehaves, in thousandths of the fleet.
    pub(super) crowd: Vec<(Nature, u32)>,
    /// The share of devices that each image breaks, from 0 to 1.
    pub(super) broken: [f64; 3],
    /// Whether those that it breaks all fall silent.
    pub(super) silences: bool,
    /// In which hours the clock of the server is slow, and by how many hours.
    pub(super) slow: Option<(Range<u64>, u64)>,
    /// The rollouts, in the order in which they start.
    pub(super) rollouts: Vec<Planned>,
    /// What operators do: after so many hours, to which rollout.
    pub(super) deeds: Vec<(u64, u32, Change)>,
    /// A crash in each span of so many hours.
    pub(super) crash_every_h: u64,
    /// Writes that fail because the disk is full, in thousandths of the seconds.
    pub(super) disk_full_permille: u32,
    /// The longest it may take, in hours.
    pub(super) hours_max: u64,
}

impl Scenario {
    pub(super) fn new(name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            about,
            crowd: Vec::new(),
            broken: [0.0; 3],
            silences: false,
            slow: None,
            rollouts: vec![Planned::new(1, Plan::default())],
            deeds: Vec::new(),
            crash_every_h: 6,
            disk_full_permille: 0,
            hours_max: 96,
        }
    }

    fn broken(self, share: f64) -> Self {
        Self { broken: [0.0, share, 0.0], ..self }
    }

    fn ending(mut self, ends: State) -> Self {
        self.rollouts.iter_mut().for_each(|planned| planned.ends = ends);
        self
    }

    fn planned(mut self, change: impl Fn(&mut Plan)) -> Self {
        self.rollouts.iter_mut().for_each(|planned| change(&mut planned.plan));
        self
    }

    fn crowd(self, crowd: &[(Nature, u32)]) -> Self {
        Self { crowd: crowd.to_vec(), ..self }
    }

    fn with(mut self, change: impl Fn(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Whoever has the newer release waits for the older one for ever.
    fn followed_by(mut self, planned: Planned) -> Self {
        for before in &mut self.rollouts {
            before.plan.timeouts.waiting_s = 12 * 3600;
        }
        self.rollouts.push(planned);
        self
    }

    fn deeds(self, deeds: &[(u64, u32, Change)]) -> Self {
        Self { deeds: deeds.to_vec(), ..self }
    }

    fn lasting(self, hours_max: u64) -> Self {
        Self { hours_max, ..self }
    }

    /// Tells whether answers depend on the time of day.
    pub(super) fn has_windows(&self) -> bool {
        self.windows().next().is_some()
    }

    /// Returns the windows of each plan that has some.
    pub(super) fn windows(&self) -> impl Iterator<Item = &[Window]> {
        let all = self.rollouts.iter().map(|planned| planned.plan.windows.as_slice());
        all.filter(|windows| !windows.is_empty())
    }
}

impl Planned {
    pub(super) fn new(image: u8, plan: Plan) -> Self {
        Self { image, starts: Starts::At(0), plan, ends: State::Finished }
    }
}

/// Returns all scenarios for a fleet of so many devices.
pub(crate) fn all(devices: u32) -> Vec<Scenario> {
    [of_releases(), of_devices(), of_servers_and_plans(devices)].concat()
}

fn of_releases() -> Vec<Scenario> {
    let of = Scenario::new;
    vec![
        of("good", "a good release"),
        of("broken-fifth", "a release that breaks 20 %").broken(0.2).ending(State::Halted),
        of("broken-thousandth", "a release that breaks 0.1 %").broken(0.001),
        of("silent", "a release that silences every device")
            .broken(1.0)
            .ending(State::Halted)
            .with(|it| it.silences = true),
        of("phases", "a good release in three phases, paused for two hours")
            .planned(|plan| plan.phases = phases())
            .deeds(&[(1, 0, Change::Pause), (3, 0, Change::Resume)]),
    ]
}

fn of_devices() -> Vec<Scenario> {
    use Nature::{
        Backwards, BrokenLink, Everywhere, Flapping, Late, NeverComes, NightsOnly, Nonsense,
        PutsOff, SaysHealthy, SlowLink, StubbornClock, WrongClock,
    };
    let of = Scenario::new;
    vec![
        of("slow-links", "20 % of the devices need up to a day for a download")
            .crowd(&[(SlowLink, 200)])
            .lasting(300),
        of("hindered", "10 % of the devices lose their downloads, of 5 % the users put it off")
            .crowd(&[(BrokenLink, 100), (PutsOff, 50)])
            .planned(|plan| plan.urgency = Urgency::Deferrable { times: 2, until: None })
            .lasting(300),
        of("offline", "10 % never come, 20 % are on line at night only")
            .crowd(&[(NeverComes, 100), (NightsOnly, 200)])
            .planned(|plan| plan.timeouts = Timeouts { waiting_s: 24 * 3600, ..plan.timeouts }),
        of("lying", "5 % lie, contradict themselves, or report late, twice and backwards")
            .crowd(&[
                (SaysHealthy, 10),
                (Backwards, 10),
                (Late, 10),
                (Nonsense, 10),
                (Everywhere, 10),
            ])
            .followed_by(above(4))
            // Liars look like devices that are lost, and keep their places until they are given up.
            .planned(|plan| plan.risk = 100)
            .lasting(300),
        of(
            "wrong-clocks",
            "10 % of the devices have wrong clocks, some of them whatever they are told",
        )
        .crowd(&[(WrongClock, 95), (StubbornClock, 5)])
        .planned(|plan| plan.timeouts = Timeouts { offered_s: 6 * 3600, ..plan.timeouts })
        .lasting(300),
        of("flapping", "10 % become healthy and go back hours later")
            .crowd(&[(Flapping, 100)])
            .ending(State::Halted),
    ]
}

fn of_servers_and_plans(devices: u32) -> Vec<Scenario> {
    let of = Scenario::new;
    vec![
        of(
            "slow-server",
            "the clock of the server is set back by three hours, and an hour later set again",
        )
        // Some are overdue at that time.
        .broken((20.0 / f64::from(devices)).min(1.0))
        .with(|it| (it.silences, it.slow, it.crash_every_h) = (true, Some((3..4, 3)), 1)),
        of("restarts", "the server dies every hour, and its disk is full now and then")
            .broken(0.001)
            .with(|it| (it.crash_every_h, it.disk_full_permille) = (1, 10)),
        of("two-rollouts", "one of higher priority takes over two hours later")
            .followed_by(above(2)),
        of("way-back", "a release that breaks 6 % is halted, and taken back where it is")
            .broken(0.06)
            .ending(State::Halted)
            .followed_by(Planned { starts: Starts::BackFrom(0), ..Planned::new(0, way_back()) }),
        of("windows", "at night only, in four time zones, and with a byte budget")
            .planned(|plan| {
                plan.windows =
                    vec!["Mon,Tue,Wed,Thu,Fri,Sat,Sun 22:00-04:00".parse().expect("opens")];
                // All images in 20 hours.
                plan.bytes_per_s = Some((u64::from(devices) * IMAGE_BYTES / (20 * 3600)).max(1));
            })
            .lasting(240),
    ]
}

/// For who switched, those who vanished then included: nobody waits for them for long.
fn way_back() -> Plan {
    let plan = Plan::default().way_back(cast::rollout_id(0));
    Plan { timeouts: Timeouts { waiting_s: 12 * 3600, ..plan.timeouts }, ..plan }
}

/// A newer release with a higher priority, after so many hours.
fn above(hour: u64) -> Planned {
    let plan = Plan { priority: 10, ..Plan::default() };
    Planned { starts: Starts::At(hour), ..Planned::new(2, plan) }
}

fn phases() -> Vec<PhasePlan> {
    let phase = |size| PhasePlan { size, gate: Gate::default() };
    vec![phase(Size::Count(200)), phase(Size::Percent(10)), phase(Size::Percent(100))]
}
