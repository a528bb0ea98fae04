//! SLSA v1 provenance: in-toto Statements v1, each in a DSSE envelope on a line of its own.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::Deserialize;
use waxwing_wire::Digest;

use crate::bounded::list;
use crate::{Document, FIELD_BYTES_MAX, Format, Malformed, STATEMENTS_MAX};

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
    payload: String,
    #[serde(deserialize_with = "list::<_, _, STATEMENTS_MAX>")]
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    #[serde(deserialize_with = "list::<_, _, STATEMENTS_MAX>")]
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Deserialize)]
struct Subject {
    digest: Digests,
}

#[derive(Deserialize)]
struct Digests {
    sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate {
    build_definition: BuildDefinition,
    run_details: RunDetails,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition {
    build_type: String,
}

#[derive(Deserialize)]
struct RunDetails {
    builder: Builder,
}

#[derive(Deserialize)]
struct Builder {
    id: String,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Document, Malformed> {
    let is_blank = |line: &&[u8]| line.iter().all(u8::is_ascii_whitespace);
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !is_blank(line));
    let lines: Vec<_> = lines.take(STATEMENTS_MAX + 1).collect();
    // The first byte tells text that was never meant to be JSON lines.
    if lines.first().is_none_or(|line| line.first() != Some(&b'{')) {
        return Err(Malformed::Unknown);
    }
    if lines.len() > STATEMENTS_MAX {
        return Err(Malformed::TooMany("statements"));
    }
    let (mut subjects, mut builders) = (Vec::new(), Vec::new());
    for line in lines {
        let (built, builder) = statement(line)?;
        subjects.extend(built);
        if !builders.contains(&builder) {
            builders.push(builder);
        }
    }
    Ok(Document { format: Format::Provenance, components: Vec::new(), subjects, builders })
}

/// Returns what one envelope vouches for, and who says to have built it.
fn statement(line: &[u8]) -> Result<(Vec<Digest>, String), Malformed> {
    let Envelope { payload_type, payload, signatures } = serde_json::from_slice(line)?;
    let decode = |text: &str| STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok();
    let is_signature = |one: &Signature| decode(&one.sig).is_some_and(|sig| !sig.is_empty());
    if payload_type != PAYLOAD_TYPE {
        return Err(Malformed::Field("payloadType"));
    }
    if signatures.is_empty() || !signatures.iter().all(is_signature) {
        return Err(Malformed::Field("signatures"));
    }
    let payload = decode(&payload).ok_or(Malformed::Field("payload"))?;
    let statement: Statement = serde_json::from_slice(&payload)?;
    let Predicate { build_definition, run_details } = statement.predicate;
    let faults = [
        ("_type", statement.kind != STATEMENT),
        ("predicateType", statement.predicate_type != PREDICATE),
        ("buildType", build_definition.build_type.is_empty()),
        ("builder", run_details.builder.id.is_empty()),
        ("builder", run_details.builder.id.len() > FIELD_BYTES_MAX),
        ("subject", statement.subject.is_empty()),
    ];
    if let Some((field, _)) = faults.into_iter().find(|(_, is_wrong)| *is_wrong) {
        return Err(Malformed::Field(field));
    }
    let sha256 = |subject: &Subject| subject.digest.sha256.as_ref()?.parse().ok();
    let digests = statement.subject.iter().map(|one| sha256(one).ok_or(Malformed::Field("digest")));
    Ok((digests.collect::<Result<_, _>>()?, run_details.builder.id))
}
