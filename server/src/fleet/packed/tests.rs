//! What is packed comes out again, and is found.

use std::iter;

use proptest::prelude::*;
use waxwing_wire::ErrorCode;

use super::*;
use crate::domain::device::Tags;

fn labels() -> impl Strategy<Value = Tags> {
    prop::collection::btree_map("[a-c]", "\\PC{0,4}", 0..4)
}

fn certificate() -> impl Strategy<Value = Certificate> {
    let serial = prop_oneof!["[0-9a-f]{0,33}", "[0-9A-F+]{2,6}", "\\PC{0,8}"];
    let point = prop::collection::vec(any::<u8>(), 63..66).prop_map(|point| spki_of(&point));
    let spki = prop_oneof![point, prop::collection::vec(any::<u8>(), 0..100)];
    let status = prop::sample::select(CertificateStatus::ALL.to_vec());
    (serial, spki, status, any::<u64>()).prop_map(|(serial, spki, status, expires_at)| {
        Certificate { serial, spki, status, expires_at }
    })
}

fn device() -> impl Strategy<Value = Device> {
    let version = prop::option::of(prop::sample::select(vec!["1.0.0", "1.2.0-rc.1+b"]));
    let status = prop::sample::select(Status::ALL.to_vec());
    let times = (any::<u64>(), any::<u64>());
    let certificates = prop::collection::vec(certificate(), 0..3);
    let secret = prop::option::of(prop::collection::vec(any::<u8>(), 1..50));
    let identity = (certificates, secret);
    let parts = (labels(), labels(), labels(), version, status, times, identity);
    parts.prop_map(|(tags, given, reported, version, status, times, identity)| Device {
        id: DeviceId::parse("d-1").unwrap(),
        product: ProductId::parse("th1").unwrap(),
        tags,
        attributes: Attributes { given, reported },
        version: version.map(|version| Arc::new(version.parse().unwrap())),
        status,
        created_at: times.0,
        changed_at: times.1,
        certificates: identity.0,
        message_secret: identity.1,
    })
}

fn any_deployment() -> impl Strategy<Value = Deployment> {
    let state = prop::sample::select(State::ALL.to_vec());
    let numbers = (any::<u16>(), any::<u32>(), any::<u32>(), any::<u8>(), any::<u8>(), any::<u8>());
    (state, numbers, any::<u64>(), any::<u64>(), any::<u64>()).prop_map(
        |(state, numbers, not_before, changed_at, decided_at)| {
            let (code, attempt, tries, deferred, hop, phase) = numbers;
            Deployment {
                state,
                code: ErrorCode(code),
                attempt,
                tries,
                deferred,
                not_before,
                hop,
                phase,
                changed_at,
                decided_at,
            }
        },
    )
}

proptest! {
    #[test]
    fn whatever_is_packed_comes_out_again(
        (first, then) in (device(), device()),
        seen_at in any::<u64>(),
        changes in prop::collection::vec((0_u32..6, any_deployment()), 0..12),
    ) {
        let mut packed = Packed::new(&first, iter::empty()).numbered(7).member().seen(seen_at);
        let mut expected = BTreeMap::new();
        for (rollout, deployment) in changes {
            packed = packed.member().deployed(rollout, deployment);
            expected.insert(rollout, deployment);
        }
        packed = packed.member().become_of(&then);
        let member = packed.member();
        prop_assert_eq!(member.device(), then.clone());
        prop_assert_eq!((packed.id(), member.number, member.seen_at), ("d-1", 7, seen_at));
        for rollout in 0..6 {
            prop_assert_eq!(member.deployment(rollout), expected.get(&rollout).copied());
        }
        prop_assert_eq!(member.deployments().collect::<BTreeMap<_, _>>(), expected.clone());
        let is_open = |deployment: &Deployment| !deployment.state.is_final();
        prop_assert!(member.open().all(|(_, deployment)| is_open(&deployment)));
        let ended = expected.values().filter(|deployment| !is_open(deployment));
        let settled = ended.map(|deployment| deployment.changed_at).chain([then.changed_at]).max();
        prop_assert_eq!(Some(member.settled_at()), settled);
    }

    #[test]
    fn a_packed_device_answers_queries_as_the_device_does(device in device(), key in "[a-c]") {
        let packed = Packed::new(&device, iter::empty());
        let member = packed.member();
        let fields = [
            Field::Attribute(key.clone()),
            Field::CreatedAt,
            Field::Device,
            Field::Product,
            Field::Status,
            Field::Tag,
            Field::TagValue(key),
            Field::Version,
        ];
        for field in fields {
            let facts = (member.fact(&field), device.fact(&field));
            prop_assert_eq!(format!("{:?}", facts.0), format!("{:?}", facts.1));
        }
        prop_assert!(Facts::tags(&member).eq(Facts::tags(&device)));
        let attributes = |all: Vec<(_, _)>| all.into_iter().collect::<BTreeMap<&str, &str>>();
        let (own, known) = (member.attributes().collect(), device.attributes.iter().collect());
        prop_assert_eq!(attributes(own), attributes(known));
    }
}
