//! Who is connected, and what reaches them.

use mqtt_protocol_core::mqtt::packet::Qos;

use super::*;
use crate::clock::FakeClock;

const EXPIRY: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_command_reaches_a_device_that_listens_and_no_other() {
    let (hub, _) = hub();
    assert_eq!(hub.command(&device(1), command()), Delivery::Absent);
    let mut line = hub.attach(device(1)).await;
    assert_eq!(hub.command(&device(1), command()), Delivery::NotListening);
    line.listen(true);
    assert_eq!(hub.command(&device(1), command()), Delivery::Sent);
    assert!(matches!(line.order().await, Order::Command(bytes) if bytes == command()));
    drop(line);
    assert_eq!(hub.command(&device(1), command()), Delivery::Absent);
}

#[tokio::test]
async fn a_connection_that_takes_no_commands_is_ended() {
    let (hub, _) = hub();
    let mut line = hub.attach(device(1)).await;
    line.listen(true);
    for _ in 0..COMMANDS_MAX {
        assert_eq!(hub.command(&device(1), command()), Delivery::Sent);
    }
    assert_eq!(hub.command(&device(1), command()), Delivery::Behind);
    assert!(matches!(line.order().await, Order::Stop(Reason::QuotaExceeded)));
}

#[tokio::test]
async fn a_new_connection_ends_the_old_one_and_gets_what_it_kept() {
    let (hub, _) = hub();
    let mut old = hub.attach(device(1)).await;
    let successor = tokio::spawn({
        let hub = hub.clone();
        async move { hub.attach(device(1)).await }
    });
    assert_eq!(old.stopped().await, Reason::SessionTakenOver);
    assert_eq!(hub.connected(), 1);
    old.finish(Some(kept(1)));
    let mut new = successor.await.unwrap();
    assert_eq!(hub.connected(), 1);
    assert!(new.take_kept().is_some());
    drop(new);
    assert_eq!(hub.connected(), 0);
}

#[tokio::test]
async fn a_connection_that_breaks_down_does_not_keep_its_successor_waiting() {
    let (hub, _) = hub();
    let old = hub.attach(device(1)).await;
    let successor = tokio::spawn({
        let hub = hub.clone();
        async move { hub.attach(device(1)).await }
    });
    // As in a panic: no goodbye.
    drop(old);
    assert!(successor.await.unwrap().take_kept().is_none());
    assert_eq!(hub.connected(), 0, "the successor was dropped as well");
}

#[tokio::test]
async fn what_is_kept_is_forgotten_in_time() {
    let (hub, clock) = hub();
    hub.attach(device(1)).await.finish(Some(kept(0)));
    assert_eq!(hub.command(&device(1), command()), Delivery::Kept);
    clock.advance(EXPIRY);
    assert_eq!(hub.command(&device(1), command()), Delivery::Absent);
    assert!(hub.attach(device(1)).await.take_kept().is_none());
    hub.attach(device(2)).await.finish(None);
    assert!(hub.lock().entries.is_empty());
    assert!(hub.lock().expiries.is_empty());
}

#[tokio::test]
async fn an_old_expiry_does_not_forget_what_was_kept_later() {
    let (hub, clock) = hub();
    hub.attach(device(1)).await.finish(Some(kept(0)));
    clock.advance(EXPIRY / 2);
    hub.attach(device(1)).await.finish(Some(kept(0)));
    clock.advance(EXPIRY / 2);
    hub.attach(device(2)).await.finish(None);
    assert_eq!(hub.command(&device(1), command()), Delivery::Kept);
}

#[tokio::test]
async fn what_is_kept_is_bounded() {
    let (hub, _) = hub();
    hub.attach(device(1)).await.finish(Some(kept(0)));
    for _ in 0..COMMANDS_MAX {
        assert_eq!(hub.command(&device(1), command()), Delivery::Kept);
    }
    assert_eq!(hub.command(&device(1), command()), Delivery::Behind);
}

#[tokio::test]
async fn a_revoked_device_is_disconnected_and_forgotten() {
    let (hub, _) = hub();
    let mut line = hub.attach(device(1)).await;
    hub.disconnect(&device(1));
    assert_eq!(line.stopped().await, Reason::AdministrativeAction);
    line.finish(None);
    hub.attach(device(2)).await.finish(Some(kept(1)));
    hub.disconnect(&device(2));
    assert!(hub.attach(device(2)).await.take_kept().is_none());
}

#[tokio::test]
async fn the_end_of_the_server_reaches_connections_old_and_new() {
    let (hub, _) = hub();
    let mut old = hub.attach(device(1)).await;
    hub.shut_down();
    assert_eq!(old.stopped().await, Reason::ServerShuttingDown);
    assert_eq!(hub.attach(device(2)).await.stopped().await, Reason::ServerShuttingDown);
}

#[tokio::test]
async fn only_devices_that_listen_are_nudged_and_only_for_them_a_command_is_made() {
    let (hub, _) = hub();
    let listening = hub.attach(device(1)).await;
    listening.listen(true);
    let _silent = hub.attach(device(2)).await;
    let mut made = Vec::new();
    let devices = [device(1), device(2), device(3)];
    let nudged = hub.nudge(&devices, |device| {
        made.push(device.clone());
        Some(command())
    });
    assert_eq!((nudged, &made[..]), (1, &[device(1)][..]));
}

fn hub() -> (Hub, Arc<FakeClock>) {
    let clock = Arc::new(FakeClock::new(0));
    (Hub::new(clock.clone()), clock)
}

fn device(number: u8) -> DeviceId {
    DeviceId::parse(&format!("d-{number}")).unwrap()
}

fn command() -> Bytes {
    Bytes::from_static(b"poll")
}

fn kept(commands: usize) -> Kept {
    let mut outbox = Outbox::default();
    outbox.subscribe(Some(Qos::AtLeastOnce));
    for _ in 0..commands {
        outbox.push(command()).unwrap();
    }
    Kept { outbox, expiry: EXPIRY }
}
