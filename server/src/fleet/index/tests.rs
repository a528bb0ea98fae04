//! The index against asking every device by itself.

use std::iter;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::Device;
use crate::domain::device::Attributes;
use crate::domain::group::tests::device;
use crate::fleet::packed::Packed;

const QUERIES: [&str; 16] = [
    "device==*1",
    "device!=d-1;tag==a",
    "createdat=gt=3",
    "status==active",
    "status=out=(active,revoked)",
    "product==th1",
    "product!=TH*",
    "tag==A",
    "tag=in=(a,c)",
    "tag!=*",
    "tag.a==X,tag.b!=y*",
    "attribute.k==x",
    "attribute.k!=''",
    "attribute.n=ge=10",
    "version=lt=1.2.0;version!=1.0.0",
    "version!=*,(attribute.k==*;tag==b)",
];

fn pairs() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key = prop::sample::select(vec!["a", "b", "c", "k", "n"]).prop_map(str::to_owned);
    let value = prop::sample::select(vec!["", "x", "X", "y", "9", "10"]).prop_map(str::to_owned);
    prop::collection::btree_map(key, value, 0..3)
}

/// A device that is added, or changed.
fn change() -> impl Strategy<Value = Device> {
    let version = prop::sample::select(vec!["1.0.0", "1.2.0", "1.10.0"]);
    let status = prop::sample::select(Status::ALL.to_vec());
    (0..6_u64, pairs(), pairs(), pairs(), prop::option::of(version), status).prop_map(
        |(n, tags, given, reported, version, status)| Device {
            tags,
            attributes: Attributes { given, reported },
            version: version.map(|version| Arc::new(version.parse().unwrap())),
            status,
            created_at: n,
            ..device(&format!("d-{n}"), &[])
        },
    )
}

proptest! {
    #[test]
    fn whatever_changes_the_index_finds_whom_every_device_is_asked_for(
        changes in prop::collection::vec(change(), 1..24),
    ) {
        let (mut index, members) = (Index::default(), Members::default());
        let mut fleet = BTreeMap::<_, Device>::new();
        for device in changes {
            let old = members.get(&device.id);
            let old = old.as_ref().map(Packed::member);
            let number = old.as_ref().map_or(index.next_number(), |old| old.number);
            let new = Packed::new(&device, iter::empty()).numbered(number);
            let place = members.put(&new);
            index.put(place, old.as_ref(), &new.member(), &members);
            fleet.insert(number, device);
        }
        let search = Search { index: &index, members: &members };
        for text in QUERIES {
            let query = Query::parse(text).unwrap();
            let asked = fleet.iter().filter(|(_, device)| query.matches(*device));
            let asked: RoaringBitmap = asked.map(|(number, _)| *number).collect();
            prop_assert_eq!(search.within(&query, &search.all()), asked, "{}", text);
        }
        // Nothing is left of values that no device has any more.
        let values: usize = index.values.values().map(Values::len).sum();
        prop_assert!(values <= fleet.values().map(labels_of).sum());
        prop_assert!(index.versions.len() <= fleet.len());
    }
}

fn labels_of(device: &Device) -> usize {
    labels(&Packed::new(device, iter::empty()).member()).count()
}
