//! App images, whole and in pieces.

use sha2::{Digest as _, Sha256};
use waxwing_esp_image::app::{App, Checker, HEADER_BYTES, ImageError, SEGMENT_HEADER_BYTES};

/// The first byte says how the image is cut into pieces, and whether its checksum and hash are made
/// right first: no fuzzer guesses a SHA-256.
pub fn check(bytes: &[u8]) {
    let Some((how, image)) = bytes.split_first() else { return };
    let repaired = (how & 0x80 != 0).then(|| repaired(image)).flatten();
    let image = repaired.as_deref().unwrap_or(image);
    let whole = App::parse(image);
    let piece = usize::from(how & 0x7f) + 1;
    assert_eq!(in_pieces(image, piece), whole, "cut into pieces of {piece} it is another image");
    if let Ok(app) = whole {
        check_app(&app, image);
    }
}

fn check_app(app: &App, image: &[u8]) {
    let end = usize::try_from(app.image_bytes).expect("64 bits");
    let inside = image.get(..end).expect("an image longer than its file");
    assert_eq!(app.segments().len(), usize::from(app.header.segment_count));
    let mut data = app.segments().iter().flat_map(|it| {
        let at = it.data_at as usize;
        inside.get(at..at + it.data_bytes as usize).expect("a segment outside the image")
    });
    let checksum = data.try_fold(0xef_u8, |sum, byte| Some(sum ^ byte));
    assert_eq!(checksum, Some(app.checksum));
    if let Some(hash) = app.sha256 {
        let (content, appended) = inside.split_last_chunk::<32>().expect("a hash");
        assert_eq!((hash, *appended), (Sha256::digest(content).into(), hash));
    }
    let behind = &image[end..];
    let padding = app.signature_at.map_or(behind.len(), |at| at as usize - end);
    assert!(behind[..padding].iter().all(|byte| *byte == 0xff), "something hides behind the image");
    if app.signature_at.is_some() {
        let after = behind.get(padding + 4096..).expect("a whole sector");
        assert!(after.iter().all(|byte| *byte == 0xff), "something hides behind the signature");
    }
}

fn in_pieces(image: &[u8], piece: usize) -> Result<App, ImageError> {
    let mut checker = Checker::new();
    for piece in image.chunks(piece) {
        // Every later call must say the same.
        let _ = checker.update(piece);
    }
    checker.finish()
}

/// Makes checksum and hash right; `None` if there is no telling where they are.
fn repaired(image: &[u8]) -> Option<Vec<u8>> {
    let mut at = HEADER_BYTES;
    let mut checksum = 0xef;
    for _ in 0..*image.get(1)? {
        let length = image.get(at + 4..at + SEGMENT_HEADER_BYTES)?;
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        at += SEGMENT_HEADER_BYTES;
        checksum =
            image.get(at..at.checked_add(length)?)?.iter().fold(checksum, |sum, it| sum ^ it);
        at += length;
    }
    let mut repaired = image.get(..at)?.to_vec();
    repaired.resize(at / 16 * 16 + 15, 0);
    repaired.push(checksum);
    if *image.get(23)? == 1 {
        let hash = Sha256::digest(&repaired);
        repaired.extend_from_slice(&hash);
    }
    repaired.extend_from_slice(image.get(repaired.len()..).unwrap_or_default());
    Some(repaired)
}
