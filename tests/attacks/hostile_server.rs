//! Row 36: a server that is hostile through and through. It holds the Director's key and TLS's, has
//! kept every file and image it ever saw, and says what it likes, while the power fails.
//!
//! Ten thousand random stories against the agent that ships. What must hold is said by a model that
//! knows only what the keyholders signed; it shares no code with the device.

pub(crate) mod library;
mod model;
mod opponent;
pub(crate) mod script;
mod tampering;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::test_runner::{Config, TestRunner};
use waxwing_agent::ports::ResetReason;
use waxwing_wire::ErrorCode;
use waxwing_wire::report::State;

use crate::support::board::{Peak, Step, Subject};
use library::{LIBRARY, NEWEST};
use model::{Model, is_eventful};
use opponent::Hostile;
use script::{Answer, Choice, Pins, Resets, scripts};

/// Stories in a run.
const STORIES: u32 = 10_000;
/// Steps after which a device that has not come to the end of its story never will.
const STEPS_MAX: usize = 20_000;
/// Memory that the agent may take besides the answer it is reading, bytes on a 64-bit host: the
/// metadata budget of 24 KiB twice, for what is kept and what is new.
const HEAP_BYTES_MAX: u64 = 48 * 1024;
/// Memory of an update with the answer, where the server is honest. One that is not can add the
/// longest answer that the transport takes, `BUNDLE_BYTES_MAX`, and be a nuisance with it: a chip
/// that has not so much gives its `Server` port a lower limit. What the agent is about is on the heap
/// too: a stack would have to hold it all the time.
const HONEST_BYTES_MAX: u64 = 36 * 1024;

/// What the server must have done in a run, each at least in one story of a hundred. Stories in which
/// nothing ever happens would prove nothing.
/// The first word is the kind.
const MOVES: [&str; 13] = [
    "body Flip Garbage HugeFrame None Oversize Stalled TooManyFrames Truncate",
    "choice Delegated Described Disguised ForAnother Nothing Release Two",
    "cut true",
    "description Hardware Kind Length NoMatch Path SecureVersion SecurityVersion Soak Version",
    "download Another Endless Flip Refused Short Stalled WrongRange",
    "message Acknowledged Bomb ForAnother Garbage Poll Replayed",
    "nonce Replayed Wrong",
    "pins Of Right",
    "reset Brownout Crash Watchdog",
    "signed Deep Escapes Members Numbers Signatures Unsorted",
    "tampering Before Drop Flip Foreign Long Of OtherRepository SignedByServer Swap Truncate",
    "time Ahead Behind End",
    "version Highest Lower Same",
];

/// What devices must have met, each at least in one story of five hundred.
const OUTCOMES: [&str; 24] = [
    "failure trust_delegation",
    "failure trust_device",
    "failure trust_expired",
    "failure trust_incomplete",
    "failure trust_malformed",
    "failure trust_nonce",
    "failure trust_rollback",
    "failure trust_signatures",
    "failure trust_time",
    "new pins",
    "report Confirmed none",
    "report Failed policy_channel",
    "report Failed policy_hardware",
    "report Failed policy_kind",
    "report Failed policy_product",
    "report Failed policy_security_version",
    "report Failed policy_slot",
    "report Failed trust_mismatch",
    "report Failed trust_unlisted",
    "report Healthy none",
    "report RolledBack boot_reset",
    "report RolledBack soak_resets",
    "report Verified none",
    "updated",
];

/// What became of a device.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate {
    pub(crate) activations: u32,
    /// Why actions did not work out.
    pub(crate) failures: Vec<ErrorCode>,
    peak: Peak,
    /// What it told the server, as far as it came to that.
    pub(crate) reports: Vec<(State, ErrorCode)>,
    /// The image it runs in the end.
    pub(crate) runs: Vec<u8>,
    /// The pins that it was given.
    pins: Option<Vec<u8>>,
    /// What the server did.
    moves: Vec<String>,
}

/// Lets a device live through a story.
pub(crate) fn live(script: Vec<Answer>) -> Fate {
    let clock = Rc::default();
    let hostile = Rc::new(RefCell::new(Hostile::new(script, &clock)));
    let mut subject = Subject::new(&LIBRARY.make, Rc::clone(&hostile) as Rc<_>, &clock);
    let (mut model, mut fate) = (Model::default(), Fate::default());
    let mut resets = DueResets::default();
    for _ in 0..STEPS_MAX {
        match subject.step() {
            Step::Started(image) => {
                model.started(&image);
                fate.runs = image;
                model.keeps(&subject);
                if hostile.borrow().is_over {
                    fate.end(&subject, &hostile.borrow());
                    return fate;
                }
            }
            Step::Stopped => {}
            Step::Turned(turn) => {
                fate.failures.extend(turn.failed);
                if is_eventful(&turn) {
                    model.keeps(&subject);
                    fate.activations += u32::from(model.watch_activation(&subject));
                }
                if let Some(reason) = resets.turn() {
                    subject.reset(reason);
                }
            }
        }
        if hostile.borrow().is_over && subject.driver().is_some() {
            subject.switch_on();
        }
        if let Some((operations, bytes)) = hostile.borrow_mut().power_cut.take() {
            subject.cut_power_in(operations, bytes);
        }
        if let Some(more) = hostile.borrow_mut().resets.take() {
            resets = DueResets { resets: Some(more), turns: 0 };
        }
    }
    panic!("a story without end");
}

impl Fate {
    fn end(&mut self, subject: &Subject, hostile: &Hostile) {
        self.reports.clone_from(&hostile.told);
        self.moves.clone_from(&hostile.moves);
        self.pins = subject.pins();
        self.peak = subject.peak;
        assert!(self.peak.without_answer <= HEAP_BYTES_MAX, "{:?} of memory", self.peak);
    }
}

/// Resets that are still to come.
#[derive(Debug, Default)]
struct DueResets {
    resets: Option<Resets>,
    /// Turns since the last one.
    turns: u8,
}

impl DueResets {
    /// Counts a turn, after which there may be a reset.
    fn turn(&mut self) -> Option<ResetReason> {
        let resets = self.resets.as_mut()?;
        if self.turns < resets.turns {
            self.turns += 1;
            return None;
        }
        self.turns = 0;
        let reason = resets.reason;
        resets.times -= 1;
        if resets.times == 0 {
            self.resets = None;
        }
        Some(reason)
    }
}

/// What happened in all stories, and how often.
#[derive(Debug, Default)]
struct Tally(BTreeMap<String, u32>);

impl Tally {
    fn count(&mut self, what: String) {
        *self.0.entry(what).or_default() += 1;
    }

    fn at_least(&self, times: u32, what: &str) {
        let counted = self.0.get(what).copied().unwrap_or(0);
        assert!(counted >= times, "{what}: only {counted} in {STORIES} stories");
    }

    fn add(&mut self, fate: Fate) {
        if fate.runs != LIBRARY.make.factory {
            self.count("updated".to_owned());
        }
        if fate.pins.is_some() {
            self.count("new pins".to_owned());
        }
        fate.moves.into_iter().for_each(|one| self.count(one));
        fate.failures.iter().for_each(|code| self.count(format!("failure {}", code.name())));
        for (state, code) in fate.reports {
            self.count(format!("report {state:?} {}", code.name()));
        }
    }
}

#[test]
fn row_36_whatever_a_hostile_server_says_only_signed_images_run_and_no_floor_falls() {
    let config = Config { cases: STORIES, failure_persistence: None, ..Config::default() };
    let tally = RefCell::new(Tally::default());
    let outcome = TestRunner::new(config).run(&scripts(), |script| {
        tally.borrow_mut().count("stories".to_owned());
        tally.borrow_mut().add(live(script));
        Ok(())
    });
    let tally = tally.into_inner();
    if let Err(found) = outcome {
        panic!("in story {}: {found}", tally.0["stories"]);
    }
    for moves in MOVES {
        let (kind, names) = moves.split_once(' ').unwrap();
        names.split(' ').for_each(|name| tally.at_least(STORIES / 100, &format!("{kind} {name}")));
    }
    for outcome in OUTCOMES {
        tally.at_least(STORIES / 500, outcome);
    }
}

#[test]
fn row_36_an_honest_answer_takes_little_memory_with_all_that_is_kept() {
    let choices = [Choice::AsBefore, Choice::AsBefore, Choice::Release(NEWEST), Choice::AsBefore];
    let answer = |choice| {
        let generation = Some(if matches!(choice, Choice::Release(_)) { 3 } else { 1 });
        Answer { choice, generation, pins: Pins::Right, ..Answer::HONEST }
    };
    let fate = live(choices.map(answer).into());
    assert!(fate.activations > 0 && fate.pins.is_some());
    let peak = fate.peak.with_answer;
    assert!((1024..=HONEST_BYTES_MAX).contains(&peak), "{peak} bytes");
}
