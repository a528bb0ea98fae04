//! The machine against a model that looks at the whole past each time.

use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use proptest::strategy::Strategy;

use super::*;
use crate::domain::alert::Kind;

fn settings(threshold: u64, clear_below: u64, for_s: u32, clear_for_s: u32) -> Settings {
    let usual = Settings::usual(Kind::RolloutHalted);
    Settings { threshold, clear_below, for_s, clear_for_s, ..usual }
}

/// Lets the machine see numbers a second apart, and compares the first letters of its states.
#[track_caller]
fn check(settings: &Settings, values: &[u64], expected: &str) {
    let mut state = State::Quiet;
    let states = (1..).zip(values).map(|(second, value)| {
        state = after(state, *value, settings, second * 1000);
        state.as_str().chars().next().unwrap()
    });
    assert_eq!(states.collect::<String>(), expected, "{values:?}");
}

#[test]
fn a_number_that_goes_up_and_down_between_the_marks_is_told_once() {
    check(&settings(10, 5, 0, 0), &[9, 10, 9, 5, 11, 6, 4, 9, 10], "qfffffrqf");
}

#[test]
fn what_does_not_last_does_not_fire_and_what_does_not_stay_away_is_not_over() {
    check(&settings(1, 1, 3, 0), &[1, 1, 0, 1, 1, 1, 1], "ppqpppf");
    check(&settings(1, 1, 0, 2), &[1, 0, 0, 1, 0, 0, 0], "ffffffr");
}

#[test]
fn what_nobody_asks_for_any_more_is_over_if_it_was_told() {
    let (since, at) = (1, 2);
    for (state, expected) in [
        (State::Quiet, State::Quiet),
        (State::Pending { since }, State::Quiet),
        (State::Firing { since, below_since: None }, State::Resolved { since, at }),
        (State::Resolved { since, at: 1 }, State::Resolved { since, at: 1 }),
    ] {
        assert_eq!(state.ended(at), expected);
    }
}

/// What was seen until now: times in seconds, and numbers.
type Past<'a> = &'a [(u64, u64)];

/// Tells whether the numbers at the end of the past were all such for at least so long.
fn were_for(past: Past<'_>, is_such: impl Fn(u64) -> bool, seconds: u32) -> bool {
    let run = past.iter().rev().take_while(|(_, value)| is_such(*value));
    let first = run.last().map(|(time, _)| *time);
    first.is_some_and(|first| past[past.len() - 1].0 - first >= u64::from(seconds))
}

/// The state by the words of the documentation, from the whole past.
fn model(past: Past<'_>, it: &Settings) -> &'static str {
    let moments = 1..=past.len();
    let fired = moments
        .clone()
        .rev()
        .find(|now| were_for(&past[..*now], |value| value >= it.threshold, it.for_s));
    let cleared = moments
        .rev()
        .find(|now| were_for(&past[..*now], |value| value < it.clear_below, it.clear_for_s));
    let is_high = past.last().is_some_and(|(_, value)| *value >= it.threshold);
    match fired {
        Some(fired) if cleared.is_none_or(|cleared| cleared < fired) => "firing",
        Some(_) | None if is_high => "pending",
        Some(_) | None => "over",
    }
}

/// What follows, one alert after the other.
fn after(state: State, value: u64, it: &Settings, now_ms: u64) -> State {
    let open = if matches!(state, State::Resolved { .. }) { State::Quiet } else { state };
    open.on(value, it, now_ms)
}

fn is_over(state: State) -> bool {
    matches!(state, State::Quiet | State::Resolved { .. })
}

fn any_settings() -> impl Strategy<Value = Settings> {
    (1_u64..6, 0_u64..6, 0_u32..5, 0_u32..5).prop_map(|(threshold, lower, for_s, clear_for_s)| {
        settings(threshold, threshold.saturating_sub(lower).max(1), for_s, clear_for_s)
    })
}

proptest! {
    #[test]
    fn an_alert_is_what_the_whole_past_says(
        it in any_settings(),
        steps in vec((0_u64..4, 0_u64..8), 1..40),
    ) {
        let (mut state, mut time, mut past) = (State::Quiet, 100, Vec::new());
        for (by, value) in steps {
            time += by;
            past.push((time, value));
            state = after(state, value, &it, time * 1000);
            let found = if is_over(state) { "over" } else { state.as_str() };
            prop_assert_eq!(found, model(&past, &it), "{:?}", past);
        }
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_no_alert_waiting(
        it in any_settings(),
        past in vec((any::<u32>(), 0_u64..8), 0..20),
        now_s in any::<u32>(),
    ) {
        let past = past.into_iter();
        let state = past.fold(State::Quiet, |state, (time, value)| {
            after(state, value, &it, u64::from(time) * 1000)
        });
        let now_ms = u64::from(now_s) * 1000;
        let twice = |value, seconds: u32| {
            let later = now_ms + u64::from(seconds) * 1000;
            after(after(state, value, &it, now_ms), value, &it, later)
        };
        let high = twice(it.threshold, it.for_s);
        prop_assert_eq!(high.as_str(), "firing");
        let low = twice(0, it.clear_for_s);
        prop_assert!(is_over(low), "{:?}", low);
    }
}
