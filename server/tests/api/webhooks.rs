//! Webhooks: what is told, how it is signed, when it is sent again, and where it never goes. The receiver
//! is a real one, under TLS on a socket.

mod receiver;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;
use waxwing_server::clock::Clock as _;
use waxwing_server::config::Config;
use waxwing_server::domain::Deployment;
use waxwing_server::domain::webhook::WEBHOOKS_MAX;
use waxwing_server::jobs::{advance_rollouts, deliver_webhooks};
use waxwing_wire::report::State;

use self::receiver::{Received, Receiver, Reply};
use crate::support::Api;

const HOUR: Duration = Duration::from_hours(1);

fn local(receiver: &Receiver) -> impl FnOnce(&mut Config) {
    let ca_file = receiver.ca_file.clone();
    move |config| {
        config.webhooks.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
        config.webhooks.ca_file = Some(ca_file);
    }
}

/// A server that may send to a receiver on this machine.
async fn world(devices: u32) -> (Api, Receiver) {
    let receiver = Receiver::open().await;
    let api = Api::open_with(local(&receiver)).await;
    api.fill(devices).await;
    (api, receiver)
}

/// Has the receiver told of some events; returns name and secret.
async fn subscribe(api: &Api, url: &str, events: &[&str]) -> (String, String) {
    let created = api.post("webhooks", json!({"url": url, "events": events})).await.ok();
    let text = |field: &str| created[field].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

/// Sends what is due, and waits until it is done.
async fn deliver(api: &Api) {
    let tasks = TaskTracker::new();
    deliver_webhooks(&api.app, &tasks).await.unwrap();
    tasks.close();
    tasks.wait().await;
}

async fn advance(api: &Api) {
    api.clock.advance(Duration::from_secs(1));
    let now_ms = api.clock.now_ms();
    advance_rollouts(&api.app.store, &api.app.fleet, now_ms).await.unwrap();
}

async fn deliveries(api: &Api, webhook: &str) -> Value {
    api.get(&format!("webhooks/{webhook}/deliveries")).await.ok()["items"].clone()
}

/// Checks a signature with openssl, by the words of the specification.
#[track_caller]
fn check_signature(message: &Received, secret: &str) {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let mut signed = Vec::new();
    for part in [message.header("webhook-id"), ".", message.header("webhook-timestamp"), "."] {
        signed.extend_from_slice(part.as_bytes());
    }
    signed.extend_from_slice(&message.body);
    let key = format!("hexkey:{hex}");
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-mac", "HMAC", "-macopt", &key, "-binary"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl.stdin.take().unwrap().write_all(&signed).unwrap();
    let mac = openssl.wait_with_output().unwrap().stdout;
    assert_eq!(message.header("webhook-signature"), format!("v1,{}", STANDARD.encode(mac)));
}

fn rollout(id: &str, plan: &Value) -> Value {
    json!({
        "id": id, "product": "th1", "channel": "stable", "version": "1.1.0", "group": "all",
        "plan": plan,
    })
}

async fn started(api: &Api, id: &str, plan: &Value) {
    api.post("rollouts", rollout(id, plan)).await.ok();
    api.act(&format!("rollouts/{id}/start")).await.ok();
}

/// Every device of the first `devices` is heard of in this state.
fn all_are(api: &Api, id: &str, devices: u32, state: State) {
    for n in 0..devices {
        let deployment = Deployment { state, ..Deployment::waiting().offered(0, 1) };
        let device = format!("d-{n}").parse().unwrap();
        api.app.fleet.put_deployment(&device, &id.parse().unwrap(), deployment);
    }
}

/// Takes one rollout through two phases to its end, and another one to a halt.
async fn live_through(api: &Api) {
    let lab = json!({"id": "lab", "product": "th1", "devices": ["d-0"]});
    api.post("groups", lab).await.ok();
    let plan = json!({"phases": [
        {"size": {"group": "lab"}, "gate": {"soak_s": 0, "approval": true}},
        {"size": {"percent": 100}, "gate": {"soak_s": 0}},
    ]});
    started(api, "r-1", &plan).await;
    api.act("rollouts/r-1/pause").await.ok();
    api.act("rollouts/r-1/resume").await.ok();
    all_are(api, "r-1", 1, State::Healthy);
    advance(api).await;
    advance(api).await;
    api.act_as_another("rollouts/r-1/approve").await.ok();
    advance(api).await;
    all_are(api, "r-1", 3, State::Healthy);
    advance(api).await;
    started(api, "r-2", &json!({"risk": 3})).await;
    all_are(api, "r-2", 3, State::Failed);
    advance(api).await;
    api.act("rollouts/r-2/cancel").await.ok();
}

#[tokio::test]
async fn whatever_happens_to_a_rollout_is_told_once_and_signed() {
    let (api, mut receiver) = world(3).await;
    let (webhook, secret) = subscribe(&api, &receiver.url(), &[]).await;
    live_through(&api).await;
    deliver(&api).await;

    let mut told = Vec::new();
    for _ in 0..9 {
        let message = receiver.next().await;
        check_signature(&message, &secret);
        assert_eq!(message.path, "/hook?key=k1");
        assert_eq!(message.header("content-type"), "application/json");
        let sent_at: u64 = message.header("webhook-timestamp").parse().unwrap();
        assert_eq!(sent_at, api.now_s(), "the time of the attempt");
        assert_eq!(message.json()["id"], message.header("webhook-id"));
        told.push(message.json());
    }
    receiver.nothing_more();
    let kinds: Vec<_> = told.iter().map(|it| it["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "rollout.started",
            "rollout.paused",
            "rollout.resumed",
            "rollout.approval_needed",
            "rollout.phase_passed",
            "rollout.finished",
            "rollout.started",
            "rollout.halted",
            "rollout.cancelled",
        ]
    );
    let (paused, halted) = (&told[1]["data"], &told[7]["data"]);
    assert_eq!((&paused["by"], &paused["reason"]), (&json!("admin:first"), &json!("ticket 7")));
    assert_eq!((&halted["rollout"], &halted["state"]), (&json!("r-2"), &json!("halted")));
    assert_eq!(halted["by"], "waxwing");
    assert!(halted["reason"].as_str().unwrap().contains("failed"), "{halted:#}");
    let generations: Vec<_> = told[..6].iter().map(|it| &it["data"]["generation"]).collect();
    assert!(generations.is_sorted_by_key(|it| it.as_u64()), "{generations:?}");
    let shown = deliveries(&api, &webhook).await;
    assert_eq!(
        (&shown[0]["event"], &shown[0]["state"]),
        (&json!("rollout.cancelled"), &json!("delivered"))
    );
    assert_eq!((&shown[0]["outcome"], &shown[0]["attempts"]), (&json!("http_204"), &json!(1)));
    deliver(&api).await;
    receiver.nothing_more();
}

#[tokio::test]
async fn a_message_is_sent_again_with_the_same_id_until_somebody_takes_it() {
    let receiver = Receiver::open().await;
    let allow = local(&receiver);
    let api = Api::open_with(|config| {
        allow(config);
        config.webhooks.timeout_s = 1;
    })
    .await;
    let mut receiver = receiver;
    let (webhook, secret) = subscribe(&api, &receiver.url(), &[]).await;
    let bad = [Reply::Status(500), Reply::Close, Reply::Hang, Reply::Status(404)];
    for reply in bad {
        receiver.reply(reply);
    }
    receiver.reply(Reply::Endless);
    api.act(&format!("webhooks/{webhook}/test")).await.ok();
    let mut ids = Vec::new();
    let mut times = Vec::new();
    for outcome in ["http_500", "not_reached", "timed_out", "http_404", "http_200"] {
        deliver(&api).await;
        let message = receiver.next().await;
        check_signature(&message, &secret);
        ids.push(message.header("webhook-id").to_owned());
        times.push(message.header("webhook-timestamp").to_owned());
        let shown = deliveries(&api, &webhook).await;
        assert_eq!(shown[0]["outcome"], outcome);
        assert_eq!(shown[0]["attempts"], ids.len());
        deliver(&api).await;
        receiver.nothing_more();
        api.clock.advance(HOUR);
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    assert_eq!(deliveries(&api, &webhook).await[0]["state"], "delivered");
}

#[tokio::test]
async fn a_message_does_not_wait_for_the_time_before_the_clock_was_set_back() {
    let (api, mut receiver) = world(1).await;
    let (webhook, _) = subscribe(&api, &receiver.url(), &[]).await;
    api.act(&format!("webhooks/{webhook}/test")).await.ok();
    api.write_as_if_a_year_ahead("webhook_deliveries").await;
    deliver(&api).await;
    receiver.next().await;
}

#[tokio::test]
async fn what_was_decided_before_a_crash_is_told_after_it() {
    let (api, mut receiver) = world(1).await;
    let (webhook, secret) = subscribe(&api, &receiver.url(), &["rollout.halted"]).await;
    started(&api, "r-1", &json!({"risk": 3})).await;
    all_are(&api, "r-1", 1, State::Failed);
    advance(&api).await;
    // Killed before anybody was told.
    let api = api.restarted().await;
    receiver.reply(Reply::Hang);
    let tasks = TaskTracker::new();
    deliver_webhooks(&api.app, &tasks).await.unwrap();
    let first = receiver.next().await;
    deliver(&api).await;
    receiver.nothing_more();
    // Killed while it was in flight.
    let api = api.restarted().await;
    deliver(&api).await;
    let second = receiver.next().await;
    for message in [&first, &second] {
        check_signature(message, &secret);
        assert_eq!(message.json()["type"], "rollout.halted");
    }
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_eq!(deliveries(&api, &webhook).await[0]["attempts"], 2);
}

#[tokio::test]
async fn what_nobody_took_for_a_day_is_given_up_shown_and_can_be_sent_once_more() {
    let (api, mut receiver) = world(1).await;
    let (webhook, _) = subscribe(&api, &receiver.url(), &[]).await;
    let made = api.act(&format!("webhooks/{webhook}/test")).await.ok();
    let again = format!("webhooks/{webhook}/deliveries/{}/redeliver", made["id"].as_str().unwrap());
    api.act(&again).await.refused(409, "delivery_on_its_way", None);
    let mut attempts = 0;
    (0..25).for_each(|_| receiver.reply(Reply::Status(503)));
    while deliveries(&api, &webhook).await[0]["state"] == "due" {
        deliver(&api).await;
        attempts = deliveries(&api, &webhook).await[0]["attempts"].as_u64().unwrap();
        api.clock.advance(HOUR);
    }
    assert!((6..=25).contains(&attempts), "{attempts} in a day");
    for _ in 0..attempts {
        receiver.next().await;
    }
    let dead = api.get(&format!("webhooks/{webhook}/deliveries?state=dead")).await.ok();
    assert_eq!(dead["items"][0]["attempts"], attempts);
    api.clock.advance(HOUR);
    deliver(&api).await;
    receiver.nothing_more();
    receiver.forget_replies();
    api.act(&again).await.ok();
    deliver(&api).await;
    assert_eq!(receiver.next().await.header("webhook-id"), made["id"]);
    let delivered = api.get(&format!("webhooks/{webhook}/deliveries?state=delivered")).await.ok();
    assert_eq!(delivered["items"][0]["attempts"], 1);
    receiver.reply(Reply::Status(410));
    api.act(&again).await.ok();
    deliver(&api).await;
    assert_eq!(deliveries(&api, &webhook).await[0]["state"], "dead", "gone is the end");
    let audit = api.get("audit").await.ok().to_string();
    for action in ["webhook_created", "webhook_tested", "webhook_redelivered"] {
        assert!(audit.contains(action), "{action}");
    }
}

#[tokio::test]
async fn only_what_was_asked_for_is_told_and_a_removed_webhook_is_told_nothing() {
    let (api, mut receiver) = world(1).await;
    let (webhook, _) = subscribe(&api, &receiver.url(), &["rollout.paused"]).await;
    let (other, _) = subscribe(&api, &receiver.url(), &[]).await;
    let listed = api.get("webhooks").await.ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert!(!listed.to_string().contains("whsec_"), "a secret is shown once");
    api.delete(&format!("webhooks/{other}")).await.ok();
    api.delete(&format!("webhooks/{other}")).await.refused(404, "unknown_webhook", None);
    started(&api, "r-1", &json!({})).await;
    api.act("rollouts/r-1/pause").await.ok();
    deliver(&api).await;
    assert_eq!(receiver.next().await.json()["type"], "rollout.paused");
    receiver.nothing_more();
    api.act("rollouts/r-1/cancel").await.ok();
    assert_eq!(deliveries(&api, &webhook).await.as_array().unwrap().len(), 1);
    for path in ["webhooks/wh-0/test", "webhooks/wh-0/deliveries/msg_0/redeliver"] {
        api.act(path).await.refused(404, "unknown_webhook", None);
    }
    let unknown = format!("webhooks/{webhook}/deliveries/msg_0/redeliver");
    api.act(&unknown).await.refused(404, "unknown_delivery", None);
    api.get("webhooks/wh-0/deliveries").await.refused(404, "unknown_webhook", None);
}

#[tokio::test]
async fn addresses_that_messages_must_not_go_to_are_refused_with_the_field() {
    let api = Api::open().await;
    let long = format!("https://h.example/{}", "x".repeat(2000));
    for url in [
        "http://h.example/",
        "http://127.0.0.1:8080/",
        "ftp://h.example/",
        "file:///etc/passwd",
        "h.example",
        "",
        "https://user:secret@h.example/",
        "https://h.example/#part",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://10.0.0.8/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://[fe80::1]/",
        "https://[::ffff:192.168.0.1]/",
        "https://[fd00::1]/",
        &long,
    ] {
        let answer = api.post("webhooks", json!({"url": url})).await;
        answer.refused(422, "invalid_webhook", Some("url"));
    }
    let unknown = json!({"url": "https://h.example/", "events": ["rollout.exploded"]});
    api.post("webhooks", unknown).await.refused(400, "invalid_json", Some("events[0]"));
    assert_eq!(api.get("webhooks").await.ok()["items"], json!([]));
    for _ in 0..WEBHOOKS_MAX {
        subscribe(&api, "https://h.example/", &[]).await;
    }
    let one_more = api.post("webhooks", json!({"url": "https://h.example/"})).await;
    one_more.refused(409, "too_many_webhooks", None);
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_not_asked() {
    let mut receiver = Receiver::open().await;
    let ca_file = receiver.ca_file.clone();
    let api = Api::open_with(|config| config.webhooks.ca_file = Some(ca_file)).await;
    let (webhook, _) = subscribe(&api, &receiver.url(), &[]).await;
    api.act(&format!("webhooks/{webhook}/test")).await.ok();
    deliver(&api).await;
    assert_eq!(deliveries(&api, &webhook).await[0]["outcome"], "address_refused");
    receiver.nothing_more();
}

#[tokio::test]
async fn a_receiver_that_others_vouch_for_gets_nothing_and_redirects_are_not_followed() {
    let (api, mut receiver) = world(1).await;
    let mut stranger = Receiver::open().await;
    let (webhook, _) = subscribe(&api, &stranger.url(), &[]).await;
    api.act(&format!("webhooks/{webhook}/test")).await.ok();
    deliver(&api).await;
    assert_eq!(deliveries(&api, &webhook).await[0]["outcome"], "not_reached");
    stranger.nothing_more();

    let (webhook, _) = subscribe(&api, &receiver.url(), &[]).await;
    receiver.reply(Reply::Redirect(receiver.url()));
    api.act(&format!("webhooks/{webhook}/test")).await.ok();
    deliver(&api).await;
    receiver.next().await;
    receiver.nothing_more();
    assert_eq!(deliveries(&api, &webhook).await[0]["outcome"], "http_307");
}

/// The program that docs/webhooks.md shows.
fn shown_receiver() -> &'static str {
    let page = include_str!("../../../docs/webhooks.md");
    let (_, program) = page.split_once("```python\n").unwrap();
    program.split_once("```\n").unwrap().0
}

#[tokio::test]
async fn the_receiver_that_the_documentation_shows_knows_our_messages_from_others() {
    let (api, mut receiver) = world(1).await;
    let (webhook, secret) = subscribe(&api, &receiver.url(), &[]).await;
    api.act(&format!("webhooks/{webhook}/test")).await.ok();
    deliver(&api).await;
    let message = receiver.next().await;
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers = names.map(|name| (name, message.header(name)));
    let headers = serde_json::to_string(&headers).unwrap();
    let body = serde_json::to_string(str::from_utf8(&message.body).unwrap()).unwrap();
    let judge = format!(
        "{}\nimport json\nheaders = dict(json.loads({headers:?}))\nbody = json.loads({body:?}).encode()\n\
         now = int(headers['webhook-timestamp'])\nlook = lambda at, body: \
         (setattr(time, 'time', lambda: at), is_genuine(headers, body))[1]\n\
         print(look(now, body), look(now + 301, body), look(now, body + b' '))",
        shown_receiver().replace("__name__ ==", "'shown' =="),
    );
    let python = std::env::var_os("WAXWING_PYTHON").unwrap_or_else(|| "python3".into());
    let mut python = Command::new(python);
    let output = python.arg("-c").arg(judge).env("WEBHOOK_SECRET", secret).output().unwrap();
    let words = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(words.trim(), "True False False", "{complaint}");
}

#[tokio::test]
async fn one_receiver_that_hangs_keeps_nobody_else_waiting() {
    let (api, mut receiver) = world(1).await;
    let (hanging, _) = subscribe(&api, &receiver.url(), &["webhook.test"]).await;
    receiver.reply(Reply::Hang);
    api.act(&format!("webhooks/{hanging}/test")).await.ok();
    let tasks = TaskTracker::new();
    deliver_webhooks(&api.app, &tasks).await.unwrap();
    receiver.next().await;
    let (other, _) = subscribe(&api, &receiver.url(), &["rollout.started"]).await;
    started(&api, "r-1", &json!({})).await;
    api.act(&format!("webhooks/{hanging}/test")).await.ok();
    deliver(&api).await;
    assert_eq!(receiver.next().await.json()["type"], "rollout.started");
    receiver.nothing_more();
    assert_eq!(deliveries(&api, &other).await[0]["state"], "delivered");
    let waiting = deliveries(&api, &hanging).await;
    assert_eq!((&waiting[0]["state"], &waiting[1]["state"]), (&json!("due"), &json!("in_flight")));
}

#[tokio::test]
async fn no_secret_is_in_the_database_or_the_audit_log() {
    let (api, receiver) = world(1).await;
    let (_, secret) = subscribe(&api, &receiver.url(), &[]).await;
    started(&api, "r-1", &json!({})).await;
    deliver(&api).await;
    let audit = api.get("audit").await.ok().to_string();
    assert!(audit.contains("webhook_created") && !audit.contains("key=k1"), "{audit}");
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let secrets = api.app.config.secrets_dir();
    for file in walk(&api.app.config.data_dir) {
        let content = fs::read(&file).unwrap();
        let holds = |part: &[u8]| content.windows(part.len()).any(|it| it == part);
        assert!(!holds(secret.as_bytes()) && !holds(&key), "{}", file.display());
    }
    assert!(secrets.join("webhooks.key").exists());
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
