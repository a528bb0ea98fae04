//! The sessions in the database against a model of what MQTT says of them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;

const NOW_MS: u64 = 1_795_167_000_000;
const LIMIT: usize = 3;
const PACKET_MIN: u16 = 0x8000;

struct Shop {
    folder: TempDir,
    store: Store,
}

impl Shop {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("waxwing.db")).await.unwrap();
        Self { folder, store }
    }

    /// Runs one function of this module as a change.
    async fn change<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Error>,
    ) -> T {
        let mut change = self.store.begin().await.unwrap();
        let outcome = work(change.connection()).await.unwrap();
        drop(change.commit().await.unwrap());
        outcome
    }

    async fn queue(&self, device: &DeviceId, life_s: u64, now_ms: u64) -> Queued {
        let new = NewCommand {
            device,
            payload: b"poll",
            expires_at: now_ms + life_s * 1000,
            commands_max: LIMIT,
            packet_min: PACKET_MIN,
        };
        self.change(async |db| queue(db, new, now_ms).await).await
    }
}

fn device(number: u8) -> DeviceId {
    DeviceId::parse(&format!("d-{number}")).unwrap()
}

fn connection(number: u64) -> Connection {
    Connection { device: device(1), number }
}

#[tokio::test]
async fn a_command_waits_for_a_device_that_sleeps_also_after_a_restart() {
    let shop = Shop::open().await;
    let started = shop.change(async |db| begin(db, &connection(1), false, 60, NOW_MS).await).await;
    assert_eq!(started, None);
    assert_eq!(shop.queue(&device(1), 60, NOW_MS).await, Queued::NoSession);
    shop.change(async |db| subscribe(db, &connection(1), Some(1), &[]).await).await;
    let rest = Rest { expiry_s: 60, taken: vec![9], ..Rest::default() };
    shop.change(async |db| end(db, &connection(1), Some(&rest), NOW_MS).await).await;
    let kept = shop.queue(&device(1), 60, NOW_MS).await;
    assert_eq!(kept, Queued::Kept { position: 1, packet: PACKET_MIN });
    shop.store.close().await;
    let store = Store::open(&shop.folder.path().join("waxwing.db")).await.unwrap();
    let shop = Shop { store, ..shop };
    shop.change(async |db| restart(db, NOW_MS + 1).await).await;
    let found = shop.change(async |db| begin(db, &connection(1), false, 60, NOW_MS).await).await;
    let payload = b"poll".to_vec();
    let command = Command { position: 1, packet: PACKET_MIN, payload, sent: false };
    let expected = Session {
        subscription: Some(1),
        commands: vec![command],
        taken: vec![9],
        ..Session::default()
    };
    assert_eq!(found, Some(expected));
    shop.change(async |db| taken(db, 1).await).await;
    let found = shop.change(async |db| begin(db, &connection(2), false, 60, NOW_MS).await).await;
    let expected = Session { subscription: Some(1), ..Session::default() };
    assert_eq!(found, Some(expected), "what was released is not taken for good");
}

#[tokio::test]
async fn a_device_that_takes_nothing_has_a_bounded_number_of_commands() {
    let shop = Shop::open().await;
    shop.change(async |db| begin(db, &connection(1), false, 60, NOW_MS).await).await;
    shop.change(async |db| subscribe(db, &connection(1), Some(1), &[]).await).await;
    for life_s in [1, 60, 60] {
        assert!(matches!(shop.queue(&device(1), life_s, NOW_MS).await, Queued::Kept { .. }));
    }
    assert_eq!(shop.queue(&device(1), 60, NOW_MS).await, Queued::Full);
    let room = shop.queue(&device(1), 60, NOW_MS + 1000).await;
    assert_eq!(room, Queued::Kept { position: 4, packet: PACKET_MIN }, "one is void");
}

#[tokio::test]
async fn the_end_of_a_connection_that_was_replaced_changes_nothing() {
    let shop = Shop::open().await;
    for number in [1, 2] {
        shop.change(async |db| begin(db, &connection(number), false, 60, NOW_MS).await).await;
    }
    shop.change(async |db| end(db, &connection(1), None, NOW_MS).await).await;
    shop.change(async |db| subscribe(db, &connection(1), Some(1), &[]).await).await;
    let found = shop.change(async |db| begin(db, &connection(3), false, 60, NOW_MS).await).await;
    assert_eq!(found, Some(Session::default()));
}

#[tokio::test]
async fn a_device_that_is_shut_out_leaves_nothing() {
    let shop = Shop::open().await;
    shop.change(async |db| begin(db, &connection(1), false, 60, NOW_MS).await).await;
    shop.change(async |db| crate::store::devices::shut_out(db, &device(1), NOW_MS).await).await;
    assert!(!exists(&shop.store, &device(1)).await.unwrap());
}

/// What MQTT says of the session of one device (MQTT 5, 3.1.2.4 and 3.1.2.11.2).
#[derive(Debug, Default)]
struct Model {
    session: Option<Modelled>,
    position: u64,
}

#[derive(Debug, Default)]
struct Modelled {
    connection: u64,
    /// Until when it is kept, once there is no connection.
    until_ms: Option<u64>,
    expiry_s: u32,
    subscription: Option<u8>,
    feeds: Vec<String>,
    taken: Vec<u16>,
    /// By position: packet, end, sent.
    commands: BTreeMap<u64, (u16, u64, bool)>,
}

impl Model {
    fn alive(&mut self, now_ms: u64) -> Option<&mut Modelled> {
        self.session.as_mut().filter(|it| it.until_ms.is_none_or(|until| until > now_ms))
    }

    fn connected(&mut self, number: u64) -> Option<&mut Modelled> {
        let session = self.session.as_mut();
        session.filter(|it| it.connection == number && it.until_ms.is_none())
    }

    fn begin(&mut self, number: u64, clean: bool, expiry_s: u32, now_ms: u64) -> Option<Session> {
        if clean || self.alive(now_ms).is_none() {
            self.session = None;
        }
        let found = self.session.as_ref().map(|it| Session {
            subscription: it.subscription,
            feeds: it.feeds.clone(),
            commands: it.good_commands(now_ms),
            taken: it.taken.clone(),
        });
        if expiry_s == 0 {
            self.session = None;
            return found;
        }
        let session = self.session.get_or_insert_default();
        (session.connection, session.expiry_s, session.until_ms) = (number, expiry_s, None);
        session.taken.clear();
        found
    }

    fn queue(&mut self, expires_at: u64, now_ms: u64) -> Queued {
        let position = self.position + 1;
        let Some(session) = self.alive(now_ms).filter(|it| it.subscription.is_some()) else {
            return Queued::NoSession;
        };
        session.commands.retain(|_, (_, until, _)| *until > now_ms);
        let used: Vec<_> = session.commands.values().map(|(packet, ..)| *packet).collect();
        let packets = PACKET_MIN..PACKET_MIN + u16::try_from(LIMIT).unwrap();
        let Some(packet) = packets.into_iter().find(|packet| !used.contains(packet)) else {
            return Queued::Full;
        };
        let sent = session.until_ms.is_none();
        session.commands.insert(position, (packet, expires_at, sent));
        self.position = position;
        Queued::Kept { position, packet }
    }

    fn end(&mut self, number: u64, rest: Option<&Rest>, now_ms: u64) {
        let Some(session) = self.connected(number) else { return };
        let Some(rest) = rest else {
            self.session = None;
            return;
        };
        session.until_ms = Some(now_ms + u64::from(rest.expiry_s) * 1000);
        session.expiry_s = rest.expiry_s;
        session.taken.clone_from(&rest.taken);
        for (position, (_, _, sent)) in &mut session.commands {
            *sent = rest.sent.contains(position);
        }
    }
}

impl Modelled {
    fn good_commands(&self, now_ms: u64) -> Vec<Command> {
        let good = self.commands.iter().filter(|(_, (_, until, _))| *until > now_ms);
        let command = |(&position, &(packet, _, sent)): (&u64, &(u16, u64, bool))| Command {
            position,
            packet,
            payload: b"poll".to_vec(),
            sent,
        };
        good.map(command).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Begin { clean: bool, expiry_s: u32 },
    End { stale: bool, rest: Option<(u32, Vec<u64>, Vec<u16>)> },
    Forget,
    Queue { life_s: u64 },
    Restart,
    Subscribe(Option<u8>),
    Taken(u64),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let expiry = prop::sample::select(vec![0, 1, 10, 1000]);
    let rest =
        (1..20_u32, prop::collection::vec(1..8_u64, 0..3), prop::collection::vec(1..5_u16, 0..3));
    prop_oneof![
        4 => (any::<bool>(), expiry).prop_map(|(clean, expiry_s)| Step::Begin { clean, expiry_s }),
        4 => (prop::bool::weighted(0.2), prop::option::of(rest))
            .prop_map(|(stale, rest)| Step::End { stale, rest }),
        1 => Just(Step::Forget),
        6 => (1..20_u64).prop_map(|life_s| Step::Queue { life_s }),
        1 => Just(Step::Restart),
        4 => prop::sample::select(vec![None, Some(0), Some(1)]).prop_map(Step::Subscribe),
        3 => (1..8_u64).prop_map(Step::Taken),
        3 => (0..12_u64).prop_map(Step::Wait),
    ]
}

/// Other topics with each subscription.
fn feeds(subscription: Option<u8>) -> Vec<String> {
    subscription.map(|qos| format!("waxwing/v1/d-{qos}/state")).into_iter().collect()
}

/// Does the same with both, and compares what they say.
async fn walk(shop: &Shop, steps: Vec<Step>) {
    shop.change(async |db| remove(db, &device(1)).await).await;
    shop.change(async |db| {
        sqlx::query("DELETE FROM sqlite_sequence WHERE name = 'mqtt_commands'").execute(db).await?;
        Ok(())
    })
    .await;
    let (mut model, mut number, mut now_ms) = (Model::default(), 0, NOW_MS);
    for step in steps {
        match step {
            Step::Begin { clean, expiry_s } => {
                number += 1;
                let it = connection(number);
                let found =
                    shop.change(async |db| begin(db, &it, clean, expiry_s, now_ms).await).await;
                assert_eq!(found, model.begin(number, clean, expiry_s, now_ms));
            }
            Step::End { stale, rest } => {
                let it = connection(number - u64::from(stale && number > 0));
                let rest = rest.map(|(expiry_s, sent, taken)| Rest { expiry_s, sent, taken });
                shop.change(async |db| end(db, &it, rest.as_ref(), now_ms).await).await;
                model.end(it.number, rest.as_ref(), now_ms);
            }
            Step::Forget => {
                shop.change(async |db| forget(db, now_ms).await).await;
            }
            Step::Queue { life_s } => {
                let queued = shop.queue(&device(1), life_s, now_ms).await;
                assert_eq!(queued, model.queue(now_ms + life_s * 1000, now_ms));
            }
            Step::Restart => {
                shop.change(async |db| restart(db, now_ms).await).await;
                if let Some(session) = model.session.as_mut().filter(|it| it.until_ms.is_none()) {
                    session.until_ms = Some(now_ms + u64::from(session.expiry_s) * 1000);
                }
            }
            Step::Subscribe(subscription) => {
                let it = connection(number);
                shop.change(async |db| {
                    subscribe(db, &it, subscription, &feeds(subscription)).await
                })
                .await;
                if let Some(session) = model.connected(number) {
                    session.subscription = subscription;
                    session.feeds = feeds(subscription);
                }
            }
            Step::Taken(position) => {
                shop.change(async |db| taken(db, position).await).await;
                if let Some(session) = &mut model.session {
                    session.commands.remove(&position);
                }
            }
            Step::Wait(seconds) => now_ms += seconds * 1000,
        }
    }
}

proptest! {
    // Each step is a transaction on a disk.
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn sessions_are_what_mqtt_says_they_are(
        walks in prop::collection::vec(prop::collection::vec(step(), 1..40), 1..4)
    ) {
        Runtime::new().unwrap().block_on(async {
            let shop = Shop::open().await;
            for steps in walks {
                walk(&shop, steps).await;
            }
        });
    }
}
