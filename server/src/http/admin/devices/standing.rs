//! `GET /api/v1/devices/{device}/standing`: why a device has or has not an update.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use waxwing_wire::{DeviceId, RolloutId};

use super::find;
use crate::app::App;
use crate::domain::Running;
use crate::domain::rollout::State as RolloutState;
use crate::fleet::Position;
use crate::http::admin::output::time;
use crate::http::admin::words;
use crate::http::{Path, Problem};
use crate::store;
use crate::store::devices::Seen;

/// Where a device stands in the rollouts of its product.
#[derive(Serialize, ToSchema)]
#[schema(as = Standing)]
pub(in crate::http::admin) struct StandingView {
    /// The device.
    #[schema(value_type = String)]
    device: DeviceId,
    /// The release it ran when it was last seen.
    running: Option<String>,
    /// When it was last seen, as RFC 3339.
    seen_at: Option<String>,
    /// In a sentence.
    summary: String,
    /// The rollouts that have started, the one that decides first.
    rollouts: Vec<PositionView>,
}

/// Where it stands in one rollout.
#[derive(Serialize, ToSchema)]
#[schema(as = Position)]
pub(in crate::http::admin) struct PositionView {
    /// The rollout.
    #[schema(value_type = String)]
    rollout: RolloutId,
    /// What it brings.
    version: String,
    /// Where the rollout itself stands.
    state: RolloutState,
    /// The phase that reaches the device, from 0.
    phase: Option<usize>,
    /// Where the device stands.
    standing: &'static str,
    /// In words.
    why: String,
}

/// Explains why a device has or has not an update.
#[utoipa::path(get, path = "/api/v1/devices/{device}/standing", operation_id = "explain_device", tag = "devices",
    params(("device" = String, Path)),
    responses((status = 200, body = StandingView), (status = 404, body = Problem)))]
pub(in crate::http::admin) async fn standing(
    State(app): State<Arc<App>>,
    Path(device): Path<String>,
) -> Result<Json<StandingView>, Problem> {
    let device = find(&app, &device)?;
    let seen = store::devices::seen(&app.store, &device.id).await?;
    let now_ms = app.director.now_ms()?;
    let running = seen.as_ref().map(Seen::running);
    let positions = app.fleet.positions(&device.id, running.as_ref(), now_ms);
    Ok(Json(StandingView {
        device: device.id.clone(),
        running: seen.as_ref().map(|seen| seen.version.to_string()),
        seen_at: seen.as_ref().map(|seen| time(seen.at)),
        summary: summary(running.as_ref(), &positions, now_ms),
        rollouts: positions.iter().map(|position| view(position, now_ms)).collect(),
    }))
}

fn view(position: &Position, now_ms: u64) -> PositionView {
    let Position { rollout, standing, phase } = position;
    PositionView {
        rollout: rollout.id.clone(),
        version: rollout.version.to_string(),
        state: rollout.state,
        phase: *phase,
        standing: standing.as_str(),
        why: words::of(*standing, now_ms),
    }
}

/// Says what decides: what is in flight, else the highest rollout that is for the device.
fn summary(running: Option<&Running>, positions: &[Position], now_ms: u64) -> String {
    if running.is_none() {
        return "It has never polled.".to_owned();
    }
    let in_flight = positions.iter().find(|position| position.standing.is_offered());
    let deciding = positions.iter().find(|position| !position.standing.gives_way());
    let Some(Position { rollout, standing, .. }) = in_flight.or(deciding) else {
        return "No rollout is for it.".to_owned();
    };
    let why = words::of(*standing, now_ms);
    format!("Rollout {} ({}) decides. {why}", rollout.id, rollout.version)
}
