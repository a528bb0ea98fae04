//! All alerts together: what becomes of them when the rules have looked, and what is told.
//!
//! Bounded: a rule has so many subjects at most, and what is beyond them is one. Not here: storing what
//! becomes of them.

use std::cmp::Reverse;

use super::{Alert, EXAMPLES_MAX, Finding, Rule, Silence, State, silence};

/// Most subjects of a rule: as many as somebody reads. All others are one together.
pub const SUBJECTS_MAX: usize = 100;

/// The subject of all those that are too many.
pub const OTHERS: &str = "others";

/// A number alone is not written again for so long, in milliseconds: somebody looks at it, nothing
/// follows from it.
const WRITE_PAUSE_MS: u64 = 60_000;

/// What a rule found, by subject.
#[derive(Clone, Debug)]
pub struct Looked<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// What it found.
    pub findings: Vec<Finding>,
}

/// What is told of an alert.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Told {
    /// That it fires.
    Fired,
    /// That it is over.
    Resolved,
}

/// What becomes of an alert.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// The alert as it is to be.
    pub alert: Alert,
    /// What is told.
    pub told: Option<Told>,
}

/// Who is silent, and when it is.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Of what nobody is told.
    pub silences: &'a [Silence],
    /// The time, in Unix milliseconds.
    pub now_ms: u64,
}

/// Returns what becomes of the alerts that are not over, and which ones begin. Of rules that did not look,
/// because they are off or gone, every alert ends.
pub fn next(open: &[Alert], looked: Vec<Looked<'_>>, moment: Moment<'_>) -> Vec<Step> {
    let now_ms = moment.now_ms;
    let unasked = open.iter().filter(|alert| !looked.iter().any(|it| it.rule.name == alert.rule));
    let ended = unasked.map(|alert| Alert { state: alert.state.ended(now_ms), ..alert.clone() });
    let mut steps: Vec<_> = ended.map(|alert| moment.step(alert)).collect();
    for Looked { rule, findings } in looked {
        let known: Vec<_> = open.iter().filter(|alert| alert.rule == rule.name).collect();
        steps.extend(of_rule(rule, &known, findings, moment));
    }
    steps
}

fn of_rule(rule: &Rule, known: &[&Alert], findings: Vec<Finding>, moment: Moment<'_>) -> Vec<Step> {
    let findings = bounded(known, findings);
    let is_about = |alert: &Alert, finding: &Finding| alert.subject == finding.subject;
    let nothing =
        |alert: &Alert| Finding { subject: alert.subject.clone(), value: 0, examples: Vec::new() };
    let gone =
        known.iter().filter(|alert| !findings.iter().any(|finding| is_about(alert, finding)));
    let all = findings.iter().cloned().chain(gone.map(|alert| nothing(alert)));
    let steps = all.filter_map(|finding| {
        let known = known.iter().find(|alert| is_about(alert, &finding));
        let quiet = || Alert::quiet(rule, &finding.subject, moment.now_ms);
        let before = known.map_or_else(quiet, |alert| Alert::clone(alert));
        let after = found(&before, rule, finding, moment.now_ms);
        moment.is_worth_writing(&before, &after).then(|| moment.step(after))
    });
    steps.collect()
}

fn found(before: &Alert, rule: &Rule, finding: Finding, now_ms: u64) -> Alert {
    let state = before.state.on(finding.value, &rule.settings, now_ms);
    // What it is about when it is over: the last of it.
    let examples = if finding.value == 0 { before.examples.clone() } else { finding.examples };
    Alert {
        state,
        severity: rule.settings.severity,
        value: finding.value,
        peak: before.peak.max(finding.value),
        examples,
        ..before.clone()
    }
}

impl Moment<'_> {
    fn is_worth_writing(self, before: &Alert, after: &Alert) -> bool {
        let is_late = before.written_at.abs_diff(self.now_ms) >= WRITE_PAUSE_MS;
        before.state != after.state || self.is_to_be_told(after) || (is_late && before != after)
    }

    fn is_to_be_told(self, alert: &Alert) -> bool {
        let is_untold = matches!(alert.state, State::Firing { .. }) && alert.told_at.is_none();
        is_untold && silence::until(self.silences, alert, self.now_ms).is_none()
    }

    /// Says what is told: that it fires, once, unless somebody is silent about it; that it is over, to
    /// those who were told.
    fn step(self, mut alert: Alert) -> Step {
        let told = match alert.state {
            State::Firing { .. } if self.is_to_be_told(&alert) => Some(Told::Fired),
            State::Resolved { .. } if alert.told_at.is_some() => Some(Told::Resolved),
            State::Quiet
            | State::Pending { .. }
            | State::Firing { .. }
            | State::Resolved { .. } => None,
        };
        if told == Some(Told::Fired) {
            alert.told_at = Some(self.now_ms);
        }
        alert.written_at = self.now_ms;
        Step { alert, told }
    }
}

/// Keeps as many subjects as there is room for: those that have an alert, then the highest numbers. The
/// others are one.
fn bounded(known: &[&Alert], findings: Vec<Finding>) -> Vec<Finding> {
    let is_known = |finding: &Finding| known.iter().any(|alert| alert.subject == finding.subject);
    let (mut kept, mut new): (Vec<_>, Vec<_>) = findings.into_iter().partition(is_known);
    new.sort_by_key(|finding| Reverse(finding.value));
    let taken = known.iter().filter(|alert| alert.subject != OTHERS).count();
    let others = new.split_off(SUBJECTS_MAX.saturating_sub(taken).min(new.len()));
    kept.append(&mut new);
    if others.is_empty() {
        return kept;
    }
    let value = others.iter().map(|finding| finding.value).fold(0, u64::saturating_add);
    let examples = others.into_iter().map(|finding| finding.subject).take(EXAMPLES_MAX);
    kept.push(Finding { subject: OTHERS.to_owned(), value, examples: examples.collect() });
    kept
}

#[cfg(test)]
mod tests;
