//! `waxwing rollout watch`: bars that move until the rollout ends.
//!
//! Asks once a second and survives a server that is restarted meanwhile. Not here: any counting,
//! the server's counts are shown as they are.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::Value;
use waxwing_wire::RolloutId;
use waxwing_wire::report::State;

use crate::api::Api;
use crate::error::Error;
use crate::output::{self, Output};

/// Time between two questions.
const INTERVAL: Duration = Duration::from_secs(1);

/// Questions in a row that may stay without an answer: a server restarts in less.
const UNANSWERED_MAX: u32 = 60;

/// What the server tells of a rollout, as far as it is shown here.
#[derive(Deserialize)]
struct Rollout {
    state: RolloutState,
    reason: Option<String>,
    phases: Vec<Phase>,
    /// Index of the phase that runs.
    phase: usize,
    /// Devices of the started phases.
    counts: BTreeMap<State, u64>,
    members: u64,
}

#[derive(Deserialize)]
struct Phase {
    /// Whom it reaches.
    size: Size,
    /// How many devices it added; none before it starts.
    members: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Size {
    Percent(u8),
    Count(u32),
    Group(String),
}

impl Size {
    fn describe(&self) -> String {
        match self {
            Self::Percent(percent) => format!("up to {percent} %"),
            Self::Count(devices) => format!("up to {devices} devices"),
            Self::Group(group) => format!("group {group}"),
        }
    }
}

impl Phase {
    fn describe(&self, number: usize) -> String {
        let reach = match self.members {
            Some(1) => "1 device".to_owned(),
            Some(members) => format!("{members} devices"),
            None => "not started".to_owned(),
        };
        format!("{:>12} {:<12} {reach}", format!("phase {number}"), self.size.describe())
    }
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
enum RolloutState {
    Draft,
    Running,
    Paused,
    Halted,
    Finished,
    Cancelled,
}

/// Follows a rollout until it ends.
pub(super) async fn run(rollout: &RolloutId, api: &Api, out: Output) -> Result<(), Error> {
    let mut view = View::new(out);
    let mut unanswered = 0;
    loop {
        match api.get(&format!("rollouts/{rollout}"), &[]).await {
            Ok(answer) => {
                unanswered = 0;
                let now = parse(&answer)?;
                view.show(&answer, &now)?;
                if let Some(outcome) = outcome(rollout, now) {
                    return outcome;
                }
            }
            Err(Error::Unreachable { .. }) if unanswered < UNANSWERED_MAX => {
                unanswered += 1;
                view.note("no answer, asking again");
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

impl RolloutState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Halted => "halted",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
        }
    }
}

fn parse(answer: &Value) -> Result<Rollout, Error> {
    Rollout::deserialize(answer).map_err(|error| Error::Answer(error.to_string()))
}

/// Returns how the rollout ended, if it did. A paused one may go on.
fn outcome(id: &RolloutId, rollout: Rollout) -> Option<Result<(), Error>> {
    match rollout.state {
        RolloutState::Draft | RolloutState::Running | RolloutState::Paused => None,
        RolloutState::Finished => Some(Ok(())),
        RolloutState::Cancelled | RolloutState::Halted => Some(Err(Error::Ended {
            id: id.to_string(),
            state: rollout.state.as_str(),
            reason: rollout.reason.unwrap_or_else(|| "no reason is recorded".to_owned()),
        })),
    }
}

/// What is on the screen, or in the pipe.
enum View {
    Bars(Bars),
    /// One line of JSON per change.
    Lines(Option<Value>),
}

impl View {
    fn new(out: Output) -> Self {
        match out {
            Output::Human => Self::Bars(Bars::new()),
            Output::Json => Self::Lines(None),
        }
    }

    fn show(&mut self, answer: &Value, rollout: &Rollout) -> Result<(), Error> {
        match self {
            Self::Bars(bars) => bars.show(rollout),
            Self::Lines(last) if last.as_ref() != Some(answer) => {
                *last = Some(answer.clone());
                return output::json(answer);
            }
            Self::Lines(_) => {}
        }
        Ok(())
    }

    fn note(&self, text: &str) {
        match self {
            Self::Bars(bars) => bars.headline.set_message(text.to_owned()),
            Self::Lines(_) => eprintln!("waxwing: {text}"),
        }
    }
}

/// A line for the rollout, a line per phase, a bar per state that a device of a started phase is in.
struct Bars {
    all: MultiProgress,
    headline: ProgressBar,
    phases: Vec<ProgressBar>,
    states: BTreeMap<State, ProgressBar>,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let headline = all.add(ProgressBar::no_length().with_style(style("{msg}")));
        Self { all, headline, phases: Vec::new(), states: BTreeMap::new() }
    }

    fn show(&mut self, rollout: &Rollout) {
        let (phase, count) = (rollout.phase + 1, rollout.phases.len());
        self.headline.set_message(format!("{}, phase {phase} of {count}", rollout.state.as_str()));
        self.show_phases(rollout);
        self.show_states(rollout);
    }

    fn show_phases(&mut self, rollout: &Rollout) {
        while self.phases.len() < rollout.phases.len() {
            self.phases.push(self.all.add(ProgressBar::no_length().with_style(style("{msg}"))));
        }
        for (index, (line, phase)) in self.phases.iter().zip(&rollout.phases).enumerate() {
            line.set_message(phase.describe(index + 1));
        }
    }

    fn show_states(&mut self, rollout: &Rollout) {
        for (state, count) in &rollout.counts {
            if *count > 0 && !self.states.contains_key(state) {
                let later = self.states.range(state..).next().map(|(_, bar)| bar.clone());
                let bar = ProgressBar::new(rollout.members);
                let bar = match later {
                    Some(later) => self.all.insert_before(&later, bar),
                    None => self.all.add(bar),
                };
                bar.set_style(style(state_template(*state)));
                bar.set_prefix(state.as_str());
                self.states.insert(*state, bar);
            }
            if let Some(bar) = self.states.get(state) {
                bar.set_length(rollout.members);
                bar.set_position(*count);
            }
        }
    }
}

/// The bars stay on the screen as they are when the rollout ends.
impl Drop for Bars {
    fn drop(&mut self) {
        let bars = self.phases.iter().chain(self.states.values());
        bars.chain([&self.headline]).for_each(ProgressBar::abandon);
    }
}

/// Falls back to a plain bar for a template that is wrong, which the test below rules out.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

const fn state_template(state: State) -> &'static str {
    match state {
        State::Healthy => "{prefix:>12} {bar:40.green/dim} {pos}",
        State::Failed | State::RolledBack => "{prefix:>12} {bar:40.red/dim} {pos}",
        State::TimedOut | State::Skipped => "{prefix:>12} {bar:40.yellow/dim} {pos}",
        State::Waiting
        | State::Offered
        | State::Downloading
        | State::Verified
        | State::Activated
        | State::Booted
        | State::Confirmed => "{prefix:>12} {bar:40.cyan/dim} {pos}",
    }
}
