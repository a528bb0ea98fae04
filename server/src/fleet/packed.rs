//! A device as it lies in memory: what is known of it and its part in the rollouts, in one piece
//! without gaps. Most of what a server needs to hold a million devices is this.
//!
//! Read where it lies, written as a whole. Not here: where the pieces lie ([`super::members`]), and
//! what a device is. The bytes never leave the process, so their format may change with every release.

mod deployments;
mod version;

use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;

use jiff::tz::TimeZone;
use semver::Version;
use serde::{Deserialize, Serialize, Serializer};
use waxwing_wire::report::State;
use waxwing_wire::{DeviceId, ProductId};

use self::deployments::{Parts, deployment};
use crate::domain::device::{
    Attributes, Certificate, CertificateStatus, Status, TIME_ZONE_TAG, zone_named,
};
use crate::domain::query::{Facts, Field, Subject};
use crate::domain::{Deployment, Device};
use crate::pki::csr::{point_of, spki_of};
use crate::pki::peer::{serial_bytes, serial_text};

/// Most devices take less.
const USUAL_BYTES: usize = 512;

/// Why reading cannot fail.
const PACKED_HERE: &str = "it was packed here";

/// A device and its part in the rollouts.
#[derive(Clone, Debug)]
pub(super) struct Packed(Vec<u8>);

/// What there is in it, read where it lies.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Member<'a> {
    // First, because it is searched by it.
    id: &'a str,
    /// Stands for its name where there are many. Before everything else and always as long, as it is known
    /// last.
    #[serde(skip)]
    pub(super) number: u32,
    pub(super) product: &'a str,
    pub(super) status: Status,
    pub(super) changed_at: u64,
    /// When it was last seen while it had a whole image that it has not switched to, in Unix
    /// milliseconds.
    pub(super) seen_at: u64,
    /// When the last of its deployments came to an end, in Unix milliseconds.
    ended_at: u64,
    created_at: u64,
    #[serde(with = "version")]
    pub(super) version: Option<Version>,
    #[serde(borrow)]
    tags: List<'a>,
    #[serde(borrow)]
    given: List<'a>,
    #[serde(borrow)]
    reported: List<'a>,
    #[serde(borrow)]
    certificates: List<'a>,
    /// Behind everything else: most devices have none, and take no byte for it.
    #[serde(skip)]
    message_secret: &'a [u8],
    /// Its deployments that go on.
    #[serde(borrow)]
    open: List<'a>,
    /// Those that have come to an end, of the newest rollout first.
    #[serde(borrow)]
    ended: List<'a>,
}

/// Any number of things of one kind.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
struct List<'a>(#[serde(serialize_with = "at_once")] &'a [u8]);

/// A label: key and value.
type Label<'a> = (&'a str, &'a str);

/// A certificate: serial number, key, status and expiry. Nearly all serial numbers are bytes in
/// hexadecimal, and nearly all keys are points of one curve.
type PackedCertificate<'a> = (Short<'a>, Short<'a>, CertificateStatus, u64);

/// Something that mostly has a shorter form.
#[derive(Debug, Deserialize, Serialize)]
enum Short<'a> {
    AsIs(#[serde(serialize_with = "at_once")] &'a [u8]),
    Shortened(#[serde(serialize_with = "at_once")] &'a [u8]),
}

impl Packed {
    /// Packs a device with its part in the rollouts, as number 0.
    pub(super) fn new(
        device: &Device,
        deployments: impl Iterator<Item = (u32, Deployment)>,
    ) -> Self {
        let parts = Parts::new(deployments);
        let nothing = Member {
            id: device.id.as_str(),
            number: 0,
            product: device.product.as_str(),
            status: device.status,
            changed_at: 0,
            seen_at: 0,
            ended_at: parts.ended_at,
            created_at: 0,
            version: None,
            tags: List::default(),
            given: List::default(),
            reported: List::default(),
            certificates: List::default(),
            message_secret: &[],
            open: List(&parts.open),
            ended: List(&parts.ended),
        };
        nothing.become_of(device)
    }

    /// Returns it with another number.
    pub(super) fn numbered(mut self, number: u32) -> Self {
        *self.0.first_chunk_mut().expect(PACKED_HERE) = number.to_le_bytes();
        self
    }

    /// Copies what was packed before.
    pub(super) fn copied(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// Returns what there is in it.
    pub(super) fn member(&self) -> Member<'_> {
        Member::read(&self.0)
    }

    /// Returns its name.
    pub(super) fn id(&self) -> &str {
        Member::id_in(&self.0)
    }

    /// Returns it as it is laid away.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<'a> Member<'a> {
    /// Reads what was packed.
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        let (number, bytes) = bytes.split_first_chunk().expect(PACKED_HERE);
        let (member, message_secret) = postcard::take_from_bytes(bytes).expect(PACKED_HERE);
        Self { number: u32::from_le_bytes(*number), message_secret, ..member }
    }

    /// Returns the name in what was packed.
    pub(super) fn id_in(bytes: &'a [u8]) -> &'a str {
        let (_number, bytes) = bytes.split_first_chunk::<4>().expect(PACKED_HERE);
        postcard::take_from_bytes(bytes).expect(PACKED_HERE).0
    }

    fn pack(&self) -> Packed {
        let mut bytes = Vec::with_capacity(USUAL_BYTES + self.message_secret.len());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        let mut bytes = postcard::to_extend(self, bytes).expect("memory can be written to");
        bytes.extend_from_slice(self.message_secret);
        Packed(bytes)
    }

    /// Returns the member after a change of the device itself.
    pub(super) fn become_of(&self, device: &Device) -> Packed {
        let labels = |labels: &BTreeMap<String, String>| {
            list(labels.iter().map(|(key, value)| (key.as_str(), value.as_str())))
        };
        Member {
            status: device.status,
            changed_at: device.changed_at,
            created_at: device.created_at,
            version: device.version.as_deref().cloned(),
            tags: List(&labels(&device.tags)),
            given: List(&labels(&device.attributes.given)),
            reported: List(&labels(&device.attributes.reported)),
            certificates: List(&packed_certificates(&device.certificates)),
            message_secret: device.message_secret.as_deref().unwrap_or_default(),
            ..self.clone()
        }
        .pack()
    }

    /// Returns the member after it was seen.
    pub(super) fn seen(&self, at_ms: u64) -> Packed {
        Member { seen_at: at_ms, ..self.clone() }.pack()
    }

    /// Returns the member after a change of a deployment.
    pub(super) fn deployed(&self, rollout: u32, deployment: Deployment) -> Packed {
        let others = self.deployments().filter(|(number, _)| *number != rollout);
        self.with_deployments(others.chain([(rollout, deployment)]))
    }

    /// Returns the member with these deployments and no others.
    pub(super) fn with_deployments(
        &self,
        deployments: impl Iterator<Item = (u32, Deployment)>,
    ) -> Packed {
        let parts = Parts::new(deployments);
        let (open, ended) = (List(&parts.open), List(&parts.ended));
        Member { ended_at: parts.ended_at, open, ended, ..self.clone() }.pack()
    }

    /// Returns all its attributes, each key once: what an operator gave overrules what it reported.
    pub(super) fn attributes(&self) -> impl Iterator<Item = Label<'a>> + use<'a> {
        let given = self.given;
        let reported = self.reported.items::<Label<'a>>();
        given.items().chain(reported.filter(move |(key, _)| given.value(key).is_none()))
    }

    /// Returns its name.
    pub(super) fn id(&self) -> DeviceId {
        DeviceId::parse(self.id).expect(PACKED_HERE)
    }

    /// Returns the device itself.
    pub(super) fn device(&self) -> Device {
        let labels = |list: List<'a>| {
            let labels = list.items::<Label<'_>>();
            labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        Device {
            id: self.id(),
            product: ProductId::parse(self.product).expect(PACKED_HERE),
            tags: labels(self.tags),
            attributes: Attributes { given: labels(self.given), reported: labels(self.reported) },
            version: self.version.clone().map(Arc::new),
            status: self.status,
            created_at: self.created_at,
            changed_at: self.changed_at,
            certificates: self.certificates.items().map(certificate).collect(),
            message_secret: Some(self.message_secret.to_vec()).filter(|it| !it.is_empty()),
        }
    }

    /// Returns the time zone in which its maintenance windows are meant.
    pub(super) fn zone(&self) -> TimeZone {
        zone_named(self.tags.value(TIME_ZONE_TAG))
    }

    /// Returns its deployments, those that go on first.
    pub(super) fn deployments(&self) -> impl Iterator<Item = (u32, Deployment)> + use<'a> {
        let ended = self.ended.items().map(deployment);
        self.open().chain(ended)
    }

    /// Returns its deployments that go on.
    pub(super) fn open(&self) -> impl Iterator<Item = (u32, Deployment)> + use<'a> {
        self.open.items().map(deployment)
    }

    /// Returns its part in a rollout. What ended in rollouts that are older is not looked at.
    pub(super) fn deployment(&self, rollout: u32) -> Option<Deployment> {
        let ended = self.ended.items().map(deployment);
        let mut all = self.open().chain(ended.take_while(|(number, _)| *number >= rollout));
        all.find(|(number, _)| *number == rollout).map(|(_, deployment)| deployment)
    }

    /// Tells whether it may run the image that a rollout brought it.
    pub(super) fn has_switched_by(&self, rollout: u32) -> bool {
        self.deployment(rollout).is_some_and(|deployment| deployment.keeps_image())
    }

    /// Returns what it came to last, in whichever rollout; `None` if it is under way in another, or has been
    /// since.
    pub(super) fn last_ending(&self) -> Option<(u32, Deployment)> {
        let mut ended = self.ended.items().map(deployment);
        let last = ended.find(|(_, deployment)| deployment.changed_at == self.ended_at);
        let has_begun = |it: Deployment| it.is_in_flight() || it.changed_at > self.ended_at;
        last.filter(|_| !self.open().any(|(_, deployment)| has_begun(deployment)))
    }

    /// Tells whether it has a whole image that it has not switched to.
    pub(super) fn is_about_to_switch(&self) -> bool {
        self.open().any(|(_, deployment)| deployment.state == State::Verified)
    }

    /// Returns when what it should run last changed by itself or by an end, in Unix milliseconds: part
    /// of the time of decisions (D3).
    pub(super) fn settled_at(&self) -> u64 {
        self.changed_at.max(self.ended_at)
    }
}

impl Facts for Member<'_> {
    fn id(&self) -> &str {
        self.id
    }

    fn product(&self) -> &str {
        self.product
    }

    fn fact(&self, field: &Field) -> Option<Subject<'_>> {
        match field {
            Field::Attribute(key) => {
                let known = self.given.value(key).or_else(|| self.reported.value(key));
                known.map(Subject::Text)
            }
            Field::CreatedAt => Some(Subject::Time(self.created_at)),
            Field::Device => Some(Subject::Text(self.id)),
            Field::Product => Some(Subject::Text(self.product)),
            Field::Status => Some(Subject::Text(self.status.as_str())),
            Field::Tag => None,
            Field::TagValue(key) => self.tags.value(key).map(Subject::Text),
            Field::Version => self.version.as_ref().map(Subject::Version),
        }
    }

    fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tags.items::<Label<'_>>()
    }
}

impl<'a> List<'a> {
    fn items<T: Deserialize<'a>>(self) -> impl Iterator<Item = T> + use<'a, T> {
        let mut rest = self.0;
        iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (item, after) = postcard::take_from_bytes(rest).expect(PACKED_HERE);
            rest = after;
            Some(item)
        })
    }

    /// Returns the value of the label with a key.
    fn value(self, key: &str) -> Option<&'a str> {
        let mut labels = self.items::<Label<'a>>();
        labels.find(|(other, _)| *other == key).map(|(_, value)| value)
    }
}

fn list<T: Serialize>(items: impl Iterator<Item = T>) -> Vec<u8> {
    let push = |bytes, item| postcard::to_extend(&item, bytes).expect("memory can be written to");
    items.fold(Vec::new(), push)
}

/// Writes bytes together: as a slice they would be written one by one.
fn at_once<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

fn packed_certificates(certificates: &[Certificate]) -> Vec<u8> {
    certificates.iter().fold(Vec::new(), |packed, certificate| {
        let Certificate { serial, spki, status, expires_at } = certificate;
        let bytes = serial_bytes(serial).filter(|bytes| serial_text(bytes) == *serial);
        let serial = bytes.as_deref().map_or(Short::AsIs(serial.as_bytes()), Short::Shortened);
        let key = point_of(spki).map_or(Short::AsIs(spki), Short::Shortened);
        let certificate: PackedCertificate<'_> = (serial, key, *status, *expires_at);
        postcard::to_extend(&certificate, packed).expect("memory can be written to")
    })
}

fn certificate((serial, key, status, expires_at): PackedCertificate<'_>) -> Certificate {
    let serial = match serial {
        Short::AsIs(text) => String::from_utf8(text.to_vec()).expect(PACKED_HERE),
        Short::Shortened(bytes) => serial_text(bytes),
    };
    let spki = match key {
        Short::AsIs(spki) => spki.to_vec(),
        Short::Shortened(point) => spki_of(point),
    };
    Certificate { serial, spki, status, expires_at }
}

#[cfg(test)]
mod tests;
