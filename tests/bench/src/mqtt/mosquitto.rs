//! Debian's Mosquitto, to compare with: the same certificates, and the same questions at the door.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use waxwing_server::clock::{Clock as _, SystemClock};
use waxwing_server::config::Config;
use waxwing_server::random::SystemRandom;
use waxwing_server::setup::Identity;

use crate::process::Process;

/// Characters of a line of PEM (RFC 7468).
const LINE: usize = 64;

/// Starts a Mosquitto that shows a certificate of the same CA, and lets the same devices in.
pub(super) async fn start(config: &Path, folder: &Path) -> anyhow::Result<Process> {
    fs::create_dir_all(folder)?;
    write_certificates(&Config::load(Some(config), [])?, folder)?;
    // Free a moment ago: nothing else takes ports here.
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let here = folder.display();
    let configuration = format!(
        "user root\nlistener {} 127.0.0.1\nlog_type error\nlog_dest stderr\nallow_anonymous false\n\
         cafile {here}/devices.pem\ncertfile {here}/server.pem\nkeyfile {here}/server.key\n\
         require_certificate true\nuse_identity_as_username true\nuse_username_as_clientid true\n\
         set_tcp_nodelay true\npersistence false\nmax_queued_messages 0\nmax_inflight_messages 0\n",
        address.port()
    );
    let file = folder.join("mosquitto.conf");
    fs::write(&file, configuration)?;
    Process::foreign("mosquitto", &["-c", file.to_str().context("a path in UTF-8")?], address).await
}

fn write_certificates(config: &Config, folder: &Path) -> anyhow::Result<()> {
    let now_ms = SystemClock::new().now_ms();
    let identity = Identity::load_or_create(config, &SystemRandom, now_ms)?;
    let server = identity.pki.server();
    let server = server.server_certificate(&config.server_names, &SystemRandom, now_ms)?;
    let chain = |chain: &[CertificateDer<'_>]| {
        chain.iter().map(|one| pem("CERTIFICATE", one)).collect::<String>()
    };
    fs::write(folder.join("server.pem"), chain(&server.chain))?;
    fs::write(folder.join("server.key"), pem("PRIVATE KEY", server.key.secret_der()))?;
    fs::write(folder.join("devices.pem"), chain(&identity.pki.device_anchors()))?;
    Ok(())
}

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines: Vec<_> = base64.as_bytes().chunks(LINE).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
