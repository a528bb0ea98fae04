//! What a server does by itself: each job is a step that is taken again and again until shutdown.
//!
//! A step that fails is logged and taken again with the next tick. Not here: what the steps do.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::app::App;
use crate::jobs;
use crate::listener::Shutdown;
use crate::logging::Chain;
use crate::orders;
use crate::{revocation, server_ca};

/// How often what polls left behind is written, in one statement.
const FLUSH_PERIOD: Duration = Duration::from_secs(1);

/// How often rollouts are looked at for what time alone changes.
const ADVANCE_PERIOD: Duration = Duration::from_secs(1);

/// How often ids of messages that are too old to come again are forgotten.
const FORGET_PERIOD: Duration = Duration::from_mins(1);

/// How often the Director's clock mark is kept (D5): after a power cut, at most this much time is
/// taken for time that did not pass.
const CLOCK_MARK_PERIOD: Duration = Duration::from_secs(10);

/// How often the age of the server's certificate is looked at.
const CERTIFICATE_PERIOD: Duration = Duration::from_hours(1);

/// How often the files of the server CA are looked at: whoever replaces them need not send a signal.
const SERVER_CA_PERIOD: Duration = Duration::from_mins(1);

/// How often the age of the list of revoked certificates is looked at.
const REVOKED_PERIOD: Duration = Duration::from_mins(1);

/// How often it is asked whether the audit log should be signed; the rules are in the domain.
const SIGN_AUDIT_PERIOD: Duration = Duration::from_secs(30);

/// How often the whole audit log is followed: it is read from its beginning. The first time is now.
const CHECK_AUDIT_PERIOD: Duration = Duration::from_hours(24);

/// How often everything that expires is looked at. The first time is now.
const EXPIRIES_PERIOD: Duration = Duration::from_mins(10);

/// How often the outbox is looked at: a halt should not wait to be told.
const DELIVER_PERIOD: Duration = Duration::from_secs(1);

/// How often it is seen who has come for whom commands wait.
const COMMANDS_PERIOD: Duration = Duration::from_secs(1);

/// How often the rules of alerts look.
const ALERTS_PERIOD: Duration = Duration::from_secs(10);

/// How often it is written whose messages came: devices are lost after a quarter of an hour at the soonest.
const HEARD_PERIOD: Duration = Duration::from_mins(5);

/// Why a step failed.
type Failure = Box<dyn Error + Send + Sync>;

/// Starts all jobs.
pub(super) fn spawn(app: &Arc<App>, shutdown: &Shutdown) {
    repeat("advance rollouts", ADVANCE_PERIOD, app, shutdown, async |app| {
        // Without a credible time nothing moves: the time of each step stays (D5).
        let Ok(now_ms) = app.director.now_ms() else { return Ok(()) };
        app.fleet.listen_from(now_ms);
        jobs::advance_rollouts(&app.store, &app.fleet, now_ms).await.map(drop)
    });
    let tasks = shutdown.tasks.clone();
    repeat("deliver webhooks", DELIVER_PERIOD, app, shutdown, move |app| {
        let tasks = tasks.clone();
        async move { jobs::deliver_webhooks(&app, &tasks).await }
    });
    repeat("send mail", DELIVER_PERIOD, app, shutdown, async |app| jobs::send_mail(&app).await);
    repeat("flush sightings", FLUSH_PERIOD, app, shutdown, async |app| {
        jobs::flush_sightings(&app.store, &app.fleet).await.map(drop)
    });
    repeat("forget what is old", FORGET_PERIOD, app, shutdown, async |app| {
        let Ok(now_ms) = app.director.now_ms() else { return Ok(()) };
        jobs::forget(&app, now_ms).await.map(drop)
    });
    repeat("keep the clock mark", CLOCK_MARK_PERIOD, app, shutdown, async |app| {
        jobs::keep_clock_mark(&app.store, app.director.guard()).await
    });
    repeat("sign the audit log", SIGN_AUDIT_PERIOD, app, shutdown, async |app| {
        let Ok(_) = app.director.now_ms() else { return Ok(()) };
        jobs::sign_audit_if_due(&app.store, &app.director).await.map(drop)
    });
    repeat("check the audit log", CHECK_AUDIT_PERIOD, app, shutdown, async |app| {
        jobs::check_audit::run(&app).await
    });
    repeat("send commands", COMMANDS_PERIOD, app, shutdown, async |app| {
        orders::send_due(&app).await
    });
    repeat("watch for alerts", ALERTS_PERIOD, app, shutdown, async |app| {
        // Also while the clock is not credible: that is an alert.
        jobs::watch_alerts(&app, app.director.steady_ms()).await
    });
    repeat("write who was heard of", HEARD_PERIOD, app, shutdown, async |app| {
        jobs::write_heard(&app).await
    });
    repeat("watch what expires", EXPIRIES_PERIOD, app, shutdown, async |app| {
        jobs::watch_expiries(&app, app.clock.now_ms()).await
    });
    repeat("renew the certificate", CERTIFICATE_PERIOD, app, shutdown, async |app| {
        server_ca::keep_current(&app)
    });
    repeat("look at the server CA", SERVER_CA_PERIOD, app, shutdown, async |app| {
        server_ca::look(&app);
        Ok::<_, server_ca::Error>(())
    });
    repeat("list the revoked", REVOKED_PERIOD, app, shutdown, async |app| {
        revocation::keep_current(&app).await
    });
}

/// Writes what must not be lost with the process.
pub(super) async fn finish(app: &Arc<App>) {
    log("flush sightings", jobs::flush_sightings(&app.store, &app.fleet).await.map(drop));
    app.ledger.flush().await;
    log("write who was heard of", jobs::write_heard(app).await);
    log("keep the clock mark", jobs::keep_clock_mark(&app.store, app.director.guard()).await);
}

fn repeat<E, F>(
    job: &'static str,
    period: Duration,
    app: &Arc<App>,
    shutdown: &Shutdown,
    step: impl Fn(Arc<App>) -> F + Send + 'static,
) where
    E: Into<Failure>,
    F: Future<Output = Result<(), E>> + Send,
{
    let (app, end) = (app.clone(), shutdown.token.clone());
    shutdown.tasks.spawn(async move {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while end.run_until_cancelled(ticks.tick()).await.is_some() {
            log(job, step(app.clone()).await);
        }
    });
}

fn log<E: Into<Failure>>(job: &'static str, outcome: Result<(), E>) {
    if let Err(error) = outcome {
        let error: Failure = error.into();
        tracing::error!(job, error = %Chain(error.as_ref()), "job failed");
    }
}
