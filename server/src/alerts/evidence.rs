//! What each kind of rule finds.

use std::sync::Arc;

use waxwing_wire::ProductId;

use super::refusals::Refusal;
use crate::app::App;
use crate::domain::Rollout;
use crate::domain::alert::{Finding, Kind, Rule};
use crate::domain::expiry::{Expiry, Level, Renewal};
use crate::domain::rollout::State;
use crate::expiries;
use crate::metrics::Name;
use crate::store;
use crate::store::evidence::{self, Counted};

/// A device renews its certificate after two thirds of its life. After half of the rest it is late.
const LATE_PART_OF_LIFE: u64 = 6;

/// The time, and that of a clock that never goes back, in milliseconds.
type Now = (u64, u64);

/// Returns what a rule finds.
pub(super) async fn of(
    app: &App,
    rule: &Rule,
    all: &[Rule],
    (now_ms, elapsed_ms): Now,
) -> Result<Vec<Finding>, store::Error> {
    let is_for = |product: &ProductId| rule.is_for(product, all);
    let window_ms = u64::from(rule.settings.window_s) * 1000;
    let since_ms = now_ms.saturating_sub(window_ms);
    let counted = match rule.name.kind {
        Kind::CertificateExpiring => {
            let mut findings = ending(app, rule, all, now_ms);
            let until_ms = now_ms.saturating_add(window_ms.min(late_ms(app)));
            findings.extend(by_product(evidence::ending(&app.store, until_ms).await?, is_for));
            return Ok(findings);
        }
        Kind::ClockSkew => return Ok(refused(app, rule, Refusal::Stale, elapsed_ms)),
        Kind::DeviceLost => {
            let before_ms = app.alerts.listening.lost_before_ms(window_ms, now_ms);
            evidence::lost(&app.store, before_ms).await?
        }
        Kind::RefusedConnections => return Ok(connections(app, rule, elapsed_ms)),
        Kind::RolloutHalted => return Ok(halted(app, is_for)),
        Kind::ServerClock => return Ok(vec![clock(app)]),
        Kind::SignatureFailures => return Ok(refused(app, rule, Refusal::Forged, elapsed_ms)),
        Kind::TokenMisused => evidence::misused(&app.store, since_ms).await?,
        Kind::UpdateFailed => evidence::failed(&app.store, since_ms).await?,
    };
    Ok(by_product(counted, is_for))
}

fn by_product(counted: Vec<Counted>, is_for: impl Fn(&ProductId) -> bool) -> Vec<Finding> {
    let counted = counted.into_iter().filter(|counted| is_for(&counted.product));
    let finding = |Counted { product, devices, examples }| Finding {
        subject: format!("product/{product}"),
        value: devices,
        examples,
    };
    counted.map(finding).collect()
}

/// What the server itself has that ends soon. The list of revoked certificates has a short life: it is late
/// when nobody made another one.
fn ending(app: &App, rule: &Rule, all: &[Rule], now_ms: u64) -> Vec<Finding> {
    let until_ms = now_ms.saturating_add(u64::from(rule.settings.window_s) * 1000);
    let is_ending = |expiry: &Expiry| match expiry.renewal {
        Renewal::Daily => expiry.level(now_ms) != Level::Ok,
        Renewal::People => expiry.ends_ms <= until_ms,
    };
    let is_ours = |expiry: &Expiry| match product_of(&expiry.subject) {
        Some(product) => rule.is_for(&product, all),
        None => rule.name.product.is_none(),
    };
    let found = expiries::all(app).into_iter().filter(|it| is_ending(it) && is_ours(it));
    found.map(|it| Finding { subject: it.subject, value: 1, examples: Vec::new() }).collect()
}

fn product_of(subject: &str) -> Option<ProductId> {
    let rest = subject.strip_prefix("image/").or_else(|| subject.strip_prefix("pins/"))?;
    ProductId::parse(rest.split('/').next()?).ok()
}

fn late_ms(app: &App) -> u64 {
    let life_ms = app.config.identity.certificate_life().as_millis();
    u64::try_from(life_ms).unwrap_or(u64::MAX) / LATE_PART_OF_LIFE
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

fn refused(app: &App, rule: &Rule, refusal: Refusal, elapsed_ms: u64) -> Vec<Finding> {
    let (total, examples) = app.alerts.refusals.of(refusal);
    let subject = "messages".to_owned();
    let value = app.alerts.rise(rule, &subject, total, elapsed_ms);
    vec![Finding { subject, value, examples }]
}

fn connections(app: &App, rule: &Rule, elapsed_ms: u64) -> Vec<Finding> {
    let finding = |listener: &Name| {
        let subject = format!("listener/{listener}");
        let total = app.metrics.refused(*listener);
        let value = app.alerts.rise(rule, &subject, total, elapsed_ms);
        Finding { subject, value, examples: Vec::new() }
    };
    Name::ALL.iter().map(finding).collect()
}

/// How many seconds the clock is from the time that verifiably passed.
fn clock(app: &App) -> Finding {
    let credible_ms = app.director.guard().credible_ms();
    let value = app.clock.now_ms().abs_diff(credible_ms) / 1000;
    Finding { subject: "server".to_owned(), value, examples: Vec::new() }
}
