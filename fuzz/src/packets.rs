//! Whatever a device may send over MQTT, through the endpoint as it serves a connection.

use std::future::ready;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::runtime::{Builder, Runtime};
use waxwing_wire::DeviceId;
use waxwing_wire::topic::{Kind, Topic};

use crate::clock::{Clock, FakeClock};
use crate::mqtt::keeper::{Keeper, Place, Rest, Session, Subscribed, Unavailable, Wish};
use crate::mqtt::{
    Audience, Endpoint, Grants, Guest, Hub, Limits, Refusals, Refused, Scope, Sink, serve,
};

/// Bytes of the answers that wait to be read.
const PIPE_BYTES: usize = 1 << 16;

/// Everything a session may answer with: CONNACK, PUBLISH, PUBACK, PUBREC, PUBCOMP, SUBACK, UNSUBACK,
/// PINGRESP, DISCONNECT.
const ANSWERS: [u8; 9] = [0x20, 0x30, 0x40, 0x50, 0x70, 0x90, 0xb0, 0xd0, 0xe0];

/// The other name of a device's topic of telemetry.
const EXISTING: &str = "device/d-1/data";

/// What was handed over.
#[derive(Default)]
struct Taken(Mutex<Vec<(DeviceId, Kind, usize)>>);

impl Sink for Taken {
    async fn accept(&self, device: &DeviceId, kind: Kind, payload: Bytes) -> Result<(), Refused> {
        let mut taken = self.0.lock().expect("one thread");
        taken.push((device.clone(), kind, payload.len()));
        Ok(())
    }
}

/// Keeps nothing: there is one connection.
struct Forgetful;

impl Keeper for Forgetful {
    async fn begin(&self, _: &DeviceId, _: u64, _: Wish) -> Result<Option<Session>, Unavailable> {
        Ok(None)
    }

    async fn note(&self, _: &DeviceId, _: u64, _: Subscribed) -> Result<(), Unavailable> {
        Ok(())
    }

    fn taken(&self, _: Place) {}

    async fn end(&self, _: &DeviceId, _: u64, _: Option<Rest>) {}
}

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime"));

/// The session ends when the client does; it answers with nothing but whole packets of a server, to
/// a CONNECT first. Of a device it hands over only what the device may say, in its own name, within the
/// limits; of an operator nothing.
pub fn check(bytes: &[u8]) {
    check_device(bytes);
    let operator = Scope::Operator("ada".to_owned());
    let (answer, taken) = serve_client(operator, "made-up", bytes);
    check_answer(&answer);
    assert!(taken.is_empty(), "an operator spoke for a device");
}

fn check_device(bytes: &[u8]) {
    let device = DeviceId::parse("d-1").expect("a name");
    let (answer, taken) = serve_client(Scope::Device(device.clone()), "d-1", bytes);
    check_answer(&answer);
    for (who, kind, length) in &taken {
        assert_eq!(who, &device, "a message in another's name");
        assert!(*kind != Kind::Command, "a device may not say this");
        assert!(*length <= bytes.len(), "a message longer than what was sent");
        let topic = Topic { device: device.clone(), kind: *kind }.to_string();
        let named = |topic: &str| bytes.windows(topic.len()).any(|it| it == topic.as_bytes());
        let by_other_name = *kind == Kind::Telemetry && named(EXISTING);
        assert!(named(&topic) || by_other_name, "a message on a topic that nobody named");
    }
    assert!(taken.is_empty() || answer.first() == Some(&0x20), "a message before the CONNACK");
}

/// Serves a client that sends these bytes; returns the answer, and what was handed over.
fn serve_client(
    scope: Scope,
    nickname: &str,
    bytes: &[u8],
) -> (Vec<u8>, Vec<(DeviceId, Kind, usize)>) {
    let clock: Arc<dyn Clock> = Arc::new(FakeClock::new(1_795_167_000_000));
    let endpoint = Endpoint {
        hub: Hub::default(),
        audience: Audience::default(),
        grants: Grants::default(),
        keeper: Forgetful,
        refusals: Refusals::default(),
        sink: Taken::default(),
    };
    let guest =
        Guest { scope, nickname: nickname.to_owned(), limits: Limits::NONE, until: Duration::MAX };
    let answer = RUNTIME.block_on(async {
        let (mut near, far) = duplex(PIPE_BYTES);
        let client = async {
            // Who sends an endless packet is cut off while it sends.
            let _ = near.write_all(bytes).await;
            let _ = near.shutdown().await;
            let mut answer = Vec::new();
            let _ = near.read_to_end(&mut answer).await;
            answer
        };
        tokio::join!(serve(&endpoint, &clock, guest, far, || ready(true)), client).1
    });
    let taken = endpoint.sink.0.into_inner().expect("one thread");
    (answer, taken)
}

fn check_answer(mut rest: &[u8]) {
    while let Some((header, tail)) = rest.split_first() {
        assert!(ANSWERS.contains(&(header & 0xf0)), "a server sends no such packet: {header:02x}");
        let (mut length, mut shift, mut tail) = (0_usize, 0, tail);
        while let Some((byte, next)) = tail.split_first() {
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            tail = next;
            if byte & 0x80 == 0 {
                break;
            }
        }
        rest = tail.get(length..).expect("half a packet");
    }
}
