//! Whatever sinks do and whenever the server dies, each message is taken or a dead letter.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[test]
fn waits_grow_to_a_minute() {
    let waits: Vec<_> = (1..9).map(|failures| wait_ms(failures, u16::MAX)).collect();
    assert_eq!(waits, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
    assert_eq!(wait_ms(u32::MAX, 0), WAIT_MS_MAX / 2);
}

#[test]
fn nothing_is_given_up_for_a_sink_that_is_away() {
    let mut progress = opened(3);
    for round in 0..1000 {
        let now_ms = progress.due_at().unwrap();
        assert_eq!(progress.due(now_ms, 9), [1, 2, 3], "round {round}");
        assert_eq!(progress.settle(all(3, &away(None)), now_ms, 0), []);
    }
    assert_eq!(progress.cursor().taken, 0);
}

#[test]
fn a_sink_is_left_alone_for_as_long_as_it_asks_but_a_minute_at_most() {
    for (asked_ms, wait) in [(10_000, 10_000), (u64::MAX, WAIT_MS_MAX), (0, 500)] {
        let mut progress = opened(1);
        progress.settle(all(1, &away(Some(asked_ms))), 7, 0);
        assert_eq!(progress.due_at(), Some(7 + wait));
    }
}

#[test]
fn a_message_that_fails_keeps_no_others_waiting_and_is_given_up_in_the_end() {
    let mut progress = opened(2);
    let failed = || (1, Outcome::Failed("http_500".to_owned()));
    let (mut now_ms, mut next) = (0, 2);
    for tries in 1..=TRIES_MAX {
        let dead = progress.settle(vec![failed(), (next, Outcome::Taken)], now_ms, u16::MAX);
        let given_up = Dead { position: 1, reason: "http_500".to_owned(), tries };
        let expected = if tries < TRIES_MAX { vec![] } else { vec![given_up] };
        assert_eq!(dead, expected);
        next += 1;
        progress.read(next, [(next, None)]);
        assert_eq!(progress.due(now_ms, 9), [next], "the others go on");
        now_ms = progress.due_at().unwrap().max(now_ms + WAIT_MS_MAX);
    }
}

#[test]
fn of_a_sink_that_fails_at_everything_only_the_first_message_is_to_blame() {
    let mut progress = opened(3);
    let mut dead = Vec::new();
    while dead.is_empty() {
        let now_ms = progress.due_at().unwrap().max(u64::from(u16::MAX));
        dead = progress.settle(all(3, &Outcome::Failed("http_500".to_owned())), now_ms, 0);
    }
    assert_eq!((dead.len(), dead[0].position, progress.cursor().taken), (1, 1, 1));
}

#[test]
fn a_sink_that_refuses_everything_is_wrong_and_its_messages_wait() {
    let count = u64::from(REFUSALS_MAX) + 50;
    let mut progress = opened(count);
    let refused = Outcome::Refused("http_404".to_owned());
    assert_eq!(progress.settle(all(count, &refused), 0, 0).len(), 100);
    assert_eq!(progress.cursor().taken, 100);
    let now_ms = progress.due_at().unwrap();
    assert_eq!(progress.settle(vec![(101, refused.clone())], now_ms, 0), []);
    let mixed = vec![(101, refused), (102, Outcome::Taken)];
    assert_eq!(progress.settle(mixed, progress.due_at().unwrap(), 0).len(), 1);
    let mut progress = opened(count + 1);
    let mixed = all(count, &Outcome::Refused("http_400".to_owned()));
    let mixed = mixed.into_iter().chain([(count + 1, Outcome::Taken)]).collect();
    let dead = progress.settle(mixed, 0, 0).len();
    assert_eq!(u64::try_from(dead).unwrap(), count, "one that takes others is right");
}

#[test]
fn behind_a_message_that_waits_for_its_retry_nothing_of_its_device_is_due() {
    let mut progress = Progress::resume(Cursor::default());
    let says = |position, device: &str| (position, Some(device.parse().unwrap()));
    progress.read(5, [says(1, "a"), says(2, "b"), says(3, "a"), says(4, "b")]);
    assert_eq!(progress.due(0, 9), [1, 2, 3, 4]);
    let failed = Outcome::Failed("http_500".to_owned());
    progress.settle(vec![(1, failed), (2, Outcome::Taken)], 0, u16::MAX);
    assert_eq!(progress.due(0, 9), [4]);
    progress.settle(vec![(4, Outcome::Taken)], 0, 0);
    assert_eq!(progress.due(FIRST_WAIT_MS - 1, 9), [0; 0]);
    assert_eq!(progress.due_at(), Some(FIRST_WAIT_MS), "nobody looks before");
    assert_eq!(progress.due(FIRST_WAIT_MS, 9), [1, 3]);
}

fn opened(count: u64) -> Progress {
    let mut progress = Progress::resume(Cursor::default());
    progress.read(count, (1..=count).map(|position| (position, None)));
    progress
}

fn away(retry_after_ms: Option<u64>) -> Outcome {
    Outcome::Unreachable { reason: "not_reached".to_owned(), retry_after_ms }
}

fn all(count: u64, outcome: &Outcome) -> Vec<(u64, Outcome)> {
    (1..=count).map(|position| (position, outcome.clone())).collect()
}

/// What a message of the model is like.
#[derive(Clone, Copy, Debug)]
enum Nature {
    /// The sink fails at it so often.
    Fails(u32),
    /// Not for this sink.
    Foreign,
    Good,
    Refused,
}

/// What the sink of the model does in a round.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Away,
    Broken,
    Up,
}

/// When the server of the model dies in a round.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Death {
    BeforeSending,
    BeforeSettling,
    Never,
}

/// The log, the sink, and what is durable.
struct Model {
    /// Whether three devices speak in turn, each of which is to be heard in order.
    in_order: bool,
    log: BTreeMap<u64, Nature>,
    durable: Cursor,
    dead: BTreeSet<u64>,
    /// What the sink has or refused.
    over: BTreeSet<u64>,
    /// Of each message, whether it was marked each time that it was sent.
    sent: BTreeMap<u64, Vec<bool>>,
    taken: BTreeSet<u64>,
    now_ms: u64,
}

impl Model {
    fn new(log: &[Nature], in_order: bool) -> Self {
        // Positions have gaps.
        let log = (1..).map(|n| n * 3).zip(log.iter().copied()).collect();
        let (dead, over, taken) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let sent = BTreeMap::new();
        Self { in_order, log, durable: Cursor::default(), dead, over, sent, taken, now_ms: 0 }
    }

    fn lane(&self, position: u64) -> Lane {
        self.in_order.then(|| format!("d-{}", position / 3 % 3).parse().unwrap())
    }

    /// Tells whether all that its device said before is over.
    fn is_next(&self, position: u64) -> bool {
        let lane = self.lane(position);
        let before = self.log.range(..position).map(|(before, _)| *before);
        let mut before = before.filter(|it| self.is_wanted(*it) && self.lane(*it) == lane);
        lane.is_none() || before.all(|it| self.over.contains(&it) || self.dead.contains(&it))
    }

    fn is_wanted(&self, position: u64) -> bool {
        !matches!(self.log[&position], Nature::Foreign)
    }

    /// One round of the worker; tells whether there was anything to do.
    fn round(&mut self, progress: &mut Progress, mood: Mood, death: Death, max: usize) -> bool {
        let behind = self.log.range(progress.position() + 1..).take(progress.room().min(max));
        let behind: Vec<_> = behind.map(|(position, _)| *position).collect();
        if let Some(last) = behind.last() {
            let wanted = behind.iter().copied().filter(|it| self.is_wanted(*it));
            progress.read(*last, wanted.map(|it| (it, self.lane(it))));
        }
        self.now_ms = self.now_ms.max(progress.due_at().unwrap_or(0));
        let batch = progress.due(self.now_ms, max);
        let marked: Vec<_> = batch.iter().map(|it| progress.may_be_known(*it)).collect();
        progress.send(&batch);
        self.durable = progress.cursor();
        if death == Death::BeforeSending {
            *progress = Progress::resume(self.durable);
            return true;
        }
        let mut outcomes = Vec::new();
        let mut stuck = BTreeSet::new();
        for (it, marked) in batch.iter().zip(marked) {
            // Behind one that is not over, a lane sends nothing more.
            if self.lane(*it).is_some_and(|lane| stuck.contains(&lane)) {
                continue;
            }
            let outcome = self.deliver(*it, marked, mood);
            if !matches!(outcome, Outcome::Taken | Outcome::Refused(_)) {
                stuck.extend(self.lane(*it));
            }
            outcomes.push((*it, outcome));
        }
        if death == Death::BeforeSettling {
            *progress = Progress::resume(self.durable);
            return true;
        }
        let dead = progress.settle(outcomes, self.now_ms, 0);
        // In one transaction.
        self.dead.extend(dead.iter().map(|dead| dead.position));
        self.durable = progress.cursor();
        !batch.is_empty() || !behind.is_empty()
    }

    fn deliver(&mut self, position: u64, marked: bool, mood: Mood) -> Outcome {
        assert!(self.is_next(position), "{position} comes before what its device said earlier");
        let sent = self.sent.entry(position).or_default();
        sent.push(marked);
        let times = u32::try_from(sent.len()).unwrap();
        match (mood, self.log[&position]) {
            (Mood::Away, _) => away(None),
            (Mood::Broken, _) => Outcome::Failed(String::new()),
            (Mood::Up, Nature::Fails(often)) if times <= often => Outcome::Failed(String::new()),
            (Mood::Up, Nature::Refused) => {
                self.over.insert(position);
                Outcome::Refused(String::new())
            }
            (Mood::Up, Nature::Fails(_) | Nature::Foreign | Nature::Good) => {
                self.taken.insert(position);
                self.over.insert(position);
                Outcome::Taken
            }
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for (position, nature) in self.log.range(..=self.durable.taken) {
            let done = self.taken.contains(position) || self.dead.contains(position);
            prop_assert!(done || !self.is_wanted(*position), "{position} {nature:?} was skipped");
        }
        for (position, marks) in &self.sent {
            prop_assert!(self.is_wanted(*position));
            prop_assert!(marks.iter().skip(1).all(|marked| *marked), "{position}: {marks:?}");
        }
        Ok(())
    }
}

fn nature() -> impl Strategy<Value = Nature> {
    prop_oneof![
        5 => Just(Nature::Good),
        2 => Just(Nature::Foreign),
        1 => Just(Nature::Refused),
        1 => (0..2 * TRIES_MAX).prop_map(Nature::Fails),
    ]
}

fn rounds() -> impl Strategy<Value = Vec<(Mood, Death)>> {
    let mood = prop_oneof![1 => Just(Mood::Away), 1 => Just(Mood::Broken), 2 => Just(Mood::Up)];
    let death = prop_oneof![4 => Just(Death::Never), 1 => Just(Death::BeforeSending), 1 => Just(Death::BeforeSettling)];
    prop::collection::vec((mood, death), 0..60)
}

proptest! {
    #[test]
    fn no_message_is_lost_or_out_of_order_and_none_is_sent_again_without_a_mark(
        log in prop::collection::vec(nature(), 0..60),
        rounds in rounds(),
        max in 1_usize..9,
        in_order in any::<bool>(),
    ) {
        let mut model = Model::new(&log, in_order);
        let mut progress = Progress::resume(model.durable);
        for (mood, death) in rounds {
            model.round(&mut progress, mood, death, max);
            model.check()?;
        }
        let mut left = 100_000;
        while model.round(&mut progress, Mood::Up, Death::Never, max) {
            left -= 1;
            prop_assert!(left > 0, "it comes to an end");
        }
        model.check()?;
        let last = model.log.last_key_value().map_or(0, |(position, _)| *position);
        prop_assert_eq!(model.durable.taken, last);
        let wrong = model.dead.iter().find(|it| matches!(model.log[*it], Nature::Good));
        // A good message dies only where a sink that fails at everything came to it first.
        prop_assert!(wrong.is_none_or(|it| model.sent[it].len() >= usize::try_from(TRIES_MAX).unwrap()));
    }
}
