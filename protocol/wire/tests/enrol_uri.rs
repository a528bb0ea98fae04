//! The enrolment URI: one spelling, read as it was written, and nothing else is taken for it.
#![expect(clippy::unwrap_used, reason = "test code")]

use proptest::prelude::*;
use waxwing_wire::enrol_uri::{CAS_MAX, ENROL_URI_BYTES_MAX, EnrolUri, InvalidEnrolUri};
use waxwing_wire::provision::Secret;
use waxwing_wire::{DeviceId, Digest};

/// What labels say that are glued to devices by now.
const GOLDEN: &str = "waxwing:1?device=th1-0001&enrol=updates.example:8444&token=t0k_en-\
    &ca=0707070707070707070707070707070707070707070707070707070707070707";

fn uri(enrol: &str, token: &str, cas: &[u8]) -> Result<EnrolUri, InvalidEnrolUri> {
    let device = DeviceId::parse("th1-0001").unwrap();
    let cas = cas.iter().map(|byte| Digest([*byte; 32])).collect();
    EnrolUri::new(device, enrol.into(), Secret::new(token.into()), cas)
}

#[test]
fn the_spelling_never_changes() {
    let uri = uri("updates.example:8444", "t0k_en-", &[7]).unwrap();
    assert_eq!(uri.encode().expose(), GOLDEN);
    assert_eq!(EnrolUri::decode(GOLDEN), Ok(uri));
}

#[test]
fn each_part_is_refused_by_its_name() {
    use InvalidEnrolUri::{Address, Ca, Device, Format, Token};

    let last = GOLDEN.rsplit_once('&').unwrap().1;
    for (from, to, why) in [
        ("waxwing:1", "waxwing:2", Format),
        ("waxwing:1", "WAXWING:1", Format),
        ("waxwing:1?", "https://waxwing.example/?", Format),
        ("th1-0001", "../etc", Device),
        ("th1-0001", "", Device),
        ("device=", "enrol=", Device),
        ("device=", "product=th1&device=", Device),
        (":8444", "", Address),
        (":8444", ":0", Address),
        (":8444", ":08444", Address),
        (":8444", ":+844", Address),
        (":8444", ":65536", Address),
        ("updates.example", "", Address),
        ("updates.example", "user@updates.example", Address),
        ("updates.example", "[::1", Address),
        ("updates.example", "[fe80::1%eth0]", Address),
        ("updates.example", "::1", Address),
        ("updates.example", "a\0b", Address),
        ("t0k_en-", "", Token),
        ("t0k_en-", "a%20b", Token),
        ("t0k_en-", "a b", Token),
        ("t0k_en-", "t\u{f6}ken", Token),
        ("0707", "0A0A", Ca),
        ("0707070707", "07", Ca),
        ("&ca=", "&fingerprint=", Ca),
        (last, "ca=", Ca),
        (last, &format!("{last}&{last}"), Ca),
        (last, &format!("{last}&extra=1"), Ca),
        (last, &format!("{last}&"), Ca),
        (last, &format!("{last}{}", "&".repeat(ENROL_URI_BYTES_MAX)), Format),
    ] {
        let text = GOLDEN.replacen(from, to, 1);
        assert_ne!(text, GOLDEN);
        assert_eq!(EnrolUri::decode(&text), Err(why), "{text}");
    }
    assert_eq!(EnrolUri::decode(GOLDEN.rsplit_once('&').unwrap().0), Err(Ca));
    assert_eq!(uri("a:1", "t", &[1, 2, 3, 4, 5]), Err(Ca));
}

#[test]
fn the_longest_parts_fit_and_nothing_longer_is_read() {
    let device = DeviceId::parse(&"d".repeat(64)).unwrap();
    let digests = (0..CAS_MAX).map(|n| Digest([u8::try_from(n).unwrap(); 32])).collect();
    let (enrol, token) = (format!("{}:65535", "h".repeat(253)), Secret::new("t".repeat(256)));
    let uri = EnrolUri::new(device, enrol, token, digests).unwrap();
    assert_eq!(uri.encode().expose().len(), ENROL_URI_BYTES_MAX);
    assert_eq!(EnrolUri::decode(uri.encode().expose()), Ok(uri));
}

#[test]
fn neither_the_token_nor_the_whole_is_ever_shown_by_accident() {
    let uri = uri("[::1]:8444", "t0ken", &[1, 2]).unwrap();
    let shown = format!("{uri:?} {:?}", uri.encode());
    assert!(!shown.contains("t0ken"), "{shown}");
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        device in "[A-Za-z0-9][A-Za-z0-9_-]{0,63}",
        host in "[a-z0-9.-]{1,253}|\\[[0-9a-f]{1,4}::[0-9a-f]{1,4}\\]",
        port in 1..=u16::MAX,
        token in "[A-Za-z0-9._~-]{1,256}",
        cas in prop::collection::hash_set(any::<[u8; 32]>(), 1..=CAS_MAX),
    ) {
        let (device, enrol) = (DeviceId::parse(&device).unwrap(), format!("{host}:{port}"));
        let digests = cas.into_iter().map(Digest).collect();
        let uri = EnrolUri::new(device, enrol, Secret::new(token), digests).unwrap();
        prop_assert_eq!(EnrolUri::decode(uri.encode().expose()), Ok(uri));
    }

    #[test]
    fn what_is_read_has_one_spelling(at in 0..GOLDEN.len(), byte in any::<char>(), cut: bool) {
        let mut text = GOLDEN.to_owned();
        let with = if cut { String::new() } else { byte.to_string() };
        text.replace_range(at..=at, &with);
        if let Ok(uri) = EnrolUri::decode(&text) {
            let again = uri.encode();
            prop_assert_eq!(again.expose(), text);
        }
    }
}
