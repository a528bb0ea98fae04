//! E-mail about alerts, by a real mail server on this machine.

mod drip;
mod smtpd;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use waxwing_server::app::{App, OpenError, Options};
use waxwing_server::clock::Clock as _;
use waxwing_server::config::{Config, MailTls};
use waxwing_server::jobs::{send_mail, watch_alerts};
use waxwing_server::random::FakeRandom;

use self::drip::Drip;
use self::smtpd::{LOGIN, Mode, Smtpd};
use crate::alerts::halt;
use crate::support::Api;

/// A server that sends mail by this mail server, to `recipients`.
fn by(smtpd: &Smtpd, tls: MailTls, recipients: &[&str]) -> impl FnOnce(&mut Config) + use<> {
    let (port, ca_file) = (smtpd.port, smtpd.ca_file.clone());
    let password_file = smtpd.password_file.clone();
    let to: Vec<String> = recipients.iter().map(|recipient| (*recipient).to_owned()).collect();
    move |config| {
        config.mail.server = Some("localhost".to_owned());
        config.mail.port = port;
        config.mail.tls = tls;
        config.mail.ca_file = Some(ca_file);
        "waxwing@updates.example".clone_into(&mut config.mail.from);
        config.mail.to = to;
        config.mail.username = Some(LOGIN[0].to_owned());
        config.mail.password_file = Some(password_file);
    }
}

/// A server with a rollout that has halted.
async fn world(smtpd: &Smtpd, tls: MailTls, recipients: &[&str]) -> Api {
    let api = Api::open_with(by(smtpd, tls, recipients)).await;
    api.fill(3).await;
    halt(&api, "r-1").await;
    watch_alerts(&api.app, api.clock.now_ms()).await.unwrap();
    api
}

async fn send(api: &Api) {
    send_mail(&api.app).await.unwrap();
}

/// What became of all mail: recipient, state and outcome.
async fn deliveries(api: &Api) -> Vec<[Value; 3]> {
    let answer = api.get("mail/deliveries").await.ok();
    let items = answer["items"].as_array().unwrap().iter();
    items.map(|item| ["recipient", "state", "outcome"].map(|field| item[field].clone())).collect()
}

/// The value of a header; it is there once.
#[track_caller]
fn header(message: &Value, name: &str) -> String {
    let head = message["data"].as_str().unwrap().split("\r\n\r\n").next().unwrap();
    let head = head.replace("\r\n ", " ");
    let mut found =
        head.split("\r\n").filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let value = found.next().unwrap_or_default();
    assert!(!value.is_empty(), "no {name} in {head}");
    assert!(found.next().is_none(), "{name} is there twice: {head}");
    value.to_owned()
}

#[tokio::test]
async fn document_003_an_alert_comes_by_mail_under_tls_and_so_does_its_end() {
    for (mode, tls) in [(Mode::Starttls, MailTls::Starttls), (Mode::Tls, MailTls::Tls)] {
        let smtpd = Smtpd::start(mode, &[]);
        let api = world(&smtpd, tls, &["ops@example.com"]).await;
        send(&api).await;
        let fired = smtpd.next();
        assert_eq!((&fired["tls"], &fired["login"]), (&json!(true), &json!(LOGIN[0])), "{mode:?}");
        assert_eq!(fired["sender"], "waxwing@updates.example");
        assert_eq!(fired["recipients"], json!(["ops@example.com"]));
        let subject = "[waxwing] firing: critical rollout/r-1: the rollout stopped itself";
        assert_eq!(header(&fired, "Subject"), subject);
        assert_eq!(header(&fired, "From"), "waxwing@updates.example");
        assert_eq!(header(&fired, "To"), "ops@example.com");
        assert_eq!(header(&fired, "Auto-Submitted"), "auto-generated");
        assert!(header(&fired, "Message-ID").ends_with("@localhost>"));
        assert!(fired["data"].as_str().unwrap().contains("waxwing alert show al-"));
        api.act("rollouts/r-1/cancel").await.ok();
        watch_alerts(&api.app, api.clock.now_ms()).await.unwrap();
        send(&api).await;
        assert!(header(&smtpd.next(), "Subject").starts_with("[waxwing] resolved: critical"));
        send(&api).await;
        smtpd.nothing_more();
    }
}

#[tokio::test]
async fn a_mail_server_that_offers_no_tls_gets_neither_mail_nor_password() {
    let smtpd = Smtpd::start(Mode::Plain, &[]);
    let api = world(&smtpd, MailTls::Starttls, &["ops@example.com"]).await;
    send(&api).await;
    let expected = ["ops@example.com", "due", "not_reached"].map(|text| json!(text));
    assert_eq!(deliveries(&api).await, [expected]);
    smtpd.nothing_more();
}

#[tokio::test]
async fn a_mail_server_with_a_foreign_certificate_gets_nothing() {
    for (mode, tls) in [(Mode::Starttls, MailTls::Starttls), (Mode::Tls, MailTls::Tls)] {
        let smtpd = Smtpd::start(mode, &[]);
        let stranger = Smtpd::start(mode, &[]);
        let configure = by(&smtpd, tls, &["ops@example.com"]);
        let api = Api::open_with(|config| {
            configure(config);
            config.mail.port = stranger.port;
        })
        .await;
        api.act("mail/test").await.ok();
        send(&api).await;
        let expected = ["ops@example.com", "due", "not_reached"].map(|text| json!(text));
        assert_eq!(deliveries(&api).await, [expected], "{mode:?}");
        stranger.nothing_more();
    }
}

#[tokio::test]
async fn mail_is_sent_again_under_the_same_number_until_somebody_takes_it() {
    let smtpd = Smtpd::start(Mode::Starttls, &["451 4.3.0 later", "535 5.7.8 not you"]);
    let api = world(&smtpd, MailTls::Starttls, &["ops@example.com"]).await;
    send(&api).await;
    let first = smtpd.next();
    send(&api).await;
    smtpd.nothing_more();
    let expected = ["ops@example.com", "due", "smtp_451"].map(|text| json!(text));
    assert_eq!(deliveries(&api).await, [expected]);
    let mut api = api;
    for _ in 0..2 {
        // What is on its way survives a restart.
        api = api.restarted().await;
        api.clock.advance(Duration::from_mins(1));
        send(&api).await;
        let again = smtpd.next();
        assert_eq!(header(&again, "Message-ID"), header(&first, "Message-ID"));
        assert_eq!(again["data"], first["data"]);
    }
    let expected = ["ops@example.com", "delivered", "smtp_250"].map(|text| json!(text));
    assert_eq!(deliveries(&api).await, [expected]);
    smtpd.nothing_more();
}

#[tokio::test]
async fn mail_does_not_wait_for_the_time_before_the_clock_was_set_back() {
    let smtpd = Smtpd::start(Mode::Starttls, &[]);
    let api = world(&smtpd, MailTls::Starttls, &["ops@example.com"]).await;
    api.write_as_if_a_year_ahead("mails").await;
    send(&api).await;
    smtpd.next();
}

#[tokio::test]
async fn a_mail_server_that_drips_keeps_one_thread_and_no_second_one() {
    let drip = Drip::open();
    let recipients = ["a@example.com", "b@example.com", "c@example.com"];
    let api = Api::open_with(|config| {
        config.mail.server = Some("127.0.0.1".to_owned());
        config.mail.port = drip.port;
        config.mail.tls = MailTls::UnsafeLoopback;
        "waxwing@updates.example".clone_into(&mut config.mail.from);
        config.mail.to = recipients.map(str::to_owned).to_vec();
        config.mail.timeout_s = 1;
    })
    .await;
    api.act("mail/test").await.ok();
    send(&api).await;
    let expected = recipients.map(|to| [to, "due", "timed_out"].map(|text| json!(text)));
    assert_eq!(deliveries(&api).await, expected);
    drip.next();
    assert_eq!(drip.others(), 0);
}

#[tokio::test]
async fn one_recipient_who_is_nobody_keeps_no_mail_from_others() {
    let smtpd = Smtpd::start(Mode::Starttls, &[]);
    let recipients = ["nobody@example.com", "ops@example.com"];
    let api = world(&smtpd, MailTls::Starttls, &recipients).await;
    send(&api).await;
    assert_eq!(smtpd.next()["recipients"], json!(["ops@example.com"]));
    let expected =
        [["nobody@example.com", "dead", "smtp_550"], ["ops@example.com", "delivered", "smtp_250"]];
    assert_eq!(deliveries(&api).await, expected.map(|row| row.map(|text| json!(text))));
}

#[tokio::test]
async fn a_password_that_others_can_read_stops_the_server_and_is_nowhere_else() {
    let smtpd = Smtpd::start(Mode::Starttls, &[]);
    let api = world(&smtpd, MailTls::Starttls, &["ops@example.com"]).await;
    send(&api).await;
    let printed = api.app.config.to_toml().unwrap();
    assert!(printed.contains("[mail]") && !printed.contains(LOGIN[1]), "{printed}");
    for file in ["waxwing.db", "waxwing.db-wal"].map(|name| api.app.config.data_dir.join(name)) {
        let bytes = fs::read(&file).unwrap_or_default();
        assert!(!bytes.windows(LOGIN[1].len()).any(|it| it == LOGIN[1].as_bytes()), "{file:?}");
    }
    fs::set_permissions(&smtpd.password_file, fs::Permissions::from_mode(0o644)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config { data_dir: folder.path().join("data"), ..Config::default() };
    by(&smtpd, MailTls::Starttls, &["ops@example.com"])(&mut config);
    let random = Arc::new(FakeRandom::default());
    let refused = App::open(config, Options::default(), api.clock.clone(), random).await;
    assert!(matches!(refused, Err(OpenError::Mail(_))));
}

#[tokio::test]
async fn who_tries_mail_without_a_mail_server_is_told_what_to_set() {
    let api = Api::open().await;
    api.act("mail/test").await.refused(409, "no_mail_server", None);
    assert_eq!(deliveries(&api).await, [[""; 3]; 0]);
}
