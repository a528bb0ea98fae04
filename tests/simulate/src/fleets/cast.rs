//! Who takes part: the releases, and the devices by number. Not here: how they behave.

use std::sync::Arc;

use semver::Version;
use waxwing_server::domain::device::{Attributes, Status, TIME_ZONE_TAG, Tags};
use waxwing_server::domain::group::Members;
use waxwing_server::domain::{Device, Group, Release, Running};
use waxwing_server::fleet::Records;
use waxwing_tuf::author::Match;
use waxwing_wire::{Channel, DeviceId, Digest, GroupId, ProductId, RolloutId};

/// The images that there are, oldest first. Everybody begins with the first.
const IMAGES: u8 = 3;
/// Bytes of an image.
pub(super) const IMAGE_BYTES: u64 = 1 << 20;
/// Where devices are, with the hours that their clocks are ahead of UTC in November.
const ZONES: [(&str, i64); 4] =
    [("UTC", 0), ("Europe/Berlin", 1), ("America/New_York", -5), ("Asia/Tokyo", 9)];

/// A list with one thing for each device, rollout or image.
#[derive(Clone, Debug)]
pub(super) struct Each<T>(Vec<T>);

impl<T> Each<T> {
    pub(super) fn new(count: u32, make: impl FnMut(u32) -> T) -> Self {
        Self((0..count).map(make).collect())
    }

    pub(super) fn of(&self, number: u32) -> &T {
        self.0.get(place(number)).expect("there is one for each number")
    }

    pub(super) fn of_mut(&mut self, number: u32) -> &mut T {
        self.0.get_mut(place(number)).expect("there is one for each number")
    }

    pub(super) fn push(&mut self, thing: T) {
        self.0.push(thing);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(&self.0)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        (0..).zip(&mut self.0)
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.0.len()).expect("numbers have 32 bits")
    }
}

fn place(number: u32) -> usize {
    usize::try_from(number).expect("numbers have 32 bits")
}

/// Who takes part.
#[derive(Debug)]
pub(super) struct Cast {
    ids: Each<DeviceId>,
    running: Each<Running>,
    is_spread: bool,
}

impl Cast {
    /// So many devices; spread over the world, or all in UTC.
    pub(super) fn new(devices: u32, is_spread: bool) -> Self {
        let name = |number| format!("d-{number}");
        let running = |image: u32| {
            let image = u8::try_from(image).unwrap_or(0);
            let (version, sha256) = (version(image), digest(image));
            Running { version, sha256, security_version: 1, pins: None, out_s: 0 }
        };
        Self {
            ids: Each::new(devices, |n| DeviceId::parse(&name(n)).expect("is a name")),
            running: Each::new(IMAGES.into(), running),
            is_spread,
        }
    }

    pub(super) fn devices(&self) -> u32 {
        self.ids.len()
    }

    pub(super) fn id(&self, device: u32) -> &DeviceId {
        self.ids.of(device)
    }

    pub(super) fn running(&self, image: u8) -> &Running {
        self.running.of(image.into())
    }

    /// Returns the device as it was registered.
    pub(super) fn device(&self, number: u32) -> Device {
        let zone = |(name, _): (&str, i64)| (TIME_ZONE_TAG.to_owned(), name.to_owned());
        Device {
            id: self.id(number).clone(),
            product: product(),
            tags: self.zone(number).map(zone).into_iter().collect(),
            attributes: Attributes::default(),
            version: None,
            status: Status::Active,
            created_at: 0,
            changed_at: 0,
            certificates: Vec::new(),
            message_secret: None,
        }
    }

    /// Returns the hour of the day where a device is.
    pub(super) fn hour_at(&self, number: u32, now_ms: u64) -> i64 {
        let hours = i64::try_from(now_ms / 3_600_000).unwrap_or(0);
        let ahead = self.zone(number).map_or(0, |(_, ahead)| ahead);
        (hours + ahead).rem_euclid(24)
    }

    /// Returns the names of the time zones in which there may be devices.
    pub(super) fn zones() -> impl Iterator<Item = &'static str> {
        ZONES.iter().map(|(name, _)| *name)
    }

    /// Returns the time zone of a device.
    pub(super) fn zone_of(&self, number: u32) -> &'static str {
        self.zone(number).map_or("UTC", |(name, _)| name)
    }

    /// Returns all that is stored before anything happens, the devices aside.
    pub(super) fn records() -> Records {
        let everybody = Group {
            id: group(),
            product: product(),
            members: Members::Tags(Tags::new()),
            description: String::new(),
            created_at: 0,
        };
        let releases = (0..IMAGES).map(release).collect();
        Records { releases, groups: vec![everybody], ..Records::default() }
    }

    fn zone(&self, number: u32) -> Option<(&'static str, i64)> {
        let mut zones = ZONES.iter().cycle().copied();
        self.is_spread.then(|| zones.nth(place(number % 4)))?
    }
}

/// Returns the number of a device, which is in its name.
pub(super) fn number(device: &DeviceId) -> u32 {
    let digits = device.as_str().strip_prefix("d-");
    digits.and_then(|it| it.parse().ok()).expect("we named it")
}

/// Returns the name of a rollout by its number.
pub(super) fn rollout_id(number: u32) -> RolloutId {
    RolloutId::parse(&format!("r-{number}")).expect("is a name")
}

/// Returns the number of a rollout, which is in its name.
pub(super) fn rollout_number(rollout: &RolloutId) -> u32 {
    let digits = rollout.as_str().strip_prefix("r-");
    digits.and_then(|it| it.parse().ok()).expect("we named it")
}

pub(super) fn product() -> ProductId {
    ProductId::parse("th1").expect("is a name")
}

pub(super) fn channel() -> Channel {
    Channel::parse("stable").expect("is a name")
}

pub(super) fn group() -> GroupId {
    GroupId::parse("all").expect("is a name")
}

pub(super) fn version(image: u8) -> Version {
    Version::new(1, image.into(), 0)
}

/// Returns the number of the image that a version is of.
pub(super) fn image_of(version: &Version) -> u8 {
    u8::try_from(version.minor).expect("we numbered it")
}

pub(super) fn digest(image: u8) -> Digest {
    Digest([image + 1; 32])
}

fn release(image: u8) -> Release {
    let version = version(image);
    Release {
        product: product(),
        channel: channel(),
        path: format!("th1/stable/{version}/esp32c3.bin"),
        sha256: digest(image),
        length: IMAGE_BYTES,
        r#match: Match {
            chip: "esp32c3".into(),
            hw: vec!["r1".into()],
            kind: "app".into(),
            secure_version: 0,
            security_version: 1,
            version: version.clone(),
        },
        version,
        ceiling_permille: None,
        chunks: None,
        listed: true,
        changed_at: 0,
    }
}

/// Returns the one copy of a version that all rows share.
pub(super) fn shared_versions() -> Each<Arc<Version>> {
    Each::new(IMAGES.into(), |image| Arc::new(version(u8::try_from(image).unwrap_or(0))))
}
