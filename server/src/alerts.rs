//! The evidence of alerts: what each rule finds now.
//!
//! Not here: what follows from it ([`crate::domain::alert`]).

use std::sync::Arc;

use waxwing_wire::ProductId;

use crate::app::App;
use crate::domain::Rollout;
use crate::domain::alert::board::Looked;
use crate::domain::alert::{Finding, Kind, Rule};
use crate::domain::rollout::State;

/// Has every rule look that is on.
pub fn look<'a>(app: &App, rules: &'a [Rule]) -> Vec<Looked<'a>> {
    let enabled = rules.iter().filter(|rule| rule.settings.enabled);
    enabled.map(|rule| Looked { rule, findings: findings(app, rule, rules) }).collect()
}

fn findings(app: &App, rule: &Rule, all: &[Rule]) -> Vec<Finding> {
    match rule.name.kind {
        Kind::RolloutHalted => halted(app, |product| rule.is_for(product, all)),
    }
}

fn halted(app: &App, is_for: impl Fn(&ProductId) -> bool) -> Vec<Finding> {
    let is_found =
        |rollout: &Arc<Rollout>| rollout.state == State::Halted && is_for(&rollout.product);
    let finding = |rollout: Arc<Rollout>| {
        let subject = format!("rollout/{}", rollout.id);
        Finding { subject, value: 1, examples: Vec::new() }
    };
    app.fleet.open_rollouts().into_iter().filter(is_found).map(finding).collect()
}
