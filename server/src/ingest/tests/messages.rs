//! Messages that are no reports: what is kept of them, and how existing devices sign.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use waxwing_wire::envelope::Envelope;
use waxwing_wire::existing;
use zeroize::Zeroizing;

use super::*;
use crate::message_secrets::Secret;
use crate::testing;

#[tokio::test]
async fn telemetry_is_kept_as_sent_and_its_ids_survive_a_restart() {
    let desk = Desk::open(1).await;
    let device = Shop::device(0);
    let sealed = seal(0, Kind::Telemetry, "t-1", r#"{"celsius":21.50}"#, NOW_MS);
    let outcome = desk.ingest.message(&device, Kind::Telemetry, &sealed, Ok(NOW_MS)).await;
    assert_eq!(outcome.unwrap(), Accepted::Applied);
    let desk = desk.restarted().await;
    let kept = desk.shop.log.last_telemetry(&device).await.unwrap().unwrap().message;
    assert_eq!((kept.envelope.as_bytes(), kept.received_at), (&*sealed, NOW_MS));
    assert_eq!(kept.signed_by, desk.shop.fleet.device(&device).unwrap().certificates[0].serial);
    let outcome = desk.ingest.message(&device, Kind::Telemetry, &sealed, Ok(NOW_MS)).await;
    assert_eq!(outcome.unwrap(), Accepted::Duplicate);
    let other = seal(0, Kind::Telemetry, "t-1", r#"{"celsius":99}"#, NOW_MS);
    let outcome = desk.ingest.message(&device, Kind::Telemetry, &other, Ok(NOW_MS)).await;
    assert!(matches!(outcome, Err(Refused::Replay)), "{outcome:?}");
}

#[tokio::test]
async fn no_copy_of_what_was_forgotten_is_taken_however_long_a_broker_may_keep_messages() {
    const HOUR_MS: u64 = 3600 * 1000;
    let desk = Desk::open(1).await;
    let device = Shop::device(0);
    let sealed = |id, at_ms| seal(0, Kind::Telemetry, id, "{}", at_ms);
    // The device's clock was as far ahead as is believed.
    let first = sealed("t-1", NOW_MS + FRESH_S * 1000);
    desk.ingest.message(&device, Kind::Telemetry, &first, Ok(NOW_MS)).await.unwrap();
    assert_eq!(desk.shop.log.forget(NOW_MS + 1, u64::MAX, 9).await.unwrap(), 1);
    let desk = desk.restarted().await;
    let way = Way::Broker { kept_s: 24 * 3600 };
    let say = |bytes: Vec<u8>| {
        let (desk, device) = (&desk, &device);
        let now = Ok(NOW_MS + 2 * HOUR_MS);
        async move { desk.ingest.message_by(way, device, Kind::Telemetry, &bytes, now).await }
    };
    let copy = say(first).await;
    assert!(matches!(copy, Err(Refused::Stale)), "{copy:?}");
    let later = sealed("t-2", NOW_MS + (FRESH_S + 1) * 1000);
    assert_eq!(say(later).await.unwrap(), Accepted::Applied);
}

#[tokio::test]
async fn of_copies_that_come_at_once_one_is_new() {
    let desk = Desk::open(1).await;
    let device = Shop::device(0);
    let same = seal(0, Kind::Telemetry, "t-1", r#"{"celsius":21}"#, NOW_MS);
    let other = seal(0, Kind::Telemetry, "t-1", r#"{"celsius":22}"#, NOW_MS);
    let say = |bytes| desk.ingest.message(&device, Kind::Telemetry, bytes, Ok(NOW_MS));
    // The first waits for its disk write; the others come meanwhile and are one batch.
    let (first, again, replayed) = tokio::join!(say(&same), say(&same), say(&other));
    assert_eq!((first.unwrap(), again.unwrap()), (Accepted::Applied, Accepted::Duplicate));
    assert!(matches!(replayed, Err(Refused::Replay)), "{replayed:?}");
    assert_eq!(desk.shop.log.after(0, 10).await.unwrap().len(), 1);
}

/// A message as an existing device would write it, with its own order and spaces.
fn existing(secret: &str, device: &str, id: &str, payload: &str, at_ms: u64) -> Vec<u8> {
    let at = at_ms / 1000;
    let header = Header {
        device_id: device.parse().unwrap(),
        timestamp: at,
        message_id: id.parse().unwrap(),
    };
    let sealed = header.seal(payload, "00");
    let text = existing::signed_text(&Envelope::parse(sealed.as_bytes()).unwrap()).unwrap();
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    let mac = mac.chain_update(text).finalize().into_bytes();
    format!(
        "{{ \"signature\": \"{mac:x}\", \"payload\":{payload},\n \"timestamp\":{at}, \
         \"device_id\": \"{device}\", \"message_id\": \"{id}\" }}"
    )
    .into_bytes()
}

#[tokio::test]
async fn the_record_of_a_device_says_how_it_signs_and_the_message_does_not() {
    const SECRET: &str = "supersecretkey123";
    const PAYLOAD: &str = r#"{"temperature": 22.50, "humidity": 65}"#;
    let desk = Desk::open(2).await;
    let secret = Secret::parse(Zeroizing::new(SECRET.to_owned())).unwrap();
    let known = Device::clone(&desk.shop.fleet.device(&Shop::device(0)).unwrap());
    let sealed = testing::vault().seal(&known.id, &secret);
    desk.shop.fleet.put_device(Device { message_secret: Some(sealed), ..known });
    let say = async |n, kind, bytes: Vec<u8>| {
        desk.ingest.message(&Shop::device(n), kind, &bytes, Ok(NOW_MS)).await
    };
    let by_secret = |device, id| existing(SECRET, device, id, PAYLOAD, NOW_MS);
    let by_key = |n, id| seal(n, Kind::Telemetry, id, PAYLOAD, NOW_MS);
    assert_eq!(say(0, Kind::Telemetry, by_secret("d-0", "m-1")).await.unwrap(), Accepted::Applied);
    assert_eq!(say(1, Kind::Telemetry, by_key(1, "m-1")).await.unwrap(), Accepted::Applied);
    let other = existing("supersecretkey124", "d-0", "m-2", PAYLOAD, NOW_MS);
    for (n, kind, bytes) in [
        (0, Kind::Telemetry, by_key(0, "m-2")),
        (0, Kind::Telemetry, other),
        (0, Kind::Response, by_secret("d-0", "m-2")),
        (0, Kind::Report, by_secret("d-0", "m-2")),
        (1, Kind::Telemetry, by_secret("d-1", "m-2")),
    ] {
        let outcome = say(n, kind, bytes).await;
        assert!(matches!(outcome, Err(Refused::Signature)), "{n} {kind}: {outcome:?}");
    }
    let logged = desk.shop.log.last_telemetry(&Shop::device(0)).await.unwrap().unwrap();
    assert_eq!(logged.message.signed_by, SIGNED_BY_SECRET);
}

#[tokio::test]
async fn a_message_that_cannot_be_written_is_not_acknowledged() {
    let desk = Desk::open(1).await;
    desk.shop.log.close().await;
    let sealed = seal(0, Kind::Telemetry, "t-1", r#"{"celsius":21}"#, NOW_MS);
    let outcome = desk.ingest.message(&Shop::device(0), Kind::Telemetry, &sealed, Ok(NOW_MS)).await;
    assert!(outcome.is_err_and(|refused| refused.may_be_sent_again()));
}
