//! A small shop for tests: a real database in a temporary folder, a product, a release, devices
//! with certificates and keys, a group of all of them.

use std::io;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use waxwing_tuf::author::{P256Signer, Signer as _};
use waxwing_wire::{DeviceId, Digest, GroupId, RolloutId};
use zeroize::Zeroizing;

use crate::domain::device::{Attributes, Certificate, CertificateStatus, Status, Tags};
use crate::domain::group::Members;
use crate::domain::rollout::tests::rollout;
use crate::domain::{Device, Group, Rollout, Running, release};
use crate::fleet::Fleet;
use crate::ingest::Ingest;
use crate::message_secrets::Vault;
use crate::store::messages::MessageLog;
use crate::store::{Store, devices, groups, products, releases, rollouts};

/// Takes down log lines.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Takes down what the current thread logs, as JSON or as text, until the guard is dropped.
    pub(crate) fn listen(&self, json: bool) -> tracing::subscriber::DefaultGuard {
        let lines = self.clone();
        let format = tracing_subscriber::fmt().with_ansi(false).with_writer(move || lines.clone());
        if json {
            return tracing::subscriber::set_default(format.json().flatten_event(true).finish());
        }
        tracing::subscriber::set_default(format.finish())
    }

    /// Returns what is logged meanwhile.
    pub(crate) fn of(json: bool, work: impl FnOnce()) -> String {
        let lines = Self::default();
        let guard = lines.listen(json);
        work();
        drop(guard);
        lines.text()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The time in tests, in Unix milliseconds.
pub(crate) const NOW_MS: u64 = 1_795_167_000_000;

/// The key of device number `n`.
pub(crate) fn device_key(n: u32) -> P256Signer {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&(n + 1).to_be_bytes());
    P256Signer::from_seed(&seed).unwrap()
}

/// What opens the secrets of devices in tests.
pub(crate) fn vault() -> Vault {
    Vault::new(&Zeroizing::new([3; 32]))
}

pub(crate) struct Shop {
    pub(crate) store: Store,
    pub(crate) log: MessageLog,
    pub(crate) fleet: Fleet,
    pub(crate) devices: u32,
    folder: TempDir,
}

impl Shop {
    pub(crate) async fn open(devices: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("waxwing.db")).await.unwrap();
        fill(&store, devices).await;
        let log = MessageLog::open(&folder.path().join("messages.db"), u64::MAX).await.unwrap();
        let fleet = Fleet::load(&store).await.unwrap();
        Self { store, log, fleet, devices, folder }
    }

    /// Makes what takes in messages.
    pub(crate) fn ingest(&self) -> Ingest {
        let vault = Arc::new(vault());
        Ingest::new(self.store.clone(), self.log.clone(), vault, self.fleet.clone())
    }

    pub(crate) fn device(n: u32) -> DeviceId {
        DeviceId::parse(&format!("d-{n}")).unwrap()
    }

    pub(crate) fn rollout() -> RolloutId {
        RolloutId::parse("r-1").unwrap()
    }

    /// Starts a rollout of release 1.1.0 to everybody.
    pub(crate) async fn start_rollout(&self, percents: &[u8]) -> Rollout {
        self.start(rollout("r-1", percents)).await
    }

    /// Starts a rollout that was drafted.
    pub(crate) async fn start(&self, mut rollout: Rollout) -> Rollout {
        rollout.start(self.fleet.members_of(&rollout.group).iter(), NOW_MS).unwrap();
        let mut change = self.store.begin().await.unwrap();
        rollouts::add(change.connection(), &rollout).await.unwrap();
        rollouts::update(change.connection(), &rollout).await.unwrap();
        drop(change.commit().await.unwrap());
        self.fleet.put_rollout(rollout.clone());
        rollout
    }

    /// Writes what has become of a rollout.
    pub(crate) async fn put(&self, rollout: &Rollout) {
        let mut change = self.store.begin().await.unwrap();
        rollouts::update(change.connection(), rollout).await.unwrap();
        drop(change.commit().await.unwrap());
        self.fleet.put_rollout(rollout.clone());
    }

    /// Every device polls once and runs some old image.
    pub(crate) fn poll_all(&self) {
        self.poll_all_at(NOW_MS);
    }

    /// As [`Shop::poll_all`], at another time.
    pub(crate) fn poll_all_at(&self, now_ms: u64) {
        self.poll_all_after(0, now_ms);
    }

    /// As [`Shop::poll_all_at`], so many seconds after the server could last be reached.
    pub(crate) fn poll_all_after(&self, out_s: u32, now_ms: u64) {
        let running = Running {
            version: semver::Version::new(1, 0, 0),
            sha256: Digest([1; 32]),
            security_version: 1,
            pins: None,
            out_s,
        };
        for n in 0..self.devices {
            self.fleet.poll(&Self::device(n), &running, now_ms).unwrap();
        }
    }

    /// Kills the server and starts it again: what is in memory only is lost.
    pub(crate) async fn restarted(self) -> Self {
        let Self { store, log, fleet, devices, folder } = self;
        drop(fleet);
        store.close().await;
        log.close().await;
        let store = Store::open(&folder.path().join("waxwing.db")).await.unwrap();
        let log = MessageLog::open(&folder.path().join("messages.db"), u64::MAX).await.unwrap();
        let fleet = Fleet::load(&store).await.unwrap();
        Self { store, log, fleet, devices, folder }
    }
}

async fn fill(store: &Store, count: u32) {
    let mut change = store.begin().await.unwrap();
    let db = change.connection();
    products::add(db, &release::tests::product()).await.unwrap();
    for version in ["1.0.0", "1.1.0"] {
        releases::put(db, &release::tests::release(version)).await.unwrap();
    }
    for n in 0..count {
        let device = active_device(n);
        devices::add(db, &device).await.unwrap();
        for certificate in &device.certificates {
            sqlx::query(
                "INSERT INTO certificates (serial, device, spki, der, status, issued_at, expires_at) \
                 VALUES ($1, $2, $3, x'00', 'current', 0, $4)",
            )
            .bind(&certificate.serial)
            .bind(device.id.as_str())
            .bind(&certificate.spki)
            .bind(i64::MAX)
            .execute(&mut *db)
            .await
            .unwrap();
        }
    }
    let all = Group {
        id: GroupId::parse("all").unwrap(),
        product: release::tests::product().id,
        description: String::new(),
        members: Members::Tags(Tags::new()),
        created_at: 0,
    };
    groups::add(db, &all).await.unwrap();
    drop(change.commit().await.unwrap());
}

fn active_device(n: u32) -> Device {
    Device {
        id: Shop::device(n),
        product: release::tests::product().id,
        tags: Tags::new(),
        attributes: Attributes::default(),
        version: None,
        status: Status::Active,
        created_at: 0,
        changed_at: 0,
        certificates: vec![Certificate {
            serial: format!("{n:032x}"),
            spki: device_key(n).public().spki_der(),
            status: CertificateStatus::Current,
            expires_at: u64::MAX,
        }],
        message_secret: None,
    }
}
