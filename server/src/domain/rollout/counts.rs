//! Counts: how many devices of a phase are in each state.

use std::ops::AddAssign;

use waxwing_wire::report::State;

use super::bounds::Outcomes;

/// How many devices are in each state.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts([u64; State::ALL.len()]);

impl Counts {
    /// Adds up the counts of several phases.
    pub fn sum(phases: &[Self]) -> Self {
        let mut total = Self::default();
        for phase in phases {
            total += phase;
        }
        total
    }

    /// Counts one more device in this state.
    pub fn add(&mut self, state: State) {
        self.add_many(state, 1);
    }

    /// Counts so many more devices in this state.
    pub fn add_many(&mut self, state: State, devices: u64) {
        *self.slot(state) += devices;
    }

    /// Counts one device less in this state.
    pub fn remove(&mut self, state: State) {
        let slot = self.slot(state);
        *slot = slot.saturating_sub(1);
    }

    /// Returns how many devices are in this state.
    pub fn of(&self, state: State) -> u64 {
        self.iter().find(|(other, _)| *other == state).map_or(0, |(_, count)| count)
    }

    /// Returns each state with its count, in order of life.
    pub fn iter(&self) -> impl Iterator<Item = (State, u64)> {
        State::ALL.into_iter().zip(self.0)
    }

    /// Returns how many devices are counted.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns how many devices have come to an end.
    pub fn ended(&self) -> u64 {
        self.iter().filter(|(state, _)| state.is_final()).map(|(_, count)| count).sum()
    }

    /// Returns how many devices ended badly.
    pub fn failed(&self) -> u64 {
        [State::Failed, State::RolledBack, State::TimedOut].map(|state| self.of(state)).iter().sum()
    }

    /// Returns how many devices were offered the release and have not come to an end.
    pub fn in_flight(&self) -> u64 {
        self.total() - self.ended() - self.of(State::Waiting)
    }

    /// Returns how many devices switched to the image and have not come to an end.
    pub fn trying(&self) -> u64 {
        [State::Activated, State::Booted, State::Confirmed].map(|state| self.of(state)).iter().sum()
    }

    /// Returns how many devices switched to the image, or tried to.
    pub fn switched(&self) -> u64 {
        let switched = [State::Activated, State::Booted, State::Confirmed, State::Healthy];
        let all = switched.into_iter().chain([State::RolledBack, State::TimedOut]);
        all.map(|state| self.of(state)).sum()
    }

    /// Returns how many devices take part: skipped ones do not.
    pub fn taking_part(&self) -> u64 {
        self.total() - self.of(State::Skipped)
    }

    /// Returns how those ended that did not merely have nothing to do.
    pub fn outcomes(&self) -> Outcomes {
        Outcomes { broken: self.failed(), well: self.of(State::Healthy) }
    }

    fn slot(&mut self, state: State) -> &mut u64 {
        let mut states = State::ALL.into_iter();
        let place = states.position(|other| other == state);
        place.and_then(|place| self.0.get_mut(place)).expect("ALL holds every state")
    }
}

impl AddAssign<&Self> for Counts {
    fn add_assign(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(to, from)| *to += from);
    }
}
