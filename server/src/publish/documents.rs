//! The rules for documents in a publication: each belongs to a release and is here, and every release
//! has those that its channel requires.

use semver::Version;
use waxwing_documents::{Format, Requirement};
use waxwing_tuf::author::release::{DOCUMENTS_PER_ROLE_MAX, ReleaseRefusal, channel_of_docs};
use waxwing_tuf::client::RoleListing;
use waxwing_tuf::role::Listed;
use waxwing_wire::{Channel, Digest};

use super::rules::{Rule, channel_of, refused};
use super::{Known, Refused};
use crate::domain::Release;
use crate::domain::document::{Attached, Document};

/// Why a document is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DocumentFault {
    /// Provenance of a builder that the product does not know.
    #[error("it was built by {found:?}, who is not among the builders of the product")]
    Builder {
        /// Who says to have built it.
        found: Vec<String>,
    },
    /// It was not uploaded, or is of another length or format.
    #[error("the document {sha256} is not here in this length and format; upload it first")]
    Missing {
        /// Hash of the document.
        sha256: String,
    },
    /// Provenance of something else.
    #[error("it vouches for another image than that of the release")]
    OtherImage,
    /// Not `<product>/<channel>/<version>/` and a name that stands for a format.
    #[error("documents are called <product>/<channel>/<version>/ and {names}", names = names())]
    Path,
    /// No such release.
    #[error("there is no such release in this channel")]
    Release,
    /// A release lacks a document that its channel requires.
    #[error("the channel requires {0} for every release; attach it with waxwing-keys")]
    Required(Requirement),
}

impl DocumentFault {
    /// Returns the stable code of the fault.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Builder { .. } => "document_builder",
            Self::Missing { .. } => "document_missing",
            Self::OtherImage => "document_of_another_image",
            Self::Path => "document_path",
            Self::Release => "document_without_release",
            Self::Required(_) => "document_required",
        }
    }
}

fn names() -> String {
    Format::ALL.map(Format::file_name).join(", ")
}

/// Reads what the roles of documents list, and holds it against the releases.
pub(super) fn documents(
    known: Known<'_>,
    roles: &[RoleListing],
    listed: &[Release],
) -> Result<Vec<Attached>, Refused> {
    let mut attached = Vec::new();
    for role in roles {
        let Some(channel_role) = channel_of_docs(&role.role) else { continue };
        let channel = channel_of(known, channel_role);
        let channel = channel.ok_or_else(|| refused(&role.role, Rule::Delegation))?;
        if role.targets.len() > DOCUMENTS_PER_ROLE_MAX {
            let refusal = ReleaseRefusal::TooManyDocuments { listed: role.targets.len() };
            return Err(refused(&role.role, refusal));
        }
        for target in &role.targets {
            let document = read(known, &channel, target, listed);
            attached.push(document.map_err(|fault| refused(&target.path, fault))?);
        }
    }
    listed.iter().try_for_each(|release| check_required(known, release, &attached))?;
    Ok(attached)
}

/// Provenance is of the image, and by builders of the product. All of them: which of its statements is
/// about the image is not kept.
fn check_provenance(
    known: Known<'_>,
    document: &Document,
    release: &Release,
) -> Result<(), DocumentFault> {
    if !document.subjects.contains(&release.sha256) {
        return Err(DocumentFault::OtherImage);
    }
    let (allowed, found) = (&known.product.builders, &document.builders);
    let is_known = !found.is_empty() && found.iter().all(|builder| allowed.contains(builder));
    if allowed.is_empty() || is_known {
        return Ok(());
    }
    Err(DocumentFault::Builder { found: found.clone() })
}

fn read(
    known: Known<'_>,
    channel: &Channel,
    target: &Listed,
    listed: &[Release],
) -> Result<Attached, DocumentFault> {
    let prefix = format!("{}/{channel}/", known.product.id);
    let path = target.path.strip_prefix(&prefix).and_then(|rest| rest.split_once('/'));
    let (version, name) = path.ok_or(DocumentFault::Path)?;
    let version: Version = version.parse().map_err(|_| DocumentFault::Path)?;
    let format = Format::ALL.into_iter().find(|format| format.file_name() == name);
    let format = format.ok_or(DocumentFault::Path)?;
    let sha256 = Digest(target.hashes.sha256.ok_or(DocumentFault::Path)?);
    let document = known.documents.get(&sha256);
    let document = document.filter(|it| it.length == target.length && it.format == format);
    let document = document.ok_or_else(|| DocumentFault::Missing { sha256: sha256.to_string() })?;
    let is_meant = |it: &&Release| it.channel == *channel && it.version == version;
    let before = known.releases.iter().map(|release| &**release);
    let release = listed.iter().chain(before).find(is_meant).ok_or(DocumentFault::Release)?;
    if format == Format::Provenance {
        check_provenance(known, document, release)?;
    }
    Ok(Attached { channel: channel.clone(), version, format, document: sha256 })
}

fn check_required(
    known: Known<'_>,
    release: &Release,
    attached: &[Attached],
) -> Result<(), Refused> {
    let required = known.product.required_documents.get(&release.channel);
    let of_release =
        |it: &&Attached| it.channel == release.channel && it.version == release.version;
    for requirement in required.into_iter().flatten() {
        let mut documents = attached.iter().filter(of_release);
        if !documents.any(|it| requirement.is_met_by(it.format)) {
            return Err(refused(&release.path, DocumentFault::Required(*requirement)));
        }
    }
    Ok(())
}
