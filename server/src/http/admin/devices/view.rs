//! How devices are shown.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waxwing_wire::report::State;
use waxwing_wire::{DeviceId, ProductId, RolloutId};

use super::messages::payload;
use crate::app::App;
use crate::domain::Device;
use crate::domain::device::{Certificate, CertificateStatus, Status, Tags};
use crate::http::admin::output::time;
use crate::store::devices::Seen;
use crate::store::messages::Logged;

/// A device in a list.
#[derive(Serialize, ToSchema)]
#[schema(as = Device)]
pub(in crate::http::admin) struct Item {
    /// Its name.
    #[schema(value_type = String)]
    pub(super) id: DeviceId,
    /// What it is.
    #[schema(value_type = String)]
    product: ProductId,
    /// Whether it may talk to us.
    status: Status,
    /// What operators call it by.
    #[schema(value_type = Object)]
    tags: Tags,
    /// What operators say of it.
    attributes: BTreeMap<String, String>,
    /// What it says of itself; it counts where operators say nothing.
    reported_attributes: BTreeMap<String, String>,
    /// When it was registered, as RFC 3339.
    created_at: String,
    /// When it last polled, as RFC 3339; `null` before the first time.
    last_seen_at: Option<String>,
    /// Release that ran then.
    #[schema(value_type = Option<String>)]
    version: Option<semver::Version>,
    /// Image that ran then.
    sha256: Option<String>,
    /// Its floor: it takes no lower security version.
    security_version: Option<u32>,
    /// SHA-256 of the signed pins by which it knows this server; `null`: those of its firmware.
    pins: Option<String>,
}

/// A device.
#[derive(Serialize, ToSchema)]
#[schema(as = DeviceDetails)]
pub(in crate::http::admin) struct DeviceView {
    /// As in the list.
    #[serde(flatten)]
    item: Item,
    /// Whether it is connected by MQTT.
    connected: bool,
    /// The certificates it may use.
    certificates: Vec<CertificateView>,
    /// Its part in the rollouts.
    deployments: Vec<DeploymentView>,
    /// Its latest telemetry, as sent; `null` if none is kept.
    telemetry: Option<TelemetryView>,
}

/// A certificate.
#[derive(Serialize, ToSchema)]
#[schema(as = Certificate)]
pub(in crate::http::admin) struct CertificateView {
    /// Its serial number.
    serial: String,
    /// Whether it was used already.
    status: CertificateStatus,
    /// When it expires, as RFC 3339.
    expires_at: String,
}

/// A device's part in a rollout.
#[derive(Serialize, ToSchema)]
#[schema(as = DeviceDeployment)]
pub(in crate::http::admin) struct DeploymentView {
    /// The rollout.
    #[schema(value_type = String)]
    rollout: RolloutId,
    /// How far the device is.
    #[schema(value_type = String)]
    state: State,
    /// Why it ended badly, if it did.
    code: u16,
    /// When the server learned so, as RFC 3339.
    changed_at: String,
}

/// Telemetry.
#[derive(Serialize, ToSchema)]
#[schema(as = Telemetry)]
pub(in crate::http::admin) struct TelemetryView {
    /// When it came, as RFC 3339.
    received_at: String,
    /// What the device said.
    #[schema(value_type = Object)]
    payload: Option<Box<RawValue>>,
}

impl Item {
    /// Shows a device and what was last seen of it.
    pub(in crate::http::admin) fn new(device: &Device, seen: Option<Seen>) -> Self {
        let pins = seen.as_ref().and_then(|seen| seen.pins).map(|pins| pins.to_string());
        let (last_seen_at, version, sha256, security_version) = match seen {
            Some(Seen { at, version, sha256, security_version, pins: _ }) => {
                let sha256 = Some(sha256.to_string());
                (Some(time(at)), Some(version), sha256, Some(security_version))
            }
            None => (None, None, None, None),
        };
        Self {
            id: device.id.clone(),
            product: device.product.clone(),
            status: device.status,
            tags: device.tags.clone(),
            attributes: device.attributes.given.clone(),
            reported_attributes: device.attributes.reported.clone(),
            created_at: time(device.created_at),
            last_seen_at,
            version,
            sha256,
            security_version,
            pins,
        }
    }
}

impl DeviceView {
    pub(super) fn new(
        app: &App,
        device: &Device,
        seen: Option<Seen>,
        telemetry: Option<Logged>,
    ) -> Self {
        let deployments = app.fleet.deployments_of(&device.id).into_iter();
        let telemetry = telemetry.map(|Logged { message, .. }| TelemetryView {
            received_at: time(message.received_at),
            payload: payload(&message.envelope),
        });
        Self {
            item: Item::new(device, seen),
            connected: app.hub.is_connected(&device.id),
            certificates: device.certificates.iter().map(CertificateView::from).collect(),
            deployments: deployments
                .map(|(rollout, deployment)| DeploymentView {
                    rollout,
                    state: deployment.state,
                    code: deployment.code.0,
                    changed_at: time(deployment.changed_at),
                })
                .collect(),
            telemetry,
        }
    }
}

impl From<&Certificate> for CertificateView {
    fn from(certificate: &Certificate) -> Self {
        Self {
            serial: certificate.serial.clone(),
            status: certificate.status,
            expires_at: time(certificate.expires_at),
        }
    }
}
