//! What is told of alerts, and how many there are.

use super::*;
use crate::domain::alert::Kind;

fn rule() -> Rule {
    Rule::usual(Kind::RolloutHalted)
}

fn finding(subject: &str, value: u64) -> Finding {
    Finding { subject: subject.to_owned(), value, examples: vec![format!("{subject}-{value}")] }
}

/// The alerts that are not over, as they are stored.
#[derive(Default)]
struct Board(Vec<Alert>, Vec<Silence>);

impl Board {
    fn look(&mut self, rule: &Rule, findings: &[Finding], now_ms: u64) -> Vec<Step> {
        let looked = Looked { rule, findings: findings.to_vec() };
        self.take(next(&self.0, vec![looked], Moment { silences: &self.1, now_ms }))
    }

    fn take(&mut self, steps: Vec<Step>) -> Vec<Step> {
        for step in &steps {
            self.0.retain(|alert| alert.id != step.alert.id);
            let is_open = matches!(step.alert.state, State::Pending { .. } | State::Firing { .. });
            self.0.extend(is_open.then(|| step.alert.clone()));
        }
        steps
    }
}

fn told(steps: &[Step]) -> Vec<(&str, Told)> {
    steps.iter().filter_map(|step| Some((step.alert.subject.as_str(), step.told?))).collect()
}

#[test]
fn an_alert_is_told_once_and_its_end_once() {
    let (mut board, rule) = (Board::default(), rule());
    let halted = [finding("rollout/r-1", 1)];
    assert_eq!(told(&board.look(&rule, &halted, 1)), [("rollout/r-1", Told::Fired)]);
    assert_eq!(board.look(&rule, &halted, 2), []);
    let end = board.look(&rule, &[], 3);
    assert_eq!(told(&end), [("rollout/r-1", Told::Resolved)]);
    assert_eq!(end[0].alert.state, State::Resolved { since: 1, at: 3 });
    assert_eq!(end[0].alert.examples, ["rollout/r-1-1"], "what it was about");
    assert_eq!(board.look(&rule, &[], 4), []);
    let again = board.look(&rule, &halted, 5);
    assert_eq!(told(&again), [("rollout/r-1", Told::Fired)]);
    assert!(again[0].alert.id > end[0].alert.id, "another one, and later");
}

#[test]
fn what_never_lasted_is_told_to_nobody() {
    let (mut board, mut rule) = (Board::default(), rule());
    rule.settings.for_s = 60;
    let begun = board.look(&rule, &[finding("rollout/r-1", 1)], 0);
    assert_eq!((told(&begun), begun[0].alert.state), (vec![], State::Pending { since: 0 }));
    let gone = board.look(&rule, &[], 59_000);
    assert_eq!((told(&gone), gone[0].alert.state), (vec![], State::Quiet));
}

#[test]
fn a_number_alone_is_not_written_each_time() {
    let (mut board, rule) = (Board::default(), rule());
    board.look(&rule, &[finding("rollout/r-1", 3)], 0);
    assert_eq!(board.look(&rule, &[finding("rollout/r-1", 2)], WRITE_PAUSE_MS - 1), []);
    let written = board.look(&rule, &[finding("rollout/r-1", 2)], WRITE_PAUSE_MS);
    assert_eq!((written[0].alert.value, written[0].alert.peak, written[0].told), (2, 3, None));
}

#[test]
fn alerts_of_a_rule_that_does_not_look_any_more_are_over() {
    let (mut board, rule) = (Board::default(), rule());
    board.look(&rule, &[finding("rollout/r-1", 1)], 1);
    let steps = next(&board.0, Vec::new(), Moment { silences: &[], now_ms: 2 });
    assert_eq!(told(&board.take(steps)), [("rollout/r-1", Told::Resolved)]);
    assert_eq!(board.0, []);
}

#[test]
fn however_much_is_wrong_there_are_so_many_alerts_and_one_for_the_others() {
    let (mut board, mut rule) = (Board::default(), rule());
    rule.settings.clear_for_s = 3600;
    let many = |name: &str, count: u64| -> Vec<_> {
        (1..=count).map(|n| finding(&format!("{name}/{n}"), n)).collect()
    };
    board.look(&rule, &many("a", 1_000), 0);
    assert_eq!(board.0.len(), SUBJECTS_MAX + 1);
    let others = board.0.iter().find(|alert| alert.subject == OTHERS).unwrap();
    assert_eq!(others.value, (1..=900).sum::<u64>());
    assert_eq!(others.examples.len(), EXAMPLES_MAX);
    // Others take their places only once those are over.
    board.look(&rule, &many("b", 1_000), 60_000);
    assert_eq!(board.0.len(), SUBJECTS_MAX + 1);
    assert!(board.0.iter().any(|alert| alert.subject == "a/1000"));
    board.look(&rule, &many("b", 1_000), 3_660_000);
    board.look(&rule, &many("b", 1_000), 3_660_001);
    assert_eq!(board.0.len(), SUBJECTS_MAX + 1);
    assert!(board.0.iter().any(|alert| alert.subject == "b/1000"));
}

fn silence(rule: Option<&str>, subject: Option<&str>, until: u64) -> Silence {
    Silence {
        id: "si-1".to_owned(),
        rule: rule.map(|rule| rule.parse().unwrap()),
        subject: subject.map(str::to_owned),
        until,
        created_by: "admin:ada".to_owned(),
        created_at: 0,
        reason: "the hall is rewired".to_owned(),
    }
}

#[test]
fn a_silenced_alert_is_told_when_the_silence_ends_if_it_still_fires() {
    let (mut board, rule) = (Board::default(), rule());
    board.1.push(silence(Some("rollout_halted"), None, 100));
    let both = [finding("rollout/r-1", 1), finding("rollout/r-2", 1)];
    let fired = board.look(&rule, &both, 1);
    assert_eq!((fired.len(), told(&fired)), (2, vec![]), "they fire, and nobody is told");
    assert_eq!(told(&board.look(&rule, &both[..1], 50)), [], "nor is anybody told of the end");
    assert_eq!(board.look(&rule, &both[..1], 99), []);
    assert_eq!(told(&board.look(&rule, &both[..1], 100)), [("rollout/r-1", Told::Fired)]);
}

#[test]
fn who_was_told_that_it_fires_is_told_that_it_is_over_in_spite_of_a_silence() {
    let (mut board, rule) = (Board::default(), rule());
    board.look(&rule, &[finding("rollout/r-1", 1)], 1);
    board.1.push(silence(None, Some("rollout/r-1"), 100));
    assert_eq!(told(&board.look(&rule, &[], 2)), [("rollout/r-1", Told::Resolved)]);
}

#[test]
fn a_silence_is_about_what_it_names_and_no_more() {
    let own = "rollout_halted@th1";
    for (rule, subject, expected) in [
        (Some("rollout_halted"), None, true),
        (Some(own), None, true),
        (Some("rollout_halted@th2"), None, false),
        (Some("device_lost"), None, false),
        (None, Some("rollout/r-1"), true),
        (Some(own), Some("rollout/r-1"), true),
        (Some(own), Some("rollout/r-2"), false),
    ] {
        let name = own.parse().unwrap();
        let alert = Alert::quiet(&Rule { name, ..self::rule() }, "rollout/r-1", 1);
        let silence = silence(rule, subject, 100);
        assert_eq!(silence.covers(&alert, 99), expected, "{rule:?} {subject:?}");
        assert!(!silence.covers(&alert, 100));
    }
}
