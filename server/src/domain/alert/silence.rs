//! Silences: of what somebody does not want to be told for a while, who that is, and why.
//!
//! A silenced alert fires like any other, and is shown. It is told once the silence is over, if it still
//! fires then. Not here: who may be silent; everybody is in the audit log.

use super::{Alert, RuleName};

/// Most silences: as many as somebody keeps in mind.
pub const SILENCES_MAX: usize = 100;

/// Longest silence in seconds: a month. What is forgotten comes back.
pub const SILENCE_S_MAX: u32 = 30 * 24 * 3600;

/// Longest subject in bytes: that of a role of a product, with room to spare.
pub const SUBJECT_BYTES_MAX: usize = 200;

/// Of what nobody is told for a while.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Silence {
    /// Its name.
    pub id: String,
    /// Alerts of this rule; of every one, if there is none.
    pub rule: Option<RuleName>,
    /// Alerts about this; about anything, if there is none.
    pub subject: Option<String>,
    /// Until when, in Unix milliseconds.
    pub until: u64,
    /// Who wants it.
    pub created_by: String,
    /// Since when, in Unix milliseconds.
    pub created_at: u64,
    /// Why.
    pub reason: String,
}

impl Silence {
    /// Tells whether nobody is told of an alert now. A silence of the rule for all is one of the rules of
    /// products, too.
    pub fn covers(&self, alert: &Alert, now_ms: u64) -> bool {
        let is_rule = |name: &RuleName| {
            let is_product = name.product.is_none() || name.product == alert.rule.product;
            name.kind == alert.rule.kind && is_product
        };
        let is_meant = self.rule.as_ref().is_none_or(is_rule)
            && self.subject.as_ref().is_none_or(|subject| *subject == alert.subject);
        is_meant && now_ms < self.until
    }
}

/// Returns until when nobody is told of an alert, in Unix milliseconds, if somebody wants that.
pub fn until(silences: &[Silence], alert: &Alert, now_ms: u64) -> Option<u64> {
    let covering = silences.iter().filter(|silence| silence.covers(alert, now_ms));
    covering.map(|silence| silence.until).max()
}
