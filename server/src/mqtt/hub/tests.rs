//! Who is connected, and what reaches them.

use std::num::NonZeroU16;

use bytes::Bytes;

use super::*;
use crate::mqtt::keeper::{KEPT_PACKET_MIN, Place};
use crate::mqtt::meter::Limits;

#[tokio::test]
async fn a_command_reaches_a_device_that_listens_and_no_other() {
    let hub = Hub::default();
    assert_eq!(hub.command(&device(1), command()), Delivery::Absent);
    let mut line = hub.attach(who(1)).await;
    assert_eq!(hub.command(&device(1), command()), Delivery::NotListening);
    line.listen(true);
    assert_eq!(hub.command(&device(1), command()), Delivery::Sent);
    assert!(matches!(line.order().await, Order::Command(letter) if letter == command()));
    drop(line);
    assert_eq!(hub.command(&device(1), command()), Delivery::Absent);
}

#[tokio::test]
async fn a_connection_that_takes_no_commands_is_ended() {
    let hub = Hub::default();
    let mut line = hub.attach(who(1)).await;
    line.listen(true);
    for _ in 0..LETTERS_MAX {
        assert_eq!(hub.command(&device(1), command()), Delivery::Sent);
    }
    assert_eq!(hub.command(&device(1), kept()), Delivery::Kept, "it has time");
    assert!(matches!(line.order().await, Order::Command(_)));
    assert_eq!(hub.command(&device(1), command()), Delivery::Sent);
    assert_eq!(hub.command(&device(1), command()), Delivery::Behind);
    assert!(matches!(line.order().await, Order::Stop(Reason::QuotaExceeded)));
}

#[tokio::test]
async fn a_new_connection_ends_the_old_one_and_waits_for_its_end() {
    let hub = Hub::default();
    let mut old = hub.attach(who(1)).await;
    let successor = tokio::spawn({
        let hub = hub.clone();
        async move { hub.attach(who(1)).await }
    });
    assert_eq!(old.stopped().await, Reason::SessionTakenOver);
    assert_eq!(hub.connected(), 1);
    assert!(!successor.is_finished());
    drop(old);
    let new = successor.await.unwrap();
    assert_eq!(hub.connected(), 1);
    drop(new);
    assert_eq!(hub.connected(), 0);
}

#[tokio::test]
async fn a_command_that_is_kept_reaches_a_connection_before_it_listens() {
    let hub = Hub::default();
    assert_eq!(hub.command(&device(1), kept()), Delivery::Kept);
    let mut line = hub.attach(who(1)).await;
    assert_eq!(hub.command(&device(1), kept()), Delivery::Sent);
    assert!(matches!(line.order().await, Order::Command(letter) if letter == kept()));
}

#[tokio::test]
async fn a_revoked_device_is_disconnected() {
    let hub = Hub::default();
    let mut line = hub.attach(who(1)).await;
    hub.disconnect(&device(1));
    assert_eq!(line.stopped().await, Reason::AdministrativeAction);
}

#[tokio::test]
async fn all_programs_of_an_operator_are_disconnected_and_nobody_else() {
    let hub = Hub::default();
    let program = |operator: &str, client_id: &str| Who::Operator {
        operator: operator.to_owned(),
        client_id: client_id.to_owned(),
    };
    let mut one = hub.attach(program("ada", "1")).await;
    let mut other = hub.attach(program("ada", "2")).await;
    let _bystanders = (hub.attach(program("bob", "1")).await, hub.attach(who(1)).await);
    hub.disconnect_operator("ada");
    assert_eq!(one.stopped().await, Reason::AdministrativeAction);
    assert_eq!(other.stopped().await, Reason::AdministrativeAction);
    assert_eq!(hub.connected(), 1, "operators are no devices");
    let stopped = hub.lock().lines.values().filter(|line| line.stop.is_none()).count();
    assert_eq!(stopped, 2);
}

#[tokio::test]
async fn the_end_of_the_server_reaches_connections_old_and_new() {
    let hub = Hub::default();
    let mut old = hub.attach(who(1)).await;
    hub.shut_down();
    assert_eq!(old.stopped().await, Reason::ServerShuttingDown);
    assert_eq!(hub.attach(who(2)).await.stopped().await, Reason::ServerShuttingDown);
}

#[tokio::test]
async fn what_a_device_has_sent_is_known_on_its_next_connection_and_forgotten_in_time() {
    let hub = Hub::default();
    let limits = Limits { messages_per_s: 1, bytes_per_s: 1, burst_s: 10 };
    let now = Duration::from_secs(1000);
    let line = hub.attach(who(1)).await;
    let mut meter = line.take_meter();
    assert!(meter.message(&limits, now));
    line.keep_meter(meter, now);
    drop(line);
    assert_eq!(hub.attach(who(1)).await.take_meter(), meter);
    let line = hub.attach(who(1)).await;
    assert_eq!(line.take_meter(), Meter::default(), "it is with the connection");
    line.keep_meter(meter, now);
    let later = meter.clear_at();
    hub.attach(who(2)).await.keep_meter(Meter::default(), later);
    let clients = hub.lock();
    assert!(clients.meters.is_empty() && clients.clear_at.is_empty());
}

pub(super) fn device(number: u8) -> DeviceId {
    DeviceId::parse(&format!("d-{number}")).unwrap()
}

pub(super) fn who(number: u8) -> Who {
    Who::Device(device(number))
}

pub(super) fn command() -> Letter {
    Letter { place: None, payload: Bytes::from_static(b"poll") }
}

pub(super) fn kept() -> Letter {
    let packet = NonZeroU16::new(KEPT_PACKET_MIN).unwrap();
    Letter { place: Some(Place { position: 1, packet }), ..command() }
}
