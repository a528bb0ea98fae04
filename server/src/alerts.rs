//! The evidence of alerts: what each rule finds now.
//!
//! Counters are looked at each time, what is in the database less often. Not here: what follows from it
//! ([`crate::domain::alert`]).

mod evidence;
pub mod heard;
pub mod refusals;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use self::heard::Heard;
use self::refusals::Refusals;
use crate::app::App;
use crate::domain::alert::board::Looked;
use crate::domain::alert::lost::{Absence, Listening};
use crate::domain::alert::window::Window;
use crate::domain::alert::{Finding, Kind, Rule};
use crate::store::{self, Store, clock_mark};

/// How often evidence is looked at that takes reading much: the time of all devices is a table of them.
const SLOW_PERIOD_MS: u64 = 5 * 60 * 1000;

/// What is remembered between two looks.
#[derive(Debug)]
pub struct Watch {
    /// When the server listened.
    pub listening: Listening,
    /// Messages that were refused.
    pub refusals: Refusals,
    /// Devices that sent messages.
    pub heard: Heard,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// Of rules that are on.
    windows: BTreeMap<(String, String), Window>,
    slow: BTreeMap<String, Slow>,
    /// Whether all rules looked that were on when the server began: what is counted began with it.
    has_begun: bool,
}

/// What a rule found that is not asked each time.
#[derive(Clone, Debug)]
struct Slow {
    at_ms: u64,
    /// All rules of its kind: which of them is for a product depends on which there are.
    rules: Vec<Rule>,
    findings: Vec<Finding>,
}

impl Watch {
    /// Begins to watch, at a time in Unix milliseconds, and remembers that the server was away until now.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn begin(store: &Store, now_ms: u64) -> Result<Self, store::Error> {
        let last = Absence { from_ms: clock_mark::read(store).await?, to_ms: now_ms };
        let mut change = store.begin().await?;
        let known = store::alerts::absences(change.connection()).await?;
        let listening = Listening::again(&known, last);
        store::alerts::put_absences(change.connection(), listening.absences()).await?;
        drop(change.commit().await?);
        Ok(Self {
            listening,
            refusals: Refusals::default(),
            heard: Heard::default(),
            memory: Mutex::default(),
        })
    }

    /// Returns by how much a counter rose within the window of a rule. For a rule that was switched on, it
    /// counts from then on.
    fn rise(&self, rule: &Rule, subject: &str, total: u64, now_ms: u64) -> u64 {
        let key = (rule.name.to_string(), subject.to_owned());
        let window_ms = u64::from(rule.settings.window_s) * 1000;
        let mut memory = self.memory();
        let first = if memory.has_begun { Window::begun(total, now_ms) } else { Window::default() };
        memory.windows.entry(key).or_insert(first).rise(total, window_ms, now_ms)
    }

    /// Forgets what was counted and found for rules that are off.
    fn forget_others(&self, on: &BTreeSet<String>) {
        let mut memory = self.memory();
        memory.windows.retain(|(rule, _), _| on.contains(rule));
        memory.slow.retain(|rule, _| on.contains(rule));
    }

    /// Returns what a rule found a short time ago, as it is now.
    fn recent(&self, rule: &Rule, all: &[Rule], now_ms: u64) -> Option<Vec<Finding>> {
        let memory = self.memory();
        let slow = memory.slow.get(&rule.name.to_string())?;
        let is_recent = now_ms.saturating_sub(slow.at_ms) < SLOW_PERIOD_MS;
        (is_recent && slow.rules == of_kind(rule, all)).then(|| slow.findings.clone())
    }

    fn remember(&self, rule: &Rule, all: &[Rule], findings: &[Finding], at_ms: u64) {
        let slow = Slow { at_ms, rules: of_kind(rule, all), findings: findings.to_vec() };
        self.memory().slow.insert(rule.name.to_string(), slow);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of_kind(rule: &Rule, all: &[Rule]) -> Vec<Rule> {
    all.iter().filter(|other| other.name.kind == rule.name.kind).cloned().collect()
}

/// Has every rule look that is on.
///
/// # Errors
///
/// When the database fails.
pub async fn look<'a>(
    app: &App,
    rules: &'a [Rule],
    now_ms: u64,
) -> Result<Vec<Looked<'a>>, store::Error> {
    let on = || rules.iter().filter(|rule| rule.settings.enabled);
    app.alerts.forget_others(&on().map(|rule| rule.name.to_string()).collect());
    let mut looked = Vec::new();
    for rule in on() {
        let findings = findings(app, rule, rules, now_ms).await?;
        looked.push(Looked { rule, findings });
    }
    app.alerts.memory().has_begun = true;
    Ok(looked)
}

async fn findings(
    app: &App,
    rule: &Rule,
    all: &[Rule],
    now_ms: u64,
) -> Result<Vec<Finding>, store::Error> {
    let elapsed_ms = u64::try_from(app.clock.monotonic().as_millis()).unwrap_or(u64::MAX);
    if !is_slow(rule.name.kind) {
        return evidence::of(app, rule, all, (now_ms, elapsed_ms)).await;
    }
    if let Some(findings) = app.alerts.recent(rule, all, elapsed_ms) {
        return Ok(findings);
    }
    let findings = evidence::of(app, rule, all, (now_ms, elapsed_ms)).await?;
    app.alerts.remember(rule, all, &findings, elapsed_ms);
    Ok(findings)
}

/// Tells whether looking takes reading much.
const fn is_slow(kind: Kind) -> bool {
    match kind {
        Kind::CertificateExpiring | Kind::DeviceLost => true,
        Kind::ClockSkew
        | Kind::RefusedConnections
        | Kind::RolloutHalted
        | Kind::ServerClock
        | Kind::SignatureFailures
        | Kind::TokenMisused
        | Kind::UpdateFailed => false,
    }
}
