//! The credentials partition: what was written is read again, byte by byte as before, and nothing
//! else is taken for it.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "test code")]

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use waxwing_wire::provision::{
    CHANNELS_MAX, Field, HEADER_BYTES, InvalidProvision, PROVISION_BYTES_MAX, Secret, Wifi,
};
use waxwing_wire::{Channel, DeviceId, Hardware, ProductId, Provision};

/// What tools of the first release wrote: firmware reads it for ever.
const GOLDEN: &str = include_str!("data/provision.hex");

fn provision() -> Provision {
    Provision {
        device: DeviceId::parse("th1-0001").unwrap(),
        product: ProductId::parse("acme-th1").unwrap(),
        hardware: Hardware::parse("r2").unwrap(),
        channels: ["stable", "beta"].map(|name| Channel::parse(name).unwrap()).into(),
        server: "ota.example:8443".into(),
        enrol: "ota.example:8444".into(),
        mqtt: Some("ota.example:8883".into()),
        token: Secret::new("t0ken".into()),
        director_root: b"{\"director\":1}".into(),
        image_root: b"{\"image\":1}".into(),
        server_ca: b"-----BEGIN CERTIFICATE-----\n".into(),
        wifi: Some(Wifi { ssid: "plant".into(), password: Secret::new("s3cret".into()) }),
        settings: vec![0, 1, 2],
    }
}

fn golden() -> Vec<u8> {
    let digits: Vec<u8> = GOLDEN.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
    digits.as_chunks().0.iter().map(|pair| byte(pair).unwrap()).collect()
}

/// Puts header and checksum around fields.
fn around(fields: &[u8]) -> Vec<u8> {
    let mut bytes = b"WXCR\x01\0\0\0".to_vec();
    bytes.extend(u32::try_from(fields.len()).unwrap().to_le_bytes());
    bytes.extend(fields);
    bytes.extend(Sha256::digest(&bytes));
    bytes
}

fn fields_of(provision: &Provision) -> Vec<u8> {
    let bytes = provision.encode().unwrap();
    bytes[HEADER_BYTES..bytes.len() - 32].to_vec()
}

#[test]
fn the_encoding_never_changes() {
    let written = provision().encode().unwrap();
    assert_eq!(written, golden());
    assert_eq!(Provision::decode(&golden()), Ok(provision()));
}

#[test]
fn it_is_read_from_a_partition_that_is_longer() {
    let mut partition = provision().encode().unwrap();
    partition.resize(PROVISION_BYTES_MAX, 0xff);
    assert_eq!(Provision::decode(&partition), Ok(provision()));
    assert_eq!(Provision::decode(&[0xff; 64]), Err(InvalidProvision::Blank));
}

#[test]
fn a_field_of_later_tools_is_skipped_unless_it_must_be_understood() {
    let mut fields = fields_of(&provision());
    fields.extend([127, 1, 0, 9]);
    assert_eq!(Provision::decode(&around(&fields)), Ok(provision()));
    fields.extend([128, 0, 0]);
    assert_eq!(Provision::decode(&around(&fields)), Err(InvalidProvision::Unknown(128)));
    let mut other = provision().encode().unwrap();
    other[4] = 2;
    assert_eq!(Provision::decode(&other), Err(InvalidProvision::Format(2)));
}

#[test]
fn every_field_is_there_once_and_none_is_too_long() {
    for (tag, field) in [(1, Field::Device), (8, Field::Token), (13, Field::Password)] {
        let mut fields = fields_of(&provision());
        fields.extend([tag, 1, 0, b'x']);
        assert_eq!(Provision::decode(&around(&fields)), Err(InvalidProvision::Field(field)));
    }
    let missing = Provision::decode(&around(&[]));
    assert_eq!(missing, Err(InvalidProvision::Missing(Field::Channel)));
    let long = Provision { server: "h".repeat(260), ..provision() };
    assert_eq!(long.encode(), Err(InvalidProvision::Field(Field::Server)));
    let root = vec![0; 8 * 1024];
    let heavy = Provision { director_root: root.clone(), image_root: root, ..provision() };
    assert_eq!(heavy.encode(), Err(InvalidProvision::Length));
    let channel = |index: usize| Channel::parse(&format!("c{index}")).unwrap();
    let channels = (0..=CHANNELS_MAX).map(channel).collect();
    let many = Provision { channels, ..provision() };
    assert_eq!(many.encode(), Err(InvalidProvision::Field(Field::Channel)));
}

#[test]
fn damage_is_found_wherever_it_is() {
    let good = provision().encode().unwrap();
    for at in 8..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        let refused = Provision::decode(&bad).unwrap_err();
        assert!(matches!(refused, InvalidProvision::Checksum | InvalidProvision::Length), "{at}");
        assert!(Provision::decode(&good[..at]).is_err());
    }
}

#[test]
fn a_secret_is_never_shown() {
    let shown = format!("{:?}", provision());
    assert!(!shown.contains("t0ken") && !shown.contains("s3cret"), "{shown}");
}

prop_compose! {
    fn any_provision()(
        device in "[a-z0-9][a-z0-9-]{0,63}",
        channels in prop::collection::btree_set("[a-z]{1,12}", 1..=CHANNELS_MAX),
        server in "[a-z.]{1,250}:[0-9]{1,5}",
        mqtt in prop::option::of("[a-z.]{1,250}:[0-9]{1,5}"),
        token in "\\PC{0,60}",
        director_root in prop::collection::vec(any::<u8>(), 0..4_000),
        image_root in prop::collection::vec(any::<u8>(), 0..4_000),
        wifi in prop::option::of(("[a-z ]{1,32}", "[ -~]{0,64}")),
        settings in prop::collection::vec(any::<u8>(), 0..2_000),
    ) -> Provision {
        Provision {
            device: DeviceId::parse(&device).unwrap(),
            channels: channels.iter().map(|name| Channel::parse(name).unwrap()).collect(),
            server,
            mqtt,
            token: Secret::new(token),
            director_root,
            image_root,
            wifi: wifi.map(|(ssid, password)| Wifi { ssid, password: Secret::new(password) }),
            settings,
            ..provision()
        }
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read(provision in any_provision()) {
        let written = provision.encode().unwrap();
        prop_assert!(written.len() <= PROVISION_BYTES_MAX);
        prop_assert_eq!(Provision::decode(&written), Ok(provision));
    }

    #[test]
    fn whatever_is_read_is_written_again(fields in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut all = fields_of(&provision());
        all.extend(fields);
        if let Ok(read) = Provision::decode(&around(&all)) {
            prop_assert_eq!(Provision::decode(&read.encode().unwrap()), Ok(read));
        }
    }
}
