//! An operator at the REST API, on one connection.
//!
//! Not here: what the API is; see the OpenAPI description.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;
use waxwing_wire::DeviceId;

use crate::fleet::ADMIN_TOKEN;
use crate::load::Line;

/// Somebody who may do everything.
pub(crate) struct Operator {
    line: Line,
}

impl Operator {
    pub(crate) async fn connect(
        admin: SocketAddr,
        server_ca: &CertificateDer<'static>,
    ) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(server_ca.clone())?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { line: Line::open(&connector, admin).await? })
    }

    /// Drafts a rollout of the newest release to the whole fleet, in three phases.
    pub(crate) async fn draft(&mut self, id: &str) -> anyhow::Result<()> {
        let phases = [1, 10, 100].map(|percent| json!({ "size": { "percent": percent } }));
        let rollout = json!({
            "id": id, "product": "acme-th1", "channel": "stable", "version": "1.2.0", "group": "all",
            "plan": { "phases": phases },
        });
        self.post("/api/v1/rollouts", &rollout).await
    }

    pub(crate) async fn change(&mut self, id: &str, change: &str) -> anyhow::Result<()> {
        self.post(&format!("/api/v1/rollouts/{id}/{change}"), &json!({})).await
    }

    /// Has a device sign its telemetry with a secret, and returns it.
    pub(crate) async fn give_secret(&mut self, device: &DeviceId) -> anyhow::Result<String> {
        let path = format!("/api/v1/devices/{device}/message-secret");
        let answer = self.ask("PUT", &path, &json!({})).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let secret = answer.get("secret").and_then(Value::as_str);
        Ok(secret.context("the server makes a secret")?.to_owned())
    }

    async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<()> {
        self.ask("POST", path, body).await.map(drop)
    }

    async fn ask(&mut self, method: &str, path: &str, body: &Value) -> anyhow::Result<Vec<u8>> {
        let body = body.to_string();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ADMIN_TOKEN}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.line.exchange((head + &body).as_bytes()).await
    }
}
