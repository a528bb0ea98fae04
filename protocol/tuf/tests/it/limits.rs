//! Files that are too long or no metadata at all.

use waxwing_tuf::json::Malformed;
use waxwing_tuf::{Cause, FetchError, Limits, MemoryStore, Repository};

use crate::support::{Author, NOW, refused, refused_after};

#[test]
fn every_file_has_a_longest_length() {
    let pad = |bytes: &mut Vec<u8>, length: usize| bytes.resize(length, b' ');
    let cases = [
        ("2.root.json", Limits::DEVICE_IMAGE.root_bytes_max),
        ("timestamp.json", Limits::DEVICE_IMAGE.timestamp_bytes_max),
        ("1.snapshot.json", Limits::DEVICE_IMAGE.snapshot_bytes_max),
        ("1.targets.json", Limits::DEVICE_IMAGE.targets_bytes_max),
    ];
    for (file, max) in cases {
        let mut author = Author::new();
        let first = author.served.files["1.root.json"].clone();
        author.root.bump();
        author.publish_root();
        let open =
            || Repository::open(MemoryStore::new(), &first, None, Limits::DEVICE_IMAGE).unwrap();
        pad(author.served.files.get_mut(file).unwrap(), max);
        open().refresh(&mut author.served, NOW).unwrap();
        pad(author.served.files.get_mut(file).unwrap(), max + 1);
        refused(open().refresh(&mut author.served, NOW), file, Cause::Fetch(FetchError::TooLong));
        // A transport that does not keep to the limit is caught.
        let mut rude = |name: &str| author.served.files.get(name).cloned();
        refused(open().refresh(&mut Rude(&mut rude), NOW), file, Cause::TooLong);
    }
}

struct Rude<'a>(&'a mut dyn FnMut(&str) -> Option<Vec<u8>>);

impl waxwing_tuf::Fetch for Rude<'_> {
    fn metadata(&mut self, file_name: &str, _: usize) -> Result<Option<Vec<u8>>, FetchError> {
        Ok((self.0)(file_name))
    }
}

#[test]
fn what_is_not_metadata_is_refused() {
    let serve = |bytes: &'static [u8]| {
        move |author: &mut Author| {
            drop(author.served.files.insert("timestamp.json".into(), bytes.into()));
        }
    };
    refused_after(serve(b""), "timestamp.json", Cause::Json(Malformed::Syntax));
    refused_after(serve(b"\xff"), "timestamp.json", Cause::Json(Malformed::Utf8));
    refused_after(serve(b"[]"), "timestamp.json", Cause::BadEnvelope);
    refused_after(serve(b"{\"signed\":1}"), "timestamp.json", Cause::BadEnvelope);
    refused_after(
        serve(b"{\"signed\":1,\"signatures\":[]}"),
        "timestamp.json",
        Cause::TooFewSignatures,
    );
    refused_after(
        serve(b"{\"signed\":{},\"signed\":{}}"),
        "timestamp.json",
        Cause::Json(Malformed::DuplicateName),
    );
}
