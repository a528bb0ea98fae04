//! An image that both repositories vouch for.

use alloc::string::String;

use crate::hex;
use crate::json::Value;
use crate::refusal::Cause;
use crate::role::Listed;

/// Longest version or rollout name read, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// What to install, and for whom and how long to watch it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Install {
    /// Path of the target, `<product>/<channel>/<version>/<chip>.bin`.
    pub path: String,
    /// Length of the image in bytes.
    pub length: u64,
    /// SHA-256 of the image.
    pub sha256: [u8; 32],
    /// Channel the release is in.
    pub channel: String,
    /// Version of the release.
    pub version: String,
    /// Anti-rollback epoch of the release (D2).
    pub security_version: u32,
    /// `secure_version` in the image's descriptor, for the eFuses.
    pub secure_version: u32,
    /// The rollout it is part of; the Director's word alone.
    pub deploy: String,
    /// Seconds the device must stay healthy before it says so; the Director's word alone.
    pub soak_s: u32,
    /// How far the device's user may put the restart off; the Director's word alone.
    pub deferrable: Deferrable,
    /// SHA-256 of the list of the image's chunks (D8); the Director's word alone, good for nothing but
    /// saving downloads.
    pub chunks: Option<[u8; 32]>,
}

/// How far a device's user may put a restart off.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Deferrable {
    /// How often; 0: not at all.
    pub times: u8,
    /// Until when at the latest, in Unix seconds; [`u64::MAX`]: there is no such date.
    pub until: u64,
}

/// The `match` object: what Uptane calls the attributes that SHALL match.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Match<'a> {
    pub(crate) chip: &'a str,
    pub(crate) hardware: Value<'a>,
    pub(crate) kind: &'a str,
    pub(crate) secure_version: u32,
    pub(crate) security_version: u32,
    pub(crate) version: &'a str,
}

/// The parts of a target path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImagePath<'a> {
    pub(crate) product: &'a str,
    pub(crate) channel: &'a str,
    pub(crate) version: &'a str,
    pub(crate) chip: &'a str,
}

impl Install {
    /// Decodes what a Director lists. Whether the Image repository agrees is checked in
    /// [`crate::verify`].
    pub(crate) fn decode(listed: &Listed) -> Result<Self, Cause> {
        let custom = listed.custom().ok_or(Cause::BadField("custom"))?;
        let matched = Match::of(listed)?;
        let soak_s = custom.field("soak_s").and_then(|value| u32::try_from(value.as_u64()?).ok());
        Ok(Self {
            path: listed.path.clone(),
            length: listed.length,
            sha256: listed.hashes.sha256.ok_or(Cause::BadField("hashes"))?,
            channel: ImagePath::parse(&listed.path)?.channel.into(),
            version: matched.version.into(),
            security_version: matched.security_version,
            secure_version: matched.secure_version,
            deploy: name(custom, "deploy").ok_or(Cause::BadField("deploy"))?.into(),
            soak_s: soak_s.ok_or(Cause::BadField("soak_s"))?,
            // Whoever writes it in another way one day gets no say for the user.
            deferrable: custom.field("defer").and_then(Deferrable::decode).unwrap_or_default(),
            // Whoever writes it in another way one day gets whole downloads.
            chunks: custom.field("chunks").and_then(|hash| hex::decode(hash.as_plain()?)),
        })
    }
}

impl Deferrable {
    fn decode(object: Value<'_>) -> Option<Self> {
        let times = u8::try_from(object.field("times")?.as_u64()?).ok()?;
        let until = object.field("until").map_or(Some(u64::MAX), Value::as_u64)?;
        Some(Self { times, until })
    }
}

impl<'a> Match<'a> {
    pub(crate) fn of(listed: &'a Listed) -> Result<Self, Cause> {
        let object = listed.custom().and_then(|custom| custom.field("match"));
        object.and_then(Self::decode).ok_or(Cause::BadField("match"))
    }

    fn decode(object: Value<'a>) -> Option<Self> {
        let number = |field| u32::try_from(object.field(field)?.as_u64()?).ok();
        Some(Self {
            chip: name(object, "chip")?,
            hardware: object.field("hw")?,
            kind: name(object, "kind")?,
            secure_version: number("secure_version")?,
            security_version: number("security_version")?,
            version: name(object, "version")?,
        })
    }
}

impl<'a> ImagePath<'a> {
    pub(crate) fn parse(path: &'a str) -> Result<Self, Cause> {
        let mut parts = path.split('/');
        let mut part = || parts.next().filter(|part| !part.is_empty()).ok_or(Cause::WrongPath);
        let (product, channel, version, file) = (part()?, part()?, part()?, part()?);
        let chip = file.strip_suffix(".bin").ok_or(Cause::WrongPath)?;
        match parts.next() {
            None => Ok(Self { product, channel, version, chip }),
            Some(_) => Err(Cause::WrongPath),
        }
    }
}

fn name<'a>(object: Value<'a>, field: &str) -> Option<&'a str> {
    object.field(field)?.as_plain().filter(|name| (1..=NAME_BYTES_MAX).contains(&name.len()))
}
