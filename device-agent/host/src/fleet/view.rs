//! The counters on a terminal: a line of sums, a bar for each state, a line for each profile.
//!
//! Colours end where `NO_COLOR` or a pipe asks for it. Not here: counting.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use waxwing_wire::report::State;

use super::counters::{Counters, OfProfile};
use crate::profile::Profile;

/// What is on the screen. It stays there at the end.
#[derive(Debug)]
pub struct View {
    all: MultiProgress,
    sums: ProgressBar,
    states: BTreeMap<State, ProgressBar>,
    profiles: BTreeMap<Profile, ProgressBar>,
    devices: u64,
}

impl View {
    /// Shows a fleet of so many devices.
    pub fn new(devices: u64) -> Self {
        let all = MultiProgress::new();
        let sums = all.add(ProgressBar::no_length().with_style(style("{spinner:.cyan} {msg}")));
        Self { all, sums, states: BTreeMap::new(), profiles: BTreeMap::new(), devices }
    }

    /// Shows what the fleet has come to.
    pub fn show(&mut self, counters: &Counters) {
        self.sums.set_message(sums(counters));
        self.sums.tick();
        for state in counters.states.keys() {
            self.add_state(*state);
        }
        for (state, bar) in &self.states {
            bar.set_position(counters.states.get(state).copied().unwrap_or(0));
        }
        // Where all devices are alike, the bars say it all.
        if counters.profiles.len() > 1 {
            counters.profiles.iter().for_each(|(profile, of)| self.show_profile(*profile, of));
        }
    }

    fn add_state(&mut self, state: State) {
        if self.states.contains_key(&state) {
            return;
        }
        let later = self.states.range(state..).next().map(|(_, bar)| bar);
        let before = later.or_else(|| self.profiles.values().next());
        let bar = ProgressBar::new(self.devices).with_style(style(template(state)));
        let bar = match before {
            Some(before) => self.all.insert_before(before, bar),
            None => self.all.add(bar),
        };
        bar.set_prefix(state.as_str());
        self.states.insert(state, bar);
    }

    fn show_profile(&mut self, profile: Profile, of: &OfProfile) {
        let line = self.profiles.entry(profile).or_insert_with(|| {
            let line = ProgressBar::no_length().with_style(style("{prefix:>12.dim} {msg}"));
            self.all.add(line).with_prefix(profile.as_str())
        });
        line.set_message(describe(of));
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let bars = self.states.values().chain(self.profiles.values());
        bars.chain([&self.sums]).for_each(ProgressBar::abandon);
    }
}

/// Returns the sums in a line.
fn sums(counters: &Counters) -> String {
    let Counters { enrolled, boots, polls, polls_failed, stopped, .. } = counters;
    let mut line = format!("{enrolled} enrolled  {polls} polls");
    // Writing to a string does not fail.
    let _ = match polls_failed {
        0 => write!(line, "  {boots} boots"),
        _ => write!(line, " ({polls_failed} failed)  {boots} boots"),
    };
    for (release, count) in &counters.releases {
        let _ = write!(line, "  {release}: {count}");
    }
    if *stopped > 0 {
        let _ = write!(line, "  {stopped} stopped");
    }
    line
}

/// Returns what the devices of a profile have come to, in a line.
fn describe(of: &OfProfile) -> String {
    let mut line = format!("{:>5} devices", of.devices);
    for (state, count) in &of.states {
        let _ = write!(line, "  {count} {state}");
    }
    for (error, count) in &of.errors {
        let _ = write!(line, "  {error}: {count}");
    }
    if of.faults > 0 {
        let _ = write!(line, "  {} faults", of.faults);
    }
    line
}

/// What a fleet has come to, in lines for people.
impl std::fmt::Display for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&sums(self))?;
        for (profile, of) in &self.profiles {
            write!(f, "\n{:>12} {}", profile.as_str(), describe(of))?;
        }
        Ok(())
    }
}

/// Good ends are green, bad ones red, ways there blue.
const fn template(state: State) -> &'static str {
    match state {
        State::Healthy => "{prefix:>12} {bar:40.green/dim} {pos:>5} of {len}",
        State::Failed | State::RolledBack | State::TimedOut => {
            "{prefix:>12} {bar:40.red/dim} {pos:>5} of {len}"
        }
        State::Activated
        | State::Booted
        | State::Confirmed
        | State::Downloading
        | State::Offered
        | State::Skipped
        | State::Verified
        | State::Waiting => "{prefix:>12} {bar:40.blue/dim} {pos:>5} of {len}",
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_there_is_and_nothing_else() {
        let mut counters = Counters { enrolled: 3, boots: 4, polls: 9, ..Counters::default() };
        assert_eq!(counters.to_string(), "3 enrolled  9 polls  4 boots");
        counters.polls_failed = 2;
        counters.releases.insert("1.1.0".into(), 3);
        let mut loss = OfProfile { devices: 3, faults: 7, ..OfProfile::default() };
        loss.states.insert(State::Healthy, 3);
        counters.profiles.insert(Profile::Loss, loss);
        let text = counters.to_string();
        let expected = "3 enrolled  9 polls (2 failed)  4 boots  1.1.0: 3\n        \
                        loss     3 devices  3 healthy  7 faults";
        assert_eq!(text, expected);
    }

    #[test]
    fn every_state_has_a_bar_that_can_be_drawn() {
        for state in State::ALL {
            assert!(ProgressStyle::with_template(template(state)).is_ok(), "{state}");
        }
    }
}
