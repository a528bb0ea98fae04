//! The bundle: several files in one answer.

use waxwing_wire::bundle::{BUNDLE_BYTES_MAX, Bundle, FRAMES_MAX, Writer};

/// There is one spelling: what is accepted and written again is the same, byte for byte.
pub fn check(bytes: &[u8]) {
    let Ok(bundle) = Bundle::parse(bytes) else { return };
    assert!(bytes.len() <= BUNDLE_BYTES_MAX && bundle.frames.len() <= FRAMES_MAX);
    let mut writer = Writer::new();
    for frame in &bundle.frames {
        writer.push(frame.kind, frame.name, frame.bytes).expect("it fitted before");
        let first = bundle.find(frame.kind, frame.name).expect("a frame that is there");
        let same =
            |it: &&waxwing_wire::bundle::Frame<'_>| it.kind == frame.kind && it.name == frame.name;
        assert_eq!(Some(first), bundle.frames.iter().find(same).map(|it| it.bytes));
    }
    assert_eq!(writer.finish(bundle.retry_after_s), bytes);
}
